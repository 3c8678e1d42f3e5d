"""A worker in plain Celery: `python -m tests.faults.plain SETUP URL CHILDREN FLAG`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, NoReturn

from celery import Celery

from tests.faults.celery_served import arm
from tests.faults.served import keep, note, take_time

SETUPS: dict[str, dict[str, Any]] = {
    "Celery, defaults": {},
    "Celery, best settings": {
        "task_acks_late": True,
        "task_reject_on_worker_lost": True,
        "worker_prefetch_multiplier": 1,
        "broker_transport_options": {
            "visibility_timeout": 3600,
            "unacked_restore_interval": 1,
            "unacked_restore_throttle": 1,
        },
        "result_backend_always_retry": True,
        "task_publish_retry_policy": {
            "max_retries": None,
            "interval_start": 0.1,
            "interval_step": 0.2,
            "interval_max": 1,
        },
        "worker_deduplicate_successful_tasks": True,
        "result_extended": True,
    },
}


def app_of(setup: str, url: str) -> Celery:
    """A Celery app, as Celery's users write it."""
    app = Celery("plain", broker=url, backend=url)
    app.conf.update(SETUPS[setup], broker_connection_retry_on_startup=True)

    @app.task(name="step", shared=False)
    def step(n: int, call: str) -> int:
        note(call, f"step {n}")
        take_time()
        return n + 1

    @app.task(name="add_up", shared=False)
    def add_up(numbers: list[int], call: str) -> int:
        note(call, f"add_up {len(numbers)}")
        take_time()
        return sum(numbers)

    return app


def main(setup: str, url: str, children: str, flag: str) -> NoReturn:
    """Keeps a worker with so many children running."""
    arm("popped", Path(flag))
    options = ["--pool=prefork", f"--concurrency={children}", "--loglevel=INFO"]
    keep(1, lambda: app_of(setup, url).worker_main(["worker", *options]))


if __name__ == "__main__":
    main(*sys.argv[1:])
