"""`onward worker`, as people run it: a process of its own, in the folder of their modules."""

import uuid
from pathlib import Path
from signal import SIGINT, SIGTERM, Signals

import pytest
from msgspec import Raw
from redis import Redis
from returns.result import Failure, Success

from onward import Backend, connect, result, run, status, submit, task
from onward.backend import Submission
from onward.outcome import Value
from onward.plan import VERSION, Args, ChainNode, Plan, StepNode
from tests.cli.command import SECRET
from tests.cli.pipeline import Malformed, hold, linger, summed, twice
from tests.cli.serving import PATIENCE, serving, started, wait_for_file, wait_for_text
from tests.engines.process import until
from tests.engines.rabbitmq import RabbitMQ
from tests.engines.temporal import Temporal
from tests.engines.valkey import Valkey

AT_ONCE = 13.0
"""Less than it takes here to notice a worker that is gone without a word, in seconds."""


@task
def say(what: str) -> None:
    """What stands for a task of the same name that a worker serves."""


@pytest.fixture
def url(valkey: Valkey) -> str:
    """A queue of the test's own."""
    return f"celery+{valkey.url}?queue={uuid.uuid4().hex}"


@pytest.fixture
def backend(url: str) -> Backend:
    return connect(url).unwrap()


def test_a_worker_does_what_another_process_submits(
    folder: Path, url: str, backend: Backend
) -> None:
    with serving(folder, url):
        assert run(summed("1,2"), on=backend, timeout=PATIENCE) == Success(3)
        assert run(summed("1;2"), on=backend, timeout=PATIENCE) == Failure(Malformed("1;2"))


def test_a_ref_s_text_and_the_url_are_enough_to_ask_for_the_result(
    folder: Path, url: str, backend: Backend
) -> None:
    with serving(folder, url):
        text = str(submit(summed("1,2"), on=backend).unwrap())
        elsewhere = connect(url).unwrap()
        assert result(summed.ref(text), on=elsewhere, timeout=PATIENCE) == Success(3)


def test_a_plan_is_enough_for_a_client_without_the_tasks(
    folder: Path, url: str, backend: Backend
) -> None:
    by_hand = Plan(
        v=VERSION,
        id=uuid.uuid4().hex,
        flow="by hand",
        root=ChainNode((StepNode(task="parse"), StepNode(task="total"))),
        args=Args((Raw(b'"1,2"'),)),
    )
    with serving(folder, url):
        assert backend.submit(Submission(by_hand)) == Success(by_hand.id)
        assert backend.outcome(by_hand.id, PATIENCE) == Success(Value(Raw(b"3")))


def test_a_worker_serves_on_rabbitmq_with_a_ledger_in_redis(
    folder: Path, rabbitmq: RabbitMQ, valkey: Valkey
) -> None:
    url = f"celery+{rabbitmq.url}?queue={uuid.uuid4().hex}&result_backend={valkey.url}"
    with serving(folder, url):
        assert run(summed("1,2"), on=connect(url).unwrap(), timeout=PATIENCE) == Success(3)


def test_a_worker_says_what_it_serves_and_that_it_is_ready(folder: Path, url: str) -> None:
    (folder / "app").mkdir()
    (folder / "app" / "more.py").write_text(
        "from onward import task\n@task\ndef another(n: int) -> int:\n    return n\n"
    )
    with serving(folder, url, "app.more") as worker:
        lines = worker.tail().splitlines()
    assert lines[0].startswith("onward ")
    assert "celery(redis://" in lines[0]
    assert lines[1] == "tasks  another, count, fail, greet, hold, linger, parse, total, twice"
    assert lines[2] == "flows  counted, decided, summed"
    assert lines[3].startswith("ready")


@pytest.mark.parametrize(
    ("ours", "written"),
    [
        ("", " WARNING said: hi [say at 0 of REF, attempt 1]"),
        ("logging.basicConfig(format='%(ref)s %(attempt)s %(message)s')", "REF 1 hi"),
    ],
)
def test_a_task_s_log_names_the_call_with_any_logging_setup(
    folder: Path, url: str, backend: Backend, ours: str, written: str
) -> None:
    (folder / "said.py").write_text(
        f"import logging\nfrom onward import task\n{ours}\n@task\ndef say(what: str) -> None:\n"
        "    logging.getLogger(__name__).warning(what)\n"
    )
    with serving(folder, url, "said") as worker:
        ref = submit(say("hi"), on=backend).unwrap()
        assert result(ref, on=backend, timeout=PATIENCE) == Success(None)
    assert f"{written.replace('REF', ref.id)}\n" in worker.log.read_text()


def test_a_worker_that_loses_its_broker_says_so_and_shows_no_password(folder: Path) -> None:
    with Valkey.start(folder / "server") as server:
        with Redis.from_url(server.url) as client:
            client.config_set("requirepass", SECRET)
        url = f"celery+{server.url}".replace("//", f"//:{SECRET}@")
        with serving(folder, url) as worker:
            backend = connect(url).unwrap()
            assert run(summed("1,2"), on=backend, timeout=PATIENCE) == Success(3)
            server.kill()
            wait_for_text(worker, "is not reached")
        assert SECRET not in worker.log.read_text()


@pytest.mark.parametrize("signal", [SIGTERM, SIGINT])
def test_a_worker_that_is_stopped_says_so_and_ends_with_0(
    folder: Path, url: str, signal: Signals
) -> None:
    with serving(folder, url) as worker:
        worker.send(signal)
        assert worker.wait(PATIENCE) == 0
    stopping, stopped = worker.log.read_text().partition("\nready")[2].splitlines()[1:]
    assert stopping == "stopping: nothing is running"
    assert stopped == "stopped"


def test_a_worker_finishes_what_it_runs_before_it_stops(
    folder: Path, url: str, backend: Backend
) -> None:
    with serving(folder, url) as worker:
        ref = submit(hold(str(folder)), on=backend).unwrap()
        wait_for_file(folder / "running-hold")
        worker.terminate()
        wait_for_text(worker, "stopping: 1 task running, with 30 s to end")
        assert worker.exit_code() is None
        (folder / "let-go").touch()
        assert worker.wait(PATIENCE) == 0
    assert worker.tail().endswith("\n1 task finished, 0 tasks given back\nstopped\n")
    assert result(ref, on=backend, timeout=PATIENCE) == Success("done")


@pytest.fixture(params=["celery", "temporal", "hatchet"])
def any_url(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """A place of the test's own on each engine in turn."""
    own = uuid.uuid4().hex
    if request.param == "celery":
        return str(request.getfixturevalue("url"))
    if request.param == "temporal":
        return f"{request.getfixturevalue('temporal').url}?task_queue={own}&heartbeat=100"
    environment = request.getfixturevalue("hatchet").client_environment
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return f"hatchet://{environment['HATCHET_CLIENT_HOST_PORT']}/{own}"


@pytest.mark.parametrize("is_stopped_again", [False, True])
def test_a_worker_gives_back_at_once_what_does_not_end_and_says_so(
    is_stopped_again: bool, folder: Path, any_url: str
) -> None:
    running = [folder / "running-hold", folder / "running-linger"]
    backend = connect(any_url).unwrap()
    with serving(folder, any_url, "--grace", "60" if is_stopped_again else "0.1") as worker:
        refs = [submit(each(str(folder)), on=backend).unwrap() for each in (hold, linger)]
        for file in running:
            wait_for_file(file)
            file.unlink()
        with serving(folder, any_url):
            worker.terminate()
            if is_stopped_again:
                wait_for_text(worker, "stopping: 2 tasks running, with 60 s to end")
                worker.terminate()
            for file in running:
                wait_for_file(file, within=AT_ONCE)
            assert worker.wait(PATIENCE) == 0
            (folder / "let-go").touch()
            for ref in refs:
                assert result(ref, on=backend, timeout=PATIENCE) == Success("done")
    *before, given_back, stopped = worker.log.read_text().splitlines()
    assert ("second signal: 2 tasks given back at once" in before) == is_stopped_again
    assert (given_back, stopped) == ("0 tasks finished, 2 tasks given back", "stopped")


def test_a_worker_takes_steps_from_the_queues_that_it_is_given_and_no_other(
    folder: Path, valkey: Valkey, temporal: Temporal
) -> None:
    db, own = uuid.uuid4().hex, uuid.uuid4().hex
    queued = twice.with_(queue=db)
    for url in (f"celery+{valkey.url}?queue={own}", f"{temporal.url}?task_queue={own}"):
        backend = connect(url).unwrap()
        with serving(folder, url, "--queues", db) as worker:
            waiting = submit(twice(1), on=backend).unwrap()
            assert run(queued(2), on=backend, timeout=PATIENCE) == Success(4)
            assert status(waiting, on=backend).unwrap().state == "queued"
            assert f"\nqueues {db}\n" in worker.tail()
        with serving(folder, url, "--queues", f"{db}, {own}"):
            assert result(waiting, on=backend, timeout=PATIENCE) == Success(2)
            assert run((twice >> queued)(1), on=backend, timeout=PATIENCE) == Success(4)


def test_a_worker_whose_resource_does_not_open_ends_with_1_and_says_why(tmp_path: Path) -> None:
    (tmp_path / "pipeline.py").write_text(
        "from contextlib import contextmanager\n"
        "from onward import Resource, uses\n"
        "@contextmanager\n"
        "def open_pool():\n"
        "    raise ConnectionRefusedError('no database at db:5432')\n"
        "    yield\n"
        "@uses(Resource(open_pool))\n"
        "def use(pool: int, n: int) -> int:\n"
        "    return n\n"
    )
    on = f"sqlite:///{tmp_path}/onward.db"
    with started("worker", "pipeline", "--on", on, folder=tmp_path) as worker:
        until(
            lambda: worker.exit_code() is not None,
            within=PATIENCE,
            otherwise=lambda: f"It never ended:\n{worker.tail()}",
        )
        assert worker.exit_code() == 1
        said = worker.tail()
    assert "open_pool" in said
    assert "no database at db:5432" in said
    assert "The worker has not started" in said
    assert "onward/interpret" not in said
