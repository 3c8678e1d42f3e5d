"""`onward doctor` and `onward watch --queue`, on real engines."""

import json
import uuid
from collections.abc import Mapping
from pathlib import Path
from signal import SIGINT
from typing import Any

import pytest
from msgspec.structs import replace

from onward import Backend, Catalog, connect, submit, task
from onward.backend import Diagnoses, Diagnosis, SeenWorker
from onward.backends.hatchet import hatchet as hatchet_at
from onward.cli.doctor import judged
from onward.flows.flow import Task
from tests.cli import pipeline
from tests.cli.command import SECRET, environment, mistake, onward, printed
from tests.cli.pipeline import parse, summed, twice
from tests.cli.serving import PATIENCE, serving, started, wait_for_text
from tests.engines.hatchet import GivenHatchet
from tests.engines.rabbitmq import RabbitMQ
from tests.engines.server import HOST
from tests.engines.temporal import Temporal
from tests.engines.valkey import Valkey

TASKS = ", ".join(sorted(each.name for each in vars(pipeline).values() if isinstance(each, Task)))
"""What a worker serves that has the module."""


@pytest.fixture
def on_celery(valkey: Valkey) -> str:
    return f"celery+{valkey.url}?queue={uuid.uuid4().hex}"


@pytest.fixture
def on_temporal(temporal: Temporal) -> str:
    return f"{temporal.url}?task_queue={uuid.uuid4().hex}"


@pytest.fixture
def on_hatchet(folder: Path, hatchet: GivenHatchet) -> str:
    """A file that names it: the command is not texts of it by its environment."""
    given = hatchet.client_environment
    prefix = "HATCHET_CLIENT_"
    settings = {name.removeprefix(prefix).lower(): each for name, each in given.items()}
    lines = [f"  {name}: {each}" for name, each in settings.items()]
    text = ["backend: hatchet", "hatchet:", *lines, f"  namespace: {uuid.uuid4().hex}"]
    (folder / "hatchet.yaml").write_text("\n".join(text))
    return "hatchet.yaml"


def findings(*arguments: str, folder: Path, code: int) -> list[Mapping[str, Any]]:
    """What the doctor says as JSON."""
    said = json.loads(printed("doctor", *arguments, "--json", folder=folder, code=code))
    found: list[Mapping[str, Any]] = said["findings"]
    return found


def wrong(*arguments: str, folder: Path) -> dict[str, str]:
    """What the doctor finds wrong, each with its cure."""
    found = findings(*arguments, folder=folder, code=1)
    return {each["text"]: each["cure"] for each in found if each["is_wrong"]}


def test_with_a_worker_for_every_task_nothing_is_wrong(folder: Path, on_celery: str) -> None:
    with serving(folder, on_celery):
        found = findings("pipeline", "--on", on_celery, folder=folder, code=0)
    texts = {each["what"]: each["text"] for each in found}
    assert texts["broker"].startswith("Valkey 9.")
    assert texts["ledger"].startswith("Valkey 9.")
    assert texts["SDK"].startswith("celery 5.")
    assert texts["clock"] == "the engine's clock and ours agree within 1 s"
    assert "calls are not signed" in texts["credentials"]
    assert texts["worker"].endswith(f": {TASKS}")
    assert not any(each["is_wrong"] for each in found)


def test_people_see_a_line_for_each_finding_with_its_cure(folder: Path, on_celery: str) -> None:
    done = onward("doctor", "--on", on_celery, folder=folder)
    assert done.returncode == 1
    assert "✗ workers      there are no workers: start one: onward worker MODULE\n" in done.stdout


def test_steps_that_wait_where_nobody_takes_them_are_told(folder: Path, on_celery: str) -> None:
    submit(summed("1,2"), on=connect(on_celery).unwrap()).unwrap()
    queue = on_celery.partition("queue=")[2]
    assert f"1 step waits in {queue}, and no worker takes steps from it" in wrong(
        "--on", on_celery, folder=folder
    )


def test_what_workers_serve_is_compared_with_the_modules_at_hand(
    folder: Path, on_celery: str
) -> None:
    (folder / "more.py").write_text(
        "from onward import task\nfrom pipeline import parse\n"
        "@task\ndef newer(n: int) -> int:\n    return n\n"
        "@task(queue='elsewhere')\ndef far(n: int) -> int:\n    return n\n"
    )
    with serving(folder, on_celery):
        found = wrong("more", "--on", on_celery, folder=folder)
        with serving(folder, on_celery, "more", "--queues", on_celery.partition("queue=")[2]):
            some = wrong("more", "--on", on_celery, folder=folder)
    assert "no worker's catalog has newer, so calls are Unknown" in found
    assert "no worker takes steps from elsewhere, the queue of far" in found
    assert any("serve newer, and others do not" in text for text in some)


@pytest.mark.parametrize("is_another_there", [False, True])
def test_of_tasks_that_are_served_on_another_queue_alone_a_line_says_so(
    is_another_there: bool,
) -> None:
    workers = [SeenWorker("ours", frozenset({"mine"}), frozenset({"parse", "twice"}))]
    if is_another_there:
        workers.append(SeenWorker("another", frozenset({"q"}), frozenset({"other"})))
    seen = Diagnosis("q", (), tuple(workers), {})
    [texts] = [each for each in judged(seen, Catalog(parse, twice)) if each.is_wrong]
    assert texts.text == "no worker on q serves parse, twice, but those on mine do"
    assert "start one for q with the module" in texts.cure


def test_each_of_several_workers_on_a_machine_is_seen(folder: Path, on_celery: str) -> None:
    with serving(folder, on_celery), serving(folder, on_celery):
        found = findings("--on", on_celery, folder=folder, code=0)
    assert len([each for each in found if each["what"] == "worker"]) == 2


def test_an_engine_that_is_not_reached_is_reported_and_no_secret_is_shown(folder: Path) -> None:
    for url in (f"celery+redis://:{SECRET}@127.0.0.1:1/0", "temporal://127.0.0.1:1"):
        done = onward("doctor", "--on", url, folder=folder)
        assert done.returncode == 1
        assert "✗ engine" in done.stdout
        assert "Check that the engine runs" in done.stdout
        assert SECRET not in done.stdout + done.stderr


def test_a_namespace_that_is_not_there_is_told(folder: Path, temporal: Temporal) -> None:
    done = onward("doctor", "--on", f"temporal://{temporal.address}/nowhere", folder=folder)
    assert done.returncode == 1
    assert "Namespace nowhere is not found: create it, or name another one" in done.stdout


def test_what_grpc_says_by_itself_of_a_connection_stands_nowhere_else(
    folder: Path, temporal: Temporal
) -> None:
    token = {"HATCHET_CLIENT_TOKEN": f"e30.eyJzdWIiOiAiNzA3ZDA4NTUifQ.{SECRET}"}
    url = f"hatchet://{temporal.address}?tls=true"
    done = onward("doctor", "--on", url, folder=folder, extra=token)
    assert done.returncode == 1
    assert "it does not use TLS: set tls to false" in done.stdout
    assert done.stderr == ""
    assert SECRET not in done.stdout


def test_rabbitmq_that_lets_nobody_in_is_reported_and_the_password_is_not_shown(
    folder: Path, rabbitmq: RabbitMQ, valkey: Valkey
) -> None:
    broker = f"amqp://guest:{SECRET}@{HOST}:{rabbitmq.port}//"
    url = f"celery+{broker}?result_backend={valkey.url}"
    done = onward("doctor", "--on", url, folder=folder)
    assert done.returncode == 1
    assert f"✗ engine       the broker at amqp://{HOST}:{rabbitmq.port}: ACCESS_REF" in done.stdout
    assert SECRET not in done.stdout + done.stderr


def test_credentials_are_reported_and_not_shown(folder: Path, valkey: Valkey) -> None:
    keys = {"ONWARD_SIGNING_KEYS": SECRET * 8}
    done = onward("doctor", "--on", f"celery+{valkey.url}", folder=folder, extra=keys)
    assert "calls are signed" in done.stdout
    assert SECRET not in done.stdout + done.stderr


def test_a_ledger_that_forgets_when_it_is_full_is_told(folder: Path) -> None:
    from redis import Redis

    with Valkey.start(folder / "server", append_only=False) as server:
        with Redis.from_url(server.url) as client:
            client.config_set("maxmemory-policy", "allkeys-lru")
        found = findings("--on", f"celery+{server.url}", folder=folder, code=1)
    texts = {each["text"]: each["cure"] for each in found if each["what"] == "ledger"}
    policy = "its maxmemory-policy allkeys-lru deletes calls when the memory is full"
    assert texts[policy] == "set maxmemory-policy noeviction"
    assert any("no append-only file" in text for text in texts)


def test_rabbitmq_is_looked_at_beside_its_ledger(
    folder: Path, rabbitmq: RabbitMQ, valkey: Valkey
) -> None:
    url = f"celery+{rabbitmq.url}?queue={uuid.uuid4().hex}&result_backend={valkey.url}"
    with serving(folder, url):
        done = onward("doctor", "pipeline", "--on", url, "--json", folder=folder)
    assert done.returncode == 0
    texts = {each["what"]: each["text"] for each in json.loads(done.stdout)["findings"]}
    assert texts["broker"].startswith("RabbitMQ ")
    assert texts["ledger"].startswith("Valkey ")


def test_temporal_tells_its_version_and_who_serves_what(folder: Path, on_temporal: str) -> None:
    assert "there are no workers" in wrong("--on", on_temporal, folder=folder)
    with serving(folder, on_temporal):
        found = findings("pipeline", "--on", on_temporal, folder=folder, code=0)
        (folder / "more.py").write_text(
            "from onward import task\n@task(queue='elsewhere')\n"
            "def far(n: int) -> int:\n    return n\n"
            "@task\ndef newer(n: int) -> int:\n    return n\n"
        )
        missing = wrong("more", "--on", on_temporal, folder=folder)
    texts = {each["what"]: each["text"] for each in found}
    assert texts["server"].startswith("Temporal 1.")
    assert texts["namespace"] == "default, which keeps outcomes for 1 day"
    assert texts["credentials"] == "no API key; no TLS"
    assert texts["clock"] == "the engine's clock and ours agree within 1 s"
    assert texts["worker"].endswith(f": {TASKS}")
    assert "no worker's catalog has newer, so calls are Unknown" in missing
    assert "no worker takes steps from elsewhere, the queue of far" in missing


def test_hatchet_tells_its_version_and_who_serves_what_and_shows_no_token(
    folder: Path, hatchet: GivenHatchet, on_hatchet: str
) -> None:
    (folder / "more.py").write_text(
        "from onward import task\nfrom pipeline import parse\n"
        "@task\ndef newer(n: int) -> int:\n    return n\n"
    )
    with started("worker", "pipeline", "--config", on_hatchet, folder=folder) as worker:
        wait_for_text(worker, "\nready")
        found = findings("more", "--config", on_hatchet, folder=folder, code=1)
    texts = {each["what"]: each["text"] for each in found}
    assert texts["SDK"].startswith("hatchet-sdk 1.")
    assert texts["server"].startswith("Hatchet 0.")
    assert texts["credentials"].startswith("a token that ")
    assert texts["HTTP API"].endswith(" is reached")
    assert texts["clock"] == "the engine's clock and ours agree within 1 s"
    assert texts["worker"].endswith(f" on onward: {TASKS}")
    [missing] = [each for each in found if each["is_wrong"]]
    assert missing["text"] == "no worker's catalog has newer, so calls wait"
    assert hatchet.token.split(".")[1] not in json.dumps(found)


def test_watch_queue_shows_what_waits_by_task_on_an_engine_that_knows_tasks(
    folder: Path, on_hatchet: str
) -> None:
    arguments = ["watch", "--queue", "--config", on_hatchet]
    with (
        started("worker", "pipeline", "--config", on_hatchet, folder=folder) as worker,
        started(*arguments, folder=folder, environment=environment()) as watching,
    ):
        wait_for_text(worker, "\nready")
        wait_for_text(watching, "twice: 0 waiting, workers: onward-")
        submit(
            twice.with_(queue="nowhere")(1), on=connect(str(folder / on_hatchet)).unwrap()
        ).unwrap()
        wait_for_text(watching, "twice: 1 waiting, workers: onward-")
        watching.send(SIGINT)
        assert watching.wait(PATIENCE) == 0


def test_what_runs_in_this_process_has_nothing_to_tell(folder: Path) -> None:
    [*_, engine] = findings("--on", "local://", folder=folder, code=0)
    assert "has no diagnosis" in engine["text"]


@pytest.mark.parametrize(
    ("ahead", "says"), [(90.0, "90.0 s ahead of ours"), (-2.5, "2.5 s behind ours")]
)
def test_clocks_that_disagree_are_told(ahead: float, says: str) -> None:
    seen = Diagnosis("q", (), (SeenWorker("w", frozenset({"q"})),), {}, ahead)
    [clock] = [each for each in judged(seen, None) if each.what == "clock"]
    assert says in clock.text
    assert clock.is_wrong
    assert "NTP" in clock.cure


def test_backends_that_can_tell_say_so_by_their_type(on_celery: str, on_temporal: str) -> None:
    def can(backend: Backend) -> bool:
        return isinstance(backend, Diagnoses)

    made = [connect(url).unwrap() for url in (on_celery, on_temporal, "local://")]
    assert [can(each) for each in made] == [True, True, False]
    assert can(hatchet_at("e30.eyJzdWIiOiAiNzA3ZDA4NTUifQ.", f"{HOST}:7077"))


def test_an_engine_that_knows_no_capitals_knows_tasks_that_have_some() -> None:
    worker = SeenWorker("w", frozenset({"q"}), frozenset({"parse"}))
    seen = Diagnosis("q", (), (worker,), {}, knows_capitals=False)
    capital = Catalog(task(name="Parse")(parse.fn))
    assert [each.what for each in judged(seen, capital)] == ["clock", "worker"]


def test_on_an_engine_that_gives_steps_to_those_that_serve_them_not_all_need_to() -> None:
    old, new = (
        SeenWorker(name, frozenset({"q"}), frozenset(tasks))
        for name, tasks in (("old", ["parse"]), ("new", ["parse", "twice"]))
    )
    catalog = Catalog(parse, twice)
    seen = Diagnosis("q", (), (old, new), {}, knows_tasks=True)
    assert not any(each.is_wrong for each in judged(seen, catalog))
    assert any(each.is_wrong for each in judged(replace(seen, knows_tasks=False), catalog))


def test_of_workers_that_could_not_be_asked_for_nothing_is_said() -> None:
    seen = Diagnosis("q", (), (), {}, tells_workers=False)
    assert [each.what for each in judged(seen, Catalog(parse))] == ["clock"]


def test_watch_queue_shows_what_waits_and_who_takes_it(folder: Path, on_celery: str) -> None:
    submit(twice(1), on=connect(on_celery).unwrap()).unwrap()
    queue = on_celery.partition("queue=")[2]
    arguments = ["watch", "--queue", "--on", on_celery]
    with started(*arguments, folder=folder, environment=environment()) as watching:
        wait_for_text(watching, f"{queue}: 1 waiting, workers: none\n")
        with serving(folder, on_celery):
            wait_for_text(watching, f"{queue}: 0 waiting, workers: onward-")
        watching.send(SIGINT)
        assert watching.wait(PATIENCE) == 0


def test_watch_takes_a_ref_or_the_queues(folder: Path, on_celery: str) -> None:
    for arguments in ([], ["ref", "--queue"]):
        said = mistake("watch", *arguments, "--on", on_celery, folder=folder)
        assert "either a call, by its REF, or the queues" in said
    said = mistake("watch", "--queue", "--on", "local://", folder=folder)
    assert "no other process can submit to local://" in said
