"""The first failure of a fan-out cancels steps that other workers run."""

import asyncio
import threading

from onward import Catalog, result, submit, task, together
from onward.backends.sqlite import SqliteBackend

PATIENCE = 120.0


def test_a_step_that_another_worker_runs_is_interrupted(backend: SqliteBackend) -> None:
    begun, interrupted = threading.Event(), threading.Event()

    @task(queue="far")
    async def rest(n: int) -> int:
        begun.set()
        try:
            await asyncio.sleep(600)
        except asyncio.CancelledError:
            interrupted.set()
            raise
        return n

    @task
    def fail(n: int) -> int:
        assert begun.wait(PATIENCE)
        raise ValueError(n)

    catalog = Catalog(rest, fail)
    here = backend.serve(catalog, queues=["onward"]).unwrap()
    there = backend.serve(catalog, queues=["far"]).unwrap()
    ref = submit(together(rest, fail, on_failure="cancel")(1), on=backend).unwrap()
    assert result(ref, on=backend, timeout=PATIENCE).failure().task == "fail"
    assert interrupted.wait(PATIENCE)
    here.stop()
    there.stop()


def test_a_step_that_no_worker_has_taken_is_withdrawn(backend: SqliteBackend) -> None:
    ran: list[int] = []

    @task(queue="far")
    def step(n: int) -> int:
        ran.append(n)
        return n

    @task
    def fail(n: int) -> int:
        raise ValueError(n)

    catalog = Catalog(step, fail)
    here = backend.serve(catalog, queues=["onward"]).unwrap()
    ref = submit(together(fail, step, on_failure="cancel")(1), on=backend).unwrap()
    assert result(ref, on=backend, timeout=PATIENCE).failure().task == "fail"
    there = backend.serve(catalog, queues=["far"]).unwrap()
    after = submit(step(2), on=backend).unwrap()
    assert result(after, on=backend, timeout=PATIENCE).unwrap() == 2
    assert ran == [2]
    here.stop()
    there.stop()
