"""The first failure of a fan-out cancels what the ledger holds, and what runs."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from onward import Catalog, Constant, Retry, current, plan, result, submit, task, together
from onward.backend import Submission
from onward.backends.celery.backend import CeleryBackend
from tests.celery.making import Make, working
from tests.engines.process import until

PATIENCE = 120.0

ALLOWED = threading.Event()
BEGUN = threading.Event()
SEEN = threading.Event()
RUNS: list[int] = []


@pytest.fixture(autouse=True)
def _anew() -> None:
    for event in (ALLOWED, BEGUN, SEEN):
        event.clear()
    RUNS.clear()


@task
def fail(n: int) -> int:
    assert ALLOWED.wait(PATIENCE)
    raise ValueError(n)


@task(retry=Retry(attempts=2, backoff=Constant(600.0)))
def stumble(n: int) -> int:
    RUNS.append(n)
    raise OSError(n)


@task
def watch(n: int) -> int:
    BEGUN.set()
    end = time.monotonic() + PATIENCE
    while not current().cancelled and time.monotonic() < end:
        time.sleep(0.01)
    if current().cancelled:
        SEEN.set()
    return n


@task
def note(n: int) -> int:
    RUNS.append(n)
    return n


@task
def refuse(n: int) -> int:
    RUNS.append(n)
    raise LookupError(n)


@task(queue="far")
def far(n: int) -> int:
    RUNS.append(n)
    return n


CATALOG = Catalog(fail, stumble, watch, note, refuse, far)


def test_a_fan_out_within_a_branch_fails_as_it_does_by_itself(
    make: Make, client: CeleryBackend
) -> None:
    """With the failure of its leftmost failed branch, although another one failed before."""
    with working(make, CATALOG):
        inner = together(fail, refuse)
        ref = submit(together(inner, note, on_failure="cancel")(1), on=client).unwrap()
        until(lambda: RUNS.count(1) == 2, within=PATIENCE, otherwise=lambda: f"{RUNS}")
        ALLOWED.set()
        assert result(ref, on=client, timeout=PATIENCE).failure().task == "fail"


def test_a_retry_that_the_ledger_holds_is_not_waited_for(
    make: Make, client: CeleryBackend, ledger: Any
) -> None:
    with working(make, CATALOG):
        ref = submit(together(stumble, fail, on_failure="cancel")(1), on=client).unwrap()
        held = f"onward:{ref.id}:held"
        until(
            lambda: ledger.exists(held), within=PATIENCE, otherwise=lambda: "the retry is not held"
        )
        ALLOWED.set()
        assert result(ref, on=client, timeout=PATIENCE).failure().task == "fail"
        assert ledger.zcard("onward:due") == 0
    assert RUNS == [1]


def test_a_sync_step_sees_that_its_branch_is_cancelled(make: Make, client: CeleryBackend) -> None:
    with working(make, CATALOG):
        flow = together(watch >> note, fail, on_failure="cancel")
        ref = submit(flow(1), on=client).unwrap()
        assert BEGUN.wait(PATIENCE)
        ALLOWED.set()
        assert result(ref, on=client, timeout=PATIENCE).failure().task == "fail"
        assert SEEN.is_set()
    assert RUNS == []


def test_a_call_that_is_sent_again_keeps_to_its_first_failure(
    make: Make, client: CeleryBackend, ledger: Any
) -> None:
    ALLOWED.set()
    queue = f"far-{client.queue}"
    flow = together(fail, far.with_(queue=queue), on_failure="cancel")
    with working(make, CATALOG):
        ref = submit(flow(1), on=client).unwrap()
        until(
            lambda: ledger.hexists(f"onward:{ref.id}", "x:"),
            within=PATIENCE,
            otherwise=lambda: str(ledger.hgetall(f"onward:{ref.id}")),
        )
    entry = client.ledger.read(ref.id)
    assert entry is not None
    client.publish([Submission(plan.decode(entry.plan).unwrap())], is_again=True)
    with working(make, CATALOG, queue):
        assert result(ref, on=client, timeout=PATIENCE).failure().task == "fail"
    assert RUNS == []
