"""Cleanups of cancelled and expired calls: whoever has the call, and whoever takes it over."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from returns.result import Success

from onward import (
    Cancelled,
    Catalog,
    Constant,
    Expired,
    Retry,
    cancel,
    current,
    result,
    status,
    submit,
    task,
)
from onward.backends.sqlite import SqliteBackend
from onward.flows.flow import AnyTask, Task
from tests.cli.serving import serving
from tests.engines.process import until

PATIENCE = 120.0

TASKS = """
import os, time
from pathlib import Path
from onward import task

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
"""


def wait(condition: Callable[[], bool]) -> None:
    until(condition, within=PATIENCE, otherwise=lambda: "it never came to be true")


def test_who_takes_a_cancelled_call_over_cleans_up(
    tmp_path: Path, path: Path, backend: SqliteBackend
) -> None:
    """Also where the worker is killed in the middle of the cleanup."""
    (tmp_path / "pipeline.py").write_text(TASKS)
    names: dict[str, AnyTask] = {}
    exec(TASKS, names)
    flow = names["note"] >> names["work"].finally_(names["note"] >> names["undo"]) >> names["work"]
    url = f"sqlite:///{path}?lease=1"
    with serving(tmp_path, url) as first:
        ref = submit(flow(tmp_path), on=backend).unwrap()
        wait((tmp_path / f"works-{first.pid}").exists)
        first.kill()
    assert cancel(ref, on=backend) == Success(None)
    assert status(ref, on=backend).unwrap().state == "cancelling"
    with serving(tmp_path, url) as second:
        wait((tmp_path / f"undoes-{second.pid}").exists)
        second.kill()
    assert status(ref, on=backend).unwrap().state == "cancelling"
    (tmp_path / "go").touch()
    with serving(tmp_path, url) as third:
        assert isinstance(result(ref, on=backend, timeout=PATIENCE).failure(), Cancelled)
        assert not (tmp_path / f"works-{third.pid}").exists()
    assert (tmp_path / "noted").read_text() == "noted\n" * 2  # once before, once in the cleanup
    assert (tmp_path / "undone").read_text() == "undone\n"


RAN: list[object] = []
STOPPED = threading.Event()


@task
def undo(n: int) -> int:
    RAN.append(n)
    return n


@task(queue="far")
def undo_far(n: int) -> int:
    RAN.append(-n)
    return n


@task(queue="far")
async def far(n: int) -> int:
    RAN.append("far")
    try:
        await asyncio.sleep(600)
    except asyncio.CancelledError:
        STOPPED.set()
        raise
    return n


@task(retry=Retry(attempts=2, backoff=Constant(600.0)))
def hesitate(n: int) -> int:
    raise OSError("not yet")


@task(queue="nobody")
def nobody(n: int) -> int:
    return n


CATALOG = Catalog(undo, undo_far, far, hesitate, nobody)


@pytest.fixture(autouse=True)
def _nothing_ran() -> None:
    RAN.clear()
    STOPPED.clear()


def test_a_step_at_another_worker_is_interrupted_and_its_cleanup_runs(
    backend: SqliteBackend,
) -> None:
    here = backend.serve(CATALOG, queues=["onward"]).unwrap()
    there = backend.serve(CATALOG, queues=["far"]).unwrap()
    ref = submit((undo >> far.finally_(undo_far >> undo))(1), on=backend).unwrap()
    wait(lambda: "far" in RAN)
    assert cancel(ref, on=backend) == Success(None)
    assert isinstance(result(ref, on=backend, timeout=PATIENCE).failure(), Cancelled)
    assert STOPPED.wait(PATIENCE)
    assert RAN == [1, "far", -1, 1]
    here.stop()
    there.stop()


@pytest.mark.parametrize("step", [hesitate, nobody])
def test_a_call_that_waits_for_long_is_cleaned_up_at_once(
    step: Task[[int], int], path: Path, backend: SqliteBackend
) -> None:
    """Until the next attempt, or for a worker of another queue; it is parked meanwhile."""
    worker = backend.serve(CATALOG, queues=["onward"]).unwrap()
    ref = submit((undo >> step.finally_(undo))(1), on=backend).unwrap()

    def waits() -> bool:
        with closing(sqlite3.connect(path)) as db:
            query = "select count(*) from onward_jobs where due is not null or path is not null"
            return bool(db.execute(query).fetchone()[0])

    wait(waits)
    assert cancel(ref, on=backend) == Success(None)
    assert isinstance(result(ref, on=backend, timeout=PATIENCE).failure(), Cancelled)
    assert RAN == [1, 1]
    worker.stop()


def test_a_call_that_nobody_has_begun_ends_at_once(backend: SqliteBackend) -> None:
    flow = undo.finally_(undo)
    ref = submit(flow(1), on=backend).unwrap()
    assert cancel(ref, on=backend) == Success(None)
    assert isinstance(result(ref, on=backend, timeout=PATIENCE).failure(), Cancelled)
    late = submit(flow(1), on=backend, deadline=0.05).unwrap()
    assert isinstance(result(late, on=backend, timeout=PATIENCE).failure(), Expired)
    assert RAN == []


def test_a_call_that_is_cancelled_in_its_cleanup_ends_as_cancelled(
    backend: SqliteBackend,
) -> None:
    @task
    def cancels(n: int) -> int:
        assert cancel(flow.ref(current().id), on=backend) == Success(None)
        RAN.append("cancels")
        return n

    flow = undo.finally_(cancels >> undo) >> undo
    worker = backend.serve(Catalog(undo, cancels)).unwrap()
    ref = submit(flow(1), on=backend).unwrap()
    assert isinstance(result(ref, on=backend, timeout=PATIENCE).failure(), Cancelled)
    # A worker hears of a cancel a moment later, and may have begun the step after the cleanup.
    assert RAN[:3] == [1, "cancels", 1]
    worker.stop()
