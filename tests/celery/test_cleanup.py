"""Cleanups of cancelled and expired calls: wherever their messages are, and whoever dies."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from returns.result import Success

from onward import (
    Cancelled,
    Catalog,
    Constant,
    Expired,
    Retry,
    awaits,
    cancel,
    each,
    result,
    status,
    submit,
    task,
)
from onward.backends.celery import celery
from onward.backends.celery.backend import CeleryBackend
from onward.flows.flow import AnyTask
from onward.flows.signals import Signal
from tests.celery.making import Make, wait_for_held, working
from tests.cli.serving import wait_for_text
from tests.engines.process import until
from tests.engines.valkey import Valkey
from tests.engines.worker import WorkerProcess

PATIENCE = 120.0

TASKS = """
import os, sys, time
from pathlib import Path
from onward import Catalog, task
from onward.backends.celery import celery

@task
def note(folder: Path) -> Path:
    with (folder / "noted").open("a") as file:
        file.write("noted\\n")
    return folder

@task
def work(folder: Path) -> Path:
    (folder / f"works-{os.getpid()}").touch()
    time.sleep(600)
    return folder

@task
def undo(folder: Path) -> Path:
    (folder / f"undoes-{os.getpid()}").touch()
    while not (folder / "go").exists():
        time.sleep(0.01)
    with (folder / "undone").open("a") as file:
        file.write("undone\\n")
    return folder

if __name__ == "__main__":
    backend = celery(sys.argv[1], queue=sys.argv[2], lease=1.0)
    worker = backend.serve(Catalog(note, work, undo)).unwrap()
    print("\\nready", flush=True)
    worker.wait()
"""


@contextmanager
def serving(folder: Path, *arguments: str) -> Iterator[WorkerProcess]:
    log = folder / f"{uuid4().hex}.log"
    with WorkerProcess.module("pipeline", *arguments, log=log, folder=folder) as worker:
        wait_for_text(worker, "\nready")
        yield worker


def wait(condition: Callable[[], bool]) -> None:
    until(condition, within=PATIENCE, otherwise=lambda: "it never came to be true")


def test_a_cancelled_call_whose_workers_are_killed_is_cleaned_up(
    tmp_path: Path, valkey: Valkey, ledger: Any
) -> None:
    """In the middle of its flow, and in the middle of its cleanup."""
    (tmp_path / "pipeline.py").write_text(TASKS)
    names: dict[str, AnyTask] = {}
    exec(TASKS, names)
    flow = names["note"] >> names["work"].finally_(names["note"] >> names["undo"]) >> names["work"]
    url, queue = f"{valkey.url.rpartition('/')[0]}/14", uuid4().hex
    with closing(celery(url, queue=queue, lease=1.0)) as client:
        with serving(tmp_path, url, queue) as first:
            ref = submit(flow(tmp_path), on=client).unwrap()
            wait((tmp_path / f"works-{first.pid}").exists)
            first.kill()
        assert cancel(ref, on=client) == Success(None)
        assert status(ref, on=client).unwrap().state == "cancelling"
        with serving(tmp_path, url, queue) as second:
            wait((tmp_path / f"undoes-{second.pid}").exists)
            second.kill()
        assert status(ref, on=client).unwrap().state == "cancelling"
        (tmp_path / "go").touch()
        with serving(tmp_path, url, queue) as third:
            assert isinstance(result(ref, on=client, timeout=PATIENCE).failure(), Cancelled)
            assert not (tmp_path / f"works-{third.pid}").exists()
    assert (tmp_path / "noted").read_text() == "noted\n" * 2  # once before, once in the cleanup
    assert (tmp_path / "undone").read_text() == "undone\n"


RAN: list[object] = []
GO = Signal("go", int)


@task
def undo(n: int) -> int:
    RAN.append(n)
    return n


@task
async def rest(n: int) -> int:
    RAN.append("rest")
    await asyncio.sleep(600)
    return n


@task(retry=Retry(attempts=2, backoff=Constant(600.0)))
def hesitate(n: int) -> int:
    raise OSError("not yet")


@task(queue="nobody")
def nobody(n: int) -> int:
    return n


CATALOG = Catalog(undo, rest, hesitate, nobody)


@pytest.fixture(autouse=True)
def _nothing_ran() -> Iterator[None]:
    yield
    RAN.clear()


def test_a_step_that_waits_for_its_worker_keeps_no_cleanup_waiting(
    make: Make, client: CeleryBackend
) -> None:
    """Also where there is no such worker; inside of a fan-out, and after one."""
    flow = undo >> nobody.finally_(undo)
    items = each(undo >> nobody.finally_(undo)).finally_(each(undo))
    with working(make, CATALOG):
        one, many = submit(flow(1), on=client).unwrap(), submit(items([2, 3]), on=client).unwrap()
        wait(lambda: set(RAN) == {1, 2, 3})
        for id in (one.id, many.id):
            # The ledger says that their flows have begun.
            wait(lambda id=id: "f:" in str(client.ledger.read(id)))  # type: ignore[misc]  # its default
        for ref in (one, many):
            assert cancel(ref, on=client) == Success(None)
            assert isinstance(result(ref, on=client, timeout=PATIENCE).failure(), Cancelled)
    assert sorted(map(str, RAN)) == ["1"] * 2 + ["2"] * 3 + ["3"] * 3


def test_a_call_whose_message_the_ledger_holds_is_cleaned_up_at_once(
    make: Make, client: CeleryBackend, ledger: Any
) -> None:
    """Until the next attempt, or for a signal that nobody sends; by a cancel and a deadline."""
    with working(make, CATALOG):
        retried = submit((undo >> hesitate.finally_(undo))(1), on=client).unwrap()
        waiting = undo >> (awaits(GO) >> undo).finally_(undo)
        silent = submit(waiting(2), on=client).unwrap()
        late = submit(waiting(3), on=client, deadline=4.0).unwrap()
        wait_for_held(ledger, late.id)
        for ref in (retried, silent):
            wait_for_held(ledger, ref.id)
            assert cancel(ref, on=client) == Success(None)
            assert isinstance(result(ref, on=client, timeout=PATIENCE).failure(), Cancelled)
        assert isinstance(result(late, on=client, timeout=PATIENCE).failure(), Expired)
    assert sorted(map(str, RAN)) == ["1", "1", "2", "2", "3", "3"]
    assert not ledger.zrange("onward:due", 0, -1)


def test_a_signed_call_is_cleaned_up(valkey: Valkey, ledger: Any) -> None:
    url, queue = f"{valkey.url.rpartition('/')[0]}/14", uuid4().hex
    keys = [b"a-secret-of-thirty-two-characters"]
    with closing(celery(url, queue=queue, lease=1.0, signing_keys=keys)) as backend:
        worker = backend.serve(CATALOG).unwrap()
        ref = submit((undo >> rest.finally_(undo >> undo) >> undo)(1), on=backend).unwrap()
        wait(lambda: "rest" in RAN)
        assert cancel(ref, on=backend) == Success(None)
        assert isinstance(result(ref, on=backend, timeout=PATIENCE).failure(), Cancelled)
        worker.stop()
    assert RAN == [1, "rest", 1, 1]


def test_a_call_that_nobody_has_begun_ends_at_once(client: CeleryBackend) -> None:
    for delay in (0.0, 600.0):
        ref = submit(undo.finally_(undo)(1), on=client, delay=delay).unwrap()
        assert cancel(ref, on=client) == Success(None)
        assert isinstance(result(ref, on=client, timeout=0).failure(), Cancelled)
    assert RAN == []
