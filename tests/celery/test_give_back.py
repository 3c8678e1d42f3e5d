"""What becomes of steps, and of the process, where a worker gives back what it runs."""

import asyncio
import threading
from concurrent.futures import thread as futures
from contextlib import closing

from onward import Catalog, Raised, run, task
from onward.backends.celery import celery
from onward.backends.celery.pool import Pool


@task
async def sweeps(n: int) -> int:
    """Cancels all that runs on its loop, as many do who end a loop of their own."""
    for each in asyncio.all_tasks():
        each.cancel()
    await asyncio.sleep(60)
    return n


def test_only_what_is_given_back_stays_unanswered() -> None:
    with closing(celery("memory://")) as backend:
        worker = backend.serve(Catalog(sweeps)).unwrap()
        assert isinstance(run(sweeps(1), on=backend, timeout=10).failure(), Raised)
        worker.stop()


def test_what_begins_after_it_does_not_hold_up_the_end_of_the_process_either() -> None:
    let_go = threading.Event()
    pool = Pool(limit=1)
    pool.give_back()
    pool.executor.submit(let_go.wait, 30)  # as Celery's loop does until it has heard of the end
    pool.on_stop()
    joined_at_exit = futures._threads_queues
    assert pool.executor._threads.isdisjoint(joined_at_exit)
    let_go.set()
