"""`onward watch --queue`, and the figures of each engine that it shows."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from onward import Catalog, connect, submit, task
from onward.backend import Diagnosis
from onward.backends.hatchet import hatchet as hatchet_at
from tests.cli.command import mistake, printed
from tests.cli.serving import PATIENCE, started, wait_for_text
from tests.engines.process import until

ENGINES = ("sqlite", "redis", "rabbitmq", "temporal", "hatchet")
GO = threading.Event()
BEGUN = threading.Event()


@task
def hold(n: int) -> int:
    BEGUN.set()
    GO.wait(PATIENCE)
    return n


@pytest.fixture
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    """A backend on a queue or a namespace of the test's own."""
    name: str = request.param
    queue = uuid4().hex
    if name == "hatchet":
        engine = request.getfixturevalue("hatchet")
        environment = engine.client_environment
        made: Any = hatchet_at(
            engine.token,
            environment["HATCHET_CLIENT_HOST_PORT"],
            server_url=environment["HATCHET_CLIENT_SERVER_URL"],
            namespace=queue,
        )
    else:
        if name == "sqlite":
            url = f"sqlite:///{tmp_path / 'calls.db'}?queue={queue}"
        elif name == "temporal":
            url = f"{request.getfixturevalue('temporal').url}?task_queue={queue}"
        elif name == "redis":
            url = f"celery+{request.getfixturevalue('valkey').url}?queue={queue}"
        else:
            broker, ledger = (request.getfixturevalue(each).url for each in ("rabbitmq", "valkey"))
            url = f"celery+{broker}?queue={queue}&result_backend={ledger}"
        made = connect(url).unwrap()
    with closing(made):
        yield made


@pytest.mark.parametrize("backend", ENGINES, indirect=True)
def test_an_engine_counts_what_waits_and_what_runs(backend: Any) -> None:
    GO.clear()
    BEGUN.clear()
    worker = backend.serve(Catalog(hold), concurrency=1).unwrap()
    refs = [submit(hold(n), on=backend).unwrap() for n in range(3)]
    try:
        assert BEGUN.wait(PATIENCE)
        seen: list[Diagnosis] = []

        def is_shown() -> bool:
            seen.append(backend.diagnose().unwrap())
            last = seen[-1]
            name, waiting = (
                ("hold", last.waiting_tasks) if not last.waiting else (last.queue, last.waiting)
            )
            return (
                waiting.get(name) == 2
                and (not last.running or last.running.get(name) == 1)
                and last.oldest.get(name, 0.0) > 0.0
            )

        until(is_shown, within=PATIENCE, otherwise=lambda: f"{seen[-1]}")
        counts = type(backend).__name__ != "TemporalBackend"  # whose server counts only what waits
        assert bool(seen[-1].running) == counts
    finally:
        GO.set()
        for ref in refs:
            backend.outcome(ref.id, PATIENCE)
        worker.stop()


def test_a_program_gets_the_figures_of_each_queue_once(folder: Path) -> None:
    url = f"sqlite:///{folder / 'calls.db'}"
    with closing(connect(url).unwrap()) as backend:
        submit(hold(1), on=backend).unwrap()
    shown = json.loads(printed("watch", "--queue", "--json", "--once", "--on", url, folder=folder))
    assert 0 < shown.pop("oldest") < PATIENCE
    assert shown == {"queue": "onward", "waiting": 1, "running": 0, "workers": []}


def test_an_autoscaler_gets_them_over_http(folder: Path) -> None:
    url = f"sqlite:///{folder / 'calls.db'}"
    with closing(connect(url).unwrap()) as backend:
        submit(hold(1), on=backend).unwrap()
    with started("watch", "--queue", "--serve", "0", "--on", url, folder=folder) as command:
        wait_for_text(command, "/queues\n")
        found = re.search(r"127\.0\.0\.1:(\d+)/queues", command.tail())
        assert found is not None
        asking = HTTPConnection("127.0.0.1", int(found[1]), timeout=PATIENCE)
        asking.request("GET", "/queues")
        assert json.loads(asking.getresponse().read())["onward"]["waiting"] == 1
        asking.close()


def test_its_options_are_not_for_a_call(folder: Path) -> None:
    for option in (["--once"], ["--serve", "0"]):
        said = mistake("watch", "some-ref", *option, "--on", "sqlite:///x.db", folder=folder)
        assert "--once and --serve are for the queues, with --queue" in said
