"""Limits hold while workers are killed and many ask at once, and no place is lost."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from returns.result import Success

from onward import Backend, Catalog, Ref, connect, result, results, run, submit, submit_all
from onward.testing import limited
from onward.testing.limits import began_of, gate, most_at_once, spans_of
from onward.testing.traces import TRACE
from tests.engines.hatchet import GivenHatchet
from tests.engines.process import until
from tests.engines.temporal import Temporal
from tests.engines.worker import WorkerProcess

pytestmark = pytest.mark.faults

LAW = "law"
ENGINES = (
    "sqlite",
    pytest.param("celery", marks=pytest.mark.long),
    "temporal",
    pytest.param("hatchet", marks=pytest.mark.long),
)
"""The engines; the leases of Celery's ledger are long, and Hatchet takes half a minute."""


@pytest.fixture
def url(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of an engine, with short leases where a URL can say so."""
    match request.param:
        case "hatchet":
            hatchet: GivenHatchet = request.getfixturevalue("hatchet")
            for name, value in hatchet.client_environment.items():
                monkeypatch.setenv(name, value)
            address = hatchet.client_environment["HATCHET_CLIENT_HOST_PORT"]
            return f"hatchet://{address}/{uuid4().hex}?lease=15"
        case "sqlite":
            return f"sqlite:///{tmp_path}/onward.db?lease=2"
        case "celery":
            redis = request.getfixturevalue("redis")
            return f"celery+{redis}"
        case _:
            temporal: Temporal = request.getfixturevalue("temporal")
            return f"temporal://127.0.0.1:{temporal.port}/default?heartbeat=2&task_queue=limits"


@pytest.fixture
def on(url: str) -> Iterator[Backend]:
    backend: Any = connect(url).unwrap()
    yield backend
    backend.close()


class Served:
    """Workers in processes of their own."""

    def __init__(self, url: str, folder: Path, stack: ExitStack) -> None:
        self._url = url
        self._folder = folder
        self._stack = stack
        self.workers: list[WorkerProcess] = []

    def start(self, *, concurrency: int = 4) -> WorkerProcess:
        """Starts a worker, and waits until it serves."""
        log = self._folder / f"worker{len(self.workers)}.log"
        arguments = ("worker", "onward.testing.limited", "--on", self._url)
        worker = WorkerProcess.module(
            "onward",
            *arguments,
            "--concurrency",
            str(concurrency),
            log=log,
            environment={TRACE: str(self._folder)},
        )
        self.workers.append(self._stack.enter_context(worker))
        return worker


@pytest.fixture
def served(url: str, tmp_path: Path) -> Iterator[Served]:
    with ExitStack() as stack:
        yield Served(url, tmp_path, stack)


def ended(refs: list[Ref[Any, Any]], on: Backend) -> int:
    return sum(isinstance(found, Success) for _, found in results(refs, on=on, timeout=120))


@pytest.mark.parametrize("url", ENGINES, indirect=True)
def test_the_place_of_a_killed_worker_comes_free(
    on: Backend, served: Served, tmp_path: Path
) -> None:
    dead = served.start()
    with gate(tmp_path, LAW, "held"):
        held = submit(limited.one_of_two(LAW, "held"), on=on).unwrap()
        until(lambda: began_of(tmp_path, LAW) == ["held"], within=120, otherwise=dead.tail)
        waiting = submit_all([limited.other_of_two(LAW, "next")] * 3, on=on).unwrap()
        dead.kill()
    worker = served.start()
    assert ended([held, *waiting], on) == 4, worker.tail()
    spans = spans_of(tmp_path, LAW)
    assert sorted(span.key for span in spans) == ["held", "next", "next", "next"]
    assert most_at_once(spans) == 1


@pytest.mark.long
@pytest.mark.parametrize("url", ["sqlite", "celery", "temporal", "hatchet"], indirect=True)
def test_the_calls_of_a_killed_worker_keep_their_places(
    on: Backend, served: Served, tmp_path: Path
) -> None:
    """They go on, and no other call of the flow runs beside them."""
    dead, worker = served.start(), served.start()
    refs: list[Ref[Any, Any]] = []

    def is_submitted() -> bool:  # Hatchet knows no flow before a worker has declared it
        refs.extend(submit_all([limited.whole_calls(LAW, "a")] * 6, on=on).value_or([]))
        return bool(refs)

    until(is_submitted, within=60, otherwise=dead.tail)
    until(lambda: len(began_of(tmp_path, LAW)) >= 2, within=60, otherwise=dead.tail)
    dead.kill()
    assert ended(refs, on) == 6, worker.tail()
    assert most_at_once(spans_of(tmp_path, LAW)) == 1


@pytest.mark.parametrize("url", ["sqlite", "celery"], indirect=True)
def test_no_more_than_the_limit_for_many_contenders(
    url: str, on: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(TRACE, str(tmp_path))
    worker = on.serve(Catalog.of(limited), concurrency=32).unwrap()
    backends = [connect(url).unwrap() for _ in range(4)]
    refs: list[Ref[Any, Any]] = []

    def contend(number: int) -> None:
        calls = [limited.few_at_once(LAW, str(number)) for _ in range(3)]
        refs.extend(submit_all(calls, on=backends[number % 4]).unwrap())

    threads = [threading.Thread(target=contend, args=(number,)) for number in range(32)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ended(refs, on) == 96
    assert most_at_once(spans_of(tmp_path, LAW)) <= limited.AT_ONCE
    worker.stop()
    for backend in backends:
        backend.close()


@pytest.mark.long
@pytest.mark.parametrize("url", ["sqlite", "celery"], indirect=True)
def test_a_call_of_one_key_passes_ten_thousand_of_another(
    on: Backend, served: Served, tmp_path: Path
) -> None:
    worker = served.start(concurrency=16)
    with gate(tmp_path, LAW, "first"):
        first = submit(limited.turns(LAW, "first"), on=on).unwrap()
        until(lambda: began_of(tmp_path, LAW) == ["first"], within=120, otherwise=worker.tail)
        for _ in range(10):
            submit_all([limited.turns(LAW, "many")] * 1000, on=on).unwrap()
        few = submit(limited.turns(LAW, "few"), on=on).unwrap()
        # All of them have asked once a call that came after them has run.
        assert run(limited.free(LAW, "free"), on=on, timeout=300) == Success("free")
    assert result(first, on=on, timeout=120) == Success("first")
    assert result(few, on=on, timeout=300) == Success("few")
    order = [span.key for span in sorted(spans_of(tmp_path, LAW), key=lambda span: span.began)]
    assert order.index("few") < 100
