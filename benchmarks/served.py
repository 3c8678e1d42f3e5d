"""The timed workers and their tasks: `python -m benchmarks.served NAME URL` starts one.

All of them run their steps in the threads of one process.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

from celery import Celery
from redis import Redis

from onward import Catalog, task, unwrap, work
from onward.backends.celery import celery

THREADS = 4
BELL = "benchmarks:bell"
"""A list in the worker's database. The worker pushes to it after the last of the queued calls."""


class Bell:
    """Signals when as many calls have finished as were queued."""

    def __init__(self) -> None:
        self.redis = Redis()
        self._lock = Lock()
        self._finished = 0

    def count(self, calls: int) -> None:
        with self._lock:
            self._finished += 1
            if self._finished < calls:
                return
            self._finished = 0
        self.redis.rpush(BELL, calls)


bell = Bell()


def pass_on(calls: int) -> int:
    return calls


def finish(calls: int) -> int:
    bell.count(calls)
    return calls


step, last = task(pass_on), task(finish)
flow = step >> step >> last
catalog = Catalog(step, last)


@dataclass(frozen=True)
class Setup:
    """A way to set Celery up.

    Args:
        settings: The app's settings.
        options: Further options of its worker.
        interval: How often `get` looks for results, in seconds.
        is_terse: Whether a chain leaves out the results of all but its last step.
    """

    settings: Mapping[str, Any] = field(default_factory=dict)
    options: Sequence[str] = ()
    interval: float = 0.5
    is_terse: bool = False

    def app(self, url: str) -> Celery:
        """Its app, with the tasks."""
        app = Celery("benchmarks", broker=url, backend=url)
        app.conf.update(self.settings)
        app.task(name="raw.pass_on")(pass_on)
        app.task(name="raw.finish")(finish)
        return app


SETUPS = {
    "Celery": Setup(),
    # With these it lost nothing while its workers were killed.
    "Celery, set up for safety": Setup(
        {
            "task_acks_late": True,
            "task_reject_on_worker_lost": True,
            "worker_prefetch_multiplier": 1,
            "broker_transport_options": {
                "visibility_timeout": 24 * 3600,
                "unacked_restore_interval": 1,
                "unacked_restore_throttle": 1,
            },
            "result_backend_always_retry": True,
            "result_extended": True,
            "worker_deduplicate_successful_tasks": True,
        }
    ),
    "Celery, set up for speed": Setup(
        {
            "worker_prefetch_multiplier": 16,
            "worker_disable_rate_limits": True,
            "worker_enable_remote_control": False,
            "result_expires": None,
        },
        ("--without-gossip", "--without-mingle", "--without-heartbeat"),
        interval=0.001,
        is_terse=True,
    ),
}


def main(name: str, url: str) -> None:
    """Works until it is stopped."""
    bell.redis = Redis.from_url(url)
    if name in SETUPS:
        setup = SETUPS[name]
        threads = ("--pool=threads", f"--concurrency={THREADS}", "--loglevel=WARNING")
        setup.app(url).worker_main(["worker", *threads, *setup.options])
    else:
        unwrap(work(catalog, on=celery(url), concurrency=THREADS))


if __name__ == "__main__":
    main(*sys.argv[1:])
