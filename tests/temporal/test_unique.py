"""Calls that share a key: without a worker, cancelled while they wait, and where processes die."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from uuid import uuid4

import pytest
from returns.result import Success

from onward import Cancelled, Catalog, Unknown, cancel, result, status, submit
from onward.backends.temporal import TemporalBackend
from onward.backends.temporal import temporal as temporal_at
from tests.engines.server import HOST
from tests.engines.temporal import Temporal
from tests.faults import unique
from tests.temporal.conftest import until_status
from tests.temporal.served import catalog, inc, wait

PATIENCE = 120.0


@pytest.fixture
def idle(temporal: Temporal) -> Iterator[TemporalBackend]:
    """A backend without a worker, on a task queue of its own."""
    with closing(temporal_at(HOST, temporal.port, task_queue=uuid4().hex)) as made:
        yield made


def test_no_worker_is_needed_to_submit_and_to_cancel(idle: TemporalBackend) -> None:
    first = submit(inc(1), on=idle, unique="a", debounce=0).unwrap()
    assert submit(inc(2), on=idle, unique="a", debounce=0).unwrap() == first
    assert submit(inc(3), on=idle, unique="a").unwrap() == first
    assert status(first, on=idle).unwrap().state == "queued"
    cancel(first, on=idle).unwrap()
    assert isinstance(result(first, on=idle, timeout=PATIENCE).failure(), Cancelled)
    assert status(first, on=idle).unwrap().state == "cancelled"
    cancel(first, on=idle).unwrap()
    second = submit(inc(4), on=idle, unique="a", debounce=0).unwrap()
    assert submit(inc(5), on=idle, unique="a", debounce=0).unwrap() == second != first
    other = submit(inc(6), on=idle, unique="b").unwrap()
    assert submit(inc(7), on=idle, unique="b").unwrap() == other
    following = submit(inc(8), on=idle, unique="b", debounce=0).unwrap()
    assert submit(inc(9), on=idle, unique="b", debounce=0).unwrap() == following != other
    worker = idle.serve(catalog).unwrap()
    assert result(second, on=idle, timeout=PATIENCE) == Success(6)
    assert result(other, on=idle, timeout=PATIENCE) == Success(7)
    assert result(following, on=idle, timeout=PATIENCE) == Success(10)
    worker.stop()


def test_the_call_that_comes_next_can_be_cancelled(backend: TemporalBackend) -> None:
    key = uuid4().hex
    first = submit(wait(600.0), on=backend, unique=key).unwrap()
    until_status(first, backend, lambda seen: seen.state == "running")
    second = submit(wait(0.1), on=backend, unique=key, debounce=0).unwrap()
    cancel(second, on=backend).unwrap()
    assert isinstance(result(second, on=backend, timeout=PATIENCE).failure(), Cancelled)
    third = submit(wait(0.2), on=backend, unique=key, debounce=0).unwrap()
    assert submit(wait(0.3), on=backend, unique=key, debounce=0).unwrap() == third
    assert third not in (first, second)
    assert submit(wait(0.4), on=backend, unique=key).unwrap() == first
    cancel(first, on=backend).unwrap()
    assert result(third, on=backend, timeout=PATIENCE) == Success(0.3)


def test_an_id_of_a_key_that_nobody_knows_is_unknown(backend: TemporalBackend) -> None:
    known = submit(inc(1), on=backend, unique=uuid4().hex).unwrap()
    result(known, on=backend, timeout=PATIENCE)
    ref = inc.ref(f"{known.id[:-1]}x")
    assert isinstance(status(ref, on=backend).failure(), Unknown)
    assert isinstance(result(ref, on=backend).failure(), Unknown)
    assert isinstance(cancel(ref, on=backend).failure(), Unknown)


@pytest.mark.long
def test_the_last_arguments_run_whoever_submits_at_once(idle: TemporalBackend) -> None:
    worker = idle.serve(Catalog(unique.lasting)).unwrap()
    unique.contend(idle, seconds=10.0)
    worker.stop()


@pytest.mark.long
def test_submitters_and_workers_that_are_killed_lose_nothing(
    temporal: Temporal, tmp_path: Path
) -> None:
    queue = uuid4().hex
    with closing(temporal_at(HOST, temporal.port, task_queue=queue)) as backend:
        url = f"temporal://{temporal.address}?task_queue={queue}"
        program = f"from onward import connect; backend = connect({url!r}).unwrap()"
        unique.storm(tmp_path, program, backend)
