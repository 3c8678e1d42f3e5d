"""`limited`, which gives a task a limit whose key a type checker compares with its parameters."""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, TypeVar

from msgspec.structs import replace

from onward.flows.flow import Task
from onward.limit import Limit

Params = ParamSpec("Params")
Value = TypeVar("Value")
Error = TypeVar("Error")
Returned = TypeVar("Returned")


def limited(
    task: Task[Params, Value, Error, Returned],
    limit: Limit,
    /,
    *,
    key: Callable[Params, str | int] | None = None,
) -> Task[Params, Value, Error, Returned]:
    """Gives a task a limit over all workers, with a key of its arguments.

    `@task(limit=Limit(...))` does the same. Here, type checkers see that the key takes what the
    task takes, and know the types of a lambda's parameters.

    Args:
        task: The task.
        limit: Its limit.
        key: Gives the limit's key for the task's arguments, in place of `limit.key`. It takes the
            same parameters as the task.

    Returns:
        The task with the limit in its policy.

    Raises:
        TypeError: If `task` is no task, or the key does not take its parameters.

    Example:
        >>> from onward import Limit, limited, local, run, task
        >>> @task
        ... def fetch(url: str) -> int:
        ...     return len(url)
        >>> polite = limited(fetch, Limit(concurrency=2), key=lambda url: url.split("/")[2])
        >>> run(polite("https://example.org/a.csv"), on=local())
        <Success: 25>
    """
    if not isinstance(task, Task):
        raise TypeError(
            f"{task!r} is not a task: put @task on the function; for a flow, write "
            "flow.with_(limit=...), which limits each of its tasks, or fused(flow, limit=...), "
            "which makes one step of it"
        )
    if not isinstance(limit, Limit):
        raise TypeError(f"a limit is a Limit, not {limit!r}: write Limit(concurrency=5)")
    return task.with_(limit=limit if key is None else replace(limit, key=key))
