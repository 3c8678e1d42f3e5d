"""A backend of Django's tasks (`django.tasks`, Django 6) that runs them on any of Onward's engines.

```python
TASKS = {
    "default": {
        "BACKEND": "onward.django.OnwardBackend",
        "QUEUES": [],  # any queue
        "OPTIONS": {"url": "celery+redis://localhost:6379/0"},
    }
}
```

Before Django 6, it is a backend of the package `django-tasks`. `onward worker onward.django` is a
worker: it serves one task, which runs a task of Django's by its path, with arguments in JSON.
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping
from datetime import datetime
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from returns.result import Failure, Success

from onward.answers import UnwrapError, unwrap
from onward.backend import Backend, Histories
from onward.catalog import Catalog
from onward.config import connect
from onward.context import current
from onward.fault import Fault, Raised, Unknown
from onward.flows.define import task
from onward.interpret import history, submit
from onward.interpret.histories import History

__all__ = ["CATALOG", "OnwardBackend", "run_task"]

_TASKS = "django.tasks" if find_spec("django.tasks") is not None else "django_tasks"
_django: Any = import_module("django")  # which has no types
_db: Any = import_module("django.db")
_timezone: Any = import_module("django.utils.timezone")
_loading: Any = import_module("django.utils.module_loading")
_tasks: Any = import_module(_TASKS)
_base: Any = import_module(f"{_TASKS}.base")
_signals: Any = import_module(f"{_TASKS}.signals")
_exceptions: Any = import_module(f"{_TASKS}.exceptions")
_JSON = "django.utils.json" if _TASKS == "django.tasks" else "django_tasks.utils"
_normalized: Any = import_module(_JSON).normalize_json

_WIDTH = 20
"""How many of Django's priorities, from -100 to 100, are one of Onward's, from 0 to 9."""


if TYPE_CHECKING:

    class _Base:
        """What Django's `BaseTaskBackend` has."""

        options: dict[str, Any]

        def __init__(self, alias: str, params: Mapping[str, Any]) -> None:
            self.alias = alias

        def validate_task(self, task: Any) -> None: ...

        def get_result(self, result_id: str) -> Any: ...

else:
    _Base = import_module(f"{_TASKS}.backends.base").BaseTaskBackend


@task(name="django.task")
def run_task(path: str, alias: str, args: str, kwargs: str) -> str:
    """Runs a task of Django's.

    Args:
        path: The path of the task: its module and its name.
        alias: The name of its backend in `TASKS`.
        args: Its arguments by position, in JSON.
        kwargs: Its arguments by name, in JSON.

    Returns:
        What it gives, in JSON.
    """
    _django.setup()
    backend = _tasks.task_backends[alias]
    sender, step = type(backend), current()
    now = _timezone.now()
    found = backend.result_of(
        step.id,
        _task(path, alias),
        json.loads(args),
        json.loads(kwargs),
        status="RUNNING",
        began=now,
        workers=[f"{os.getpid()}@{platform.node()}"] * step.attempt,
    )
    _signals.task_started.send(sender=sender, task_result=found)
    given = (_base.TaskContext(task_result=found),) if found.task.takes_context else ()
    status = "FAILED"
    _db.close_old_connections()
    try:
        value = _normalized(found.task.call(*given, *found.args, **found.kwargs))
        object.__setattr__(found, "_return_value", value)
        status = "SUCCESSFUL"
        return json.dumps(value)
    finally:
        _db.close_old_connections()
        object.__setattr__(found, "status", _base.TaskResultStatus(status))
        object.__setattr__(found, "finished_at", _timezone.now())
        _signals.task_finished.send(sender=sender, task_result=found)


CATALOG = Catalog(run_task)
"""What a worker serves: `work(CATALOG, on=backend)`."""


class OnwardBackend(_Base):
    """Runs Django's tasks on one of Onward's engines.

    Its option `url` is what `connect` takes; without it, the environment names the engine. Queues
    are Onward's, where `default` is the engine's own; priorities are in ten steps.

    Args:
        alias: Its name in `TASKS`.
        params: Its settings there.
    """

    supports_defer: bool = True
    supports_async_task: bool = True
    supports_get_result: bool = True
    supports_priority: bool = True

    def __init__(self, alias: str, params: Mapping[str, Any]) -> None:
        super().__init__(alias, params)
        self.onward: Backend = _connected(self.options.get("url"), os.getpid())
        self.supports_get_result = isinstance(self.onward, Histories)

    def enqueue(self, task: Any, args: Any, kwargs: Any) -> Any:
        """Submits a task; raises `onward.answers.UnwrapError` if the engine does not take it."""
        self.validate_task(task)
        found = self.result_of("", task, list(args), dict(kwargs), status="READY")
        call = run_task(
            task.module_path, self.alias, json.dumps(found.args), json.dumps(found.kwargs)
        )
        ref = submit(
            call,
            on=self.onward,
            queue=None if task.queue_name == _tasks.DEFAULT_TASK_QUEUE_NAME else task.queue_name,
            priority=_priority(task.priority),
            delay=_delay(task.run_after),
        )
        object.__setattr__(found, "id", unwrap(ref).id)
        object.__setattr__(found, "enqueued_at", _timezone.now())
        _signals.task_enqueued.send(type(self), task_result=found)
        return found

    def get_result(self, result_id: str) -> Any:
        """The result of a task, from what the engine keeps; raises `TaskResultDoesNotExist`."""
        if not isinstance(self.onward, Histories):
            return super().get_result(result_id)
        answer = history(run_task.ref(result_id), on=self.onward)
        if isinstance(answer, Failure) and isinstance(answer.failure(), Unknown):
            raise _exceptions.TaskResultDoesNotExist(result_id)
        return self._read(unwrap(answer))

    def _read(self, seen: History[str, Fault]) -> Any:
        if seen.plan is None or seen.flow != run_task.name:
            raise _exceptions.TaskResultDoesNotExist(seen.id)
        (path, alias, args, kwargs), _ = run_task.signature.decode(seen.plan.args, skip=0)
        attempts = [attempt for step in seen.steps for attempt in step.attempts]
        found = self.result_of(
            seen.id,
            _task(str(path), str(alias)),
            json.loads(str(args)),
            json.loads(str(kwargs)),
            status=_status(seen),
            enqueued=seen.submitted,
            began=attempts[0].began if attempts else None,
            last=attempts[-1].began if attempts else None,
            ended=seen.ended,
            workers=[attempt.worker for attempt in attempts],
        )
        if isinstance(seen.result, Success):
            object.__setattr__(found, "_return_value", json.loads(seen.result.unwrap()))
        elif seen.result is not None:
            found.errors.append(_error(seen.result.failure()))
        return found

    def result_of(
        self,
        id: str,
        task: Any,
        args: list[Any],
        kwargs: dict[str, Any],
        *,
        status: str,
        enqueued: datetime | None = None,
        began: datetime | None = None,
        last: datetime | None = None,
        ended: datetime | None = None,
        workers: list[str] | None = None,
    ) -> Any:
        """Makes a `TaskResult`."""
        return _base.TaskResult(
            task=task,
            id=id,
            status=_base.TaskResultStatus(status),
            enqueued_at=enqueued,
            started_at=began,
            finished_at=ended,
            last_attempted_at=last or began,
            args=args,
            kwargs=kwargs,
            backend=self.alias,
            errors=[],
            worker_ids=workers or [],
        )


@cache
def _connected(url: str | None, pid: int) -> Backend:
    """One backend for all threads of a process, for each of which Django makes a backend of its."""
    return unwrap(connect(url))


def _task(path: str, alias: str) -> Any:
    found = _loading.import_string(path)
    return found if found.backend == alias else found.using(backend=alias)


def _status(seen: History[str, Fault]) -> str:
    """The status, which says that a task has ended only once its outcome is known."""
    if seen.result is not None:
        return "SUCCESSFUL" if isinstance(seen.result, Success) else "FAILED"
    return "READY" if seen.state in ("queued", "waiting") else "RUNNING"


def _priority(given: int) -> int | None:
    """Onward's priority, from 0 to 9; None for Django's default, which is 0."""
    return None if given == 0 else min((given + 100) // _WIDTH, 9)


def _delay(run_after: datetime | None) -> float:
    if run_after is None:
        return 0.0
    now = datetime.now(run_after.tzinfo)
    return max(0.0, (run_after - now).total_seconds())


def _error(fault: Fault) -> Any:
    if not isinstance(fault, Raised):
        path = f"{UnwrapError.__module__}.{UnwrapError.__qualname__}"
        return _base.TaskError(exception_class_path=path, traceback=str(fault))
    path = fault.error_type if "." in fault.error_type else f"builtins.{fault.error_type}"
    return _base.TaskError(exception_class_path=path, traceback=fault.traceback)
