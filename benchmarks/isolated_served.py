"""The timed workers of `isolated`: `python -m benchmarks.isolated_served NAME URL` starts one."""

from __future__ import annotations

import sys
import time

from celery import Celery

from onward import Catalog, task, unwrap, work
from onward.backends.celery import celery

SLOTS = 2
"""How many steps each worker runs at a time."""

CELERY, THREADS, ISOLATED = "Celery, prefork", "Onward, threads", "Onward, isolated"


def nothing(n: int) -> int:
    return n


def compute(seconds: float) -> int:
    """Takes this much time of a processor."""
    end = time.thread_time() + seconds
    count = 0
    while time.thread_time() < end:
        count += 1
    return count


idle, busy = task(nothing), task(compute)


def app(url: str) -> Celery:
    """Celery, with the same tasks."""
    made = Celery("benchmarks", broker=url, backend=url)
    made.task(name="raw.nothing")(nothing)
    made.task(name="raw.compute")(compute)
    return made


def main(name: str, url: str) -> None:
    """Works until it is stopped."""
    if name == CELERY:
        slots = f"--concurrency={SLOTS}"
        app(url).worker_main(["worker", "--pool=prefork", slots, "--loglevel=WARNING"])
    else:
        served = Catalog(idle, busy)
        unwrap(work(served, on=celery(url), concurrency=SLOTS, isolate=name == ISOLATED))


if __name__ == "__main__":
    main(*sys.argv[1:])
