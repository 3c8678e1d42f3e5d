"""`onward worker --health`, as those see it that watch a worker."""

from __future__ import annotations

import json
import re
import socket
from http.client import HTTPConnection
from pathlib import Path
from signal import SIGTERM
from uuid import uuid4

import pytest

from onward import connect, run
from tests.cli.command import mistake
from tests.cli.pipeline import summed
from tests.cli.serving import PATIENCE, serving, started, wait_for_text

HEAVY = ("aiohttp", "celery", "fastapi", "grpc", "hatchet_sdk", "prometheus_client", "temporalio")
"""What a worker on a file needs none of."""


def url_of(folder: Path) -> str:
    return f"sqlite:///{folder / 'calls.db'}"


def get(port: int, path: str) -> tuple[int, str]:
    asking = HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    asking.request("GET", path)
    answer = asking.getresponse()
    text = answer.read().decode()
    asking.close()
    return answer.status, text


def test_a_worker_answers_probes_and_scrapers_where_it_says(folder: Path) -> None:
    url = url_of(folder)
    with serving(folder, url, "--health", "0") as worker:
        found = re.search(r"health is at http://127\.0\.0\.1:(\d+): /live, ", worker.tail())
        assert found is not None
        port = int(found[1])
        status, text = get(port, "/ready")
        assert (status, json.loads(text)["state"]) == (200, "ready")
        assert get(port, "/live")[0] == 200
        run(summed("1,2"), on=connect(url).unwrap(), timeout=PATIENCE).unwrap()
        shown = get(port, "/metrics")[1]
        assert 'onward_steps_begun_total{task="parse"} 1.0' in shown
        assert "onward_worker_slots 16.0" in shown


def test_a_worker_tells_systemd_that_it_is_ready_and_that_it_stops(folder: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.settimeout(PATIENCE)
        path = folder / uuid4().hex[:8]
        listening.bind(str(path))
        environment = {"NOTIFY_SOCKET": str(path)}
        with started(
            "worker", "pipeline", "--on", url_of(folder), folder=folder, environment=environment
        ) as worker:
            assert "READY=1" in listening.recv(1000).decode().splitlines()
            worker.send(SIGTERM)
            while "STOPPING=1" not in listening.recv(1000).decode().splitlines():
                pass
            assert worker.wait(PATIENCE) == 0


def test_a_worker_imports_no_engine_but_its_own(folder: Path) -> None:
    environment = {"PYTHONPROFILEIMPORTTIME": "1"}
    arguments = ("worker", "pipeline", "--on", url_of(folder))
    with started(*arguments, folder=folder, environment=environment) as worker:
        wait_for_text(worker, "\nready")
        log = worker.log.read_text()
    imported = {line.rpartition("|")[2].strip() for line in log.splitlines() if "|" in line}
    assert "onward.backends.sqlite.worker" in imported
    assert not imported & {*HEAVY}


@pytest.mark.parametrize("wrong", ["here", "localhost:", "99999"])
def test_a_wrong_address_is_a_mistake_in_the_command(folder: Path, wrong: str) -> None:
    said = mistake("worker", "pipeline", "--on", url_of(folder), "--health", wrong, folder=folder)
    assert f"--health is a port, or a host and a port, not {wrong!r}" in said
