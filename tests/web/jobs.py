"""Tasks of Django's."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

import django

_TASKS = import_module("django.tasks" if django.VERSION >= (6, 0) else "django_tasks")
task: Callable[..., Any] = _TASKS.task


@task
def add(a: int, b: int = 1) -> int:
    return a + b


@task(priority=20, queue_name="mail")  # type: ignore[untyped-decorator]  # Django has no types
async def greet(name: str) -> dict[str, str]:
    return {"said": f"hello {name}"}


@task
def fail(text: str) -> None:
    raise ValueError(text)


@task(takes_context=True)  # type: ignore[untyped-decorator]  # as above
def which(context: Any) -> list[Any]:
    return [context.attempt, context.task_result.id]
