"""The contract of `django.tasks`, in a process whose Django has settings: `python -m ... URL`.

It runs on Django 6, and on older ones with the package django-tasks.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from datetime import timedelta
from importlib import import_module
from typing import Any

import django
from django.conf import settings
from django.utils import timezone

settings.configure(
    USE_TZ=True,
    TASKS={
        "default": {
            "BACKEND": "onward.django.OnwardBackend",
            "QUEUES": ["default", "mail"],
            "OPTIONS": {"url": sys.argv[1]},
        }
    },
)
django.setup()

NAME = "django.tasks" if django.VERSION >= (6, 0) else "django_tasks"
TASKS: Any = import_module(NAME)
ERRORS: Any = import_module(f"{NAME}.exceptions")
SIGNALS: Any = import_module(f"{NAME}.signals")
INVALID = ERRORS.InvalidTask if django.VERSION >= (6, 0) else ERRORS.InvalidTaskError

PATIENCE = 60.0


def finished(result: Any) -> Any:
    """Waits until a task has ended."""
    end = time.monotonic() + PATIENCE
    while not result.is_finished:
        assert time.monotonic() < end, result
        time.sleep(0.01)
        result.refresh()
    return result


def raises(kind: type[BaseException], act: Any) -> bool:
    """Whether a function raises an exception of this type."""
    try:
        act()
    except kind:
        return True
    return False


def main() -> None:
    """Runs all checks; raises AssertionError if one fails."""
    from onward.django import CATALOG
    from tests.web.jobs import add, fail, greet, which

    backend = TASKS.default_task_backend
    enqueued: list[str] = []
    heard = lambda task_result, **_: enqueued.append(task_result.id)  # noqa: E731 - a receiver
    SIGNALS.task_enqueued.connect(heard)
    ended = threading.Event()
    on_end = lambda **_: ended.set()  # noqa: E731 - as above
    SIGNALS.task_finished.connect(on_end)

    waiting = add.enqueue(2, b=3)
    assert waiting.status == "READY"
    assert (waiting.args, waiting.kwargs, waiting.backend) == ([2], {"b": 3}, "default")
    assert enqueued == [waiting.id]
    assert waiting.enqueued_at is not None
    worker = backend.onward.serve(CATALOG, queues=["onward", "mail"]).unwrap()
    try:
        done = finished(waiting)
        assert (done.status, done.errors, done._return_value) == ("SUCCESSFUL", [], 5), done
        assert done.attempts == 1
        assert done.worker_ids[0]
        assert done.enqueued_at <= done.started_at <= done.finished_at
        assert ended.wait(PATIENCE)
        same = add.get_result(waiting.id)
        assert (same.return_value, same.task.func) == (5, add.func)
        assert raises(ERRORS.TaskResultMismatch, lambda: greet.get_result(waiting.id))

        assert finished(greet.enqueue("Ada")).return_value == {"said": "hello Ada"}

        failed = finished(fail.enqueue("no"))
        assert failed.status == "FAILED"
        [error] = failed.errors
        assert error.exception_class is ValueError
        assert "ValueError: no" in error.traceback
        assert raises(ValueError, lambda: failed.return_value)

        context = which.enqueue()
        assert finished(context).return_value == [1, context.id]

        soon = add.using(run_after=timezone.now() + timedelta(seconds=0.5), priority=-100)
        assert finished(soon.enqueue(1)).return_value == 2

        awaited = asyncio.run(add.aenqueue(4))
        assert finished(awaited).return_value == 5
        assert asyncio.run(add.aget_result(awaited.id)).return_value == 5

        assert raises(ERRORS.TaskResultDoesNotExist, lambda: backend.get_result("0" * 32))
        assert raises(INVALID, lambda: add.using(queue_name="other"))
        assert raises(INVALID, lambda: add.using(priority=101))
        assert raises(TypeError, lambda: add.enqueue(object()))
    finally:
        worker.stop(grace=1)
        backend.onward.close()
    print("the contract is kept")


if __name__ == "__main__":
    main()
