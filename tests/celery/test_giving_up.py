"""A worker gives up its running steps to other workers, and its process can end."""

import asyncio
import threading
from concurrent.futures import thread as futures
from contextlib import closing

from onward import Catalog, Raised, run, task
from onward.backends.celery import celery
from onward.backends.celery.pool import Pool


@task
async def sweeps(n: int) -> int:
    """Cancels all tasks on its loop, as programs do that end their own loop."""
    for each in asyncio.all_tasks():
        each.cancel()
    await asyncio.sleep(60)
    return n


def test_a_step_that_cancels_itself_gets_an_outcome() -> None:
    with closing(celery("memory://")) as backend:
        worker = backend.serve(Catalog(sweeps)).unwrap()
        assert isinstance(run(sweeps(1), on=backend, timeout=120).failure(), Raised)
        worker.stop()


def test_a_step_that_starts_after_give_up_does_not_keep_the_process_alive() -> None:
    let_go = threading.Event()
    pool = Pool(limit=1)
    pool.give_up()
    pool.executor.submit(let_go.wait, 30)  # as Celery's loop may do until it ends
    pool.on_stop()
    joined_at_exit = futures._threads_queues
    assert pool.executor._threads.isdisjoint(joined_at_exit)
    let_go.set()
