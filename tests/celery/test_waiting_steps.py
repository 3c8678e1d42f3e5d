"""A step that waits for another call lends its slot, so that the two cannot deadlock."""

import threading
from collections.abc import Iterator

import pytest
from returns.result import Success

from onward import Catalog, aio, each, run, task, unwrap
from onward.backends.celery import celery
from onward.backends.celery.backend import CeleryBackend

PATIENCE = 120
ON: list[CeleryBackend] = []
RUNNING = threading.Semaphore(1)


@task
def leaf(n: int) -> int:
    return n + 1


@task
def parent(n: int) -> int:
    return unwrap(run(leaf(n), on=ON[0], timeout=PATIENCE))


@task
def grandparent(n: int) -> int:
    return unwrap(run(parent(n), on=ON[0], timeout=PATIENCE))


@task
async def parent_async(n: int) -> int:
    return unwrap(await aio.run(leaf(n), on=ON[0], timeout=PATIENCE))


@task
def alone(n: int) -> bool:
    """Whether no other step of this task runs at the same time."""
    if not RUNNING.acquire(blocking=False):
        return False
    threading.Event().wait(0.02)
    RUNNING.release()
    return True


@pytest.fixture(scope="module")
def backend() -> Iterator[CeleryBackend]:
    backend = celery("memory://")
    ON.append(backend)
    catalog = Catalog(leaf, parent, grandparent, parent_async, alone)
    worker = backend.serve(catalog, concurrency=1).unwrap()
    yield backend
    worker.stop()
    backend.close()
    ON.clear()


def test_a_step_lends_the_only_slot_to_the_call_that_it_waits_for(backend: CeleryBackend) -> None:
    assert run(grandparent(1), on=backend, timeout=PATIENCE) == Success(2)
    assert run(parent_async(1), on=backend, timeout=PATIENCE) == Success(2)


def test_a_lent_slot_does_not_raise_the_concurrency_afterwards(backend: CeleryBackend) -> None:
    assert run(parent(1), on=backend, timeout=PATIENCE) == Success(2)
    assert run(each(alone)(range(4)), on=backend, timeout=PATIENCE) == Success([True] * 4)
