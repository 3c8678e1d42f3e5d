"""`limited`, whose key a type checker compares with the parameters of what it limits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar, cast, overload

from msgspec.structs import replace

from onward.flows.flow import AnyFlow, AnyTask, Flow, Named, Task
from onward.flows.values import check_key
from onward.limit import Limit, Selector

Params = ParamSpec("Params")
Value = TypeVar("Value")
Error = TypeVar("Error")
Returned = TypeVar("Returned")


@overload
def limited(
    flow: Task[Params, Value, Error, Returned],
    limit: Limit,
    /,
    *,
    key: Callable[Params, str | int] | None = None,
) -> Task[Params, Value, Error, Returned]: ...
@overload
def limited(
    flow: Flow[Params, Value, Error],
    limit: Limit,
    /,
    *,
    key: Callable[Params, str | int] | None = None,
) -> Flow[Params, Value, Error]: ...
def limited(flow: object, limit: Limit, /, *, key: Selector | None = None) -> AnyFlow:
    """Gives a task, or the calls of a named flow, a limit over all workers.

    For a task, `@task(limit=Limit(...))` does the same. Here, type checkers see that the key takes
    what the task takes, and know the types of a lambda's parameters.

    For a named flow, the limit counts its calls: how many have begun and not ended, and how many
    begin within a time. A call has its place from its first step to its end, also while it sleeps.

    Args:
        flow: The task, or a flow with a name.
        limit: Its limit.
        key: Gives the limit's key for the arguments, in place of `limit.key`. It takes the same
            parameters as the task or the flow.

    Returns:
        The task with the limit in its policy, or the flow with the limit.

    Raises:
        TypeError: If `flow` is neither a task nor a named flow, or the key does not take its
            parameters.

    Example:
        >>> from onward import Limit, limited, local, run, task
        >>> @task
        ... def fetch(url: str) -> int:
        ...     return len(url)
        >>> polite = limited(fetch, Limit(concurrency=2), key=lambda url: url.split("/")[2])
        >>> run(polite("https://example.org/a.csv"), on=local())
        <Success: 25>
        >>> ingest = limited(fetch.named("ingest"), Limit(concurrency=1))
        >>> run(ingest("https://example.org/a.csv"), on=local())
        <Success: 25>
    """
    if not isinstance(limit, Limit):
        raise TypeError(f"a limit is a Limit, not {limit!r}: write Limit(concurrency=5)")
    if key is not None:
        limit = replace(limit, key=key)
    if isinstance(flow, Task):
        return cast(AnyTask, flow).with_(limit=limit)
    if not isinstance(flow, Named):
        raise TypeError(
            f"{flow!r} is neither a task nor a flow with a name: put @task on the function, or "
            "write limited(flow.named(...), Limit(...)), which limits its calls; "
            "flow.with_(limit=...) limits each of its tasks"
        )
    named = cast("Named[..., Any, Any]", flow)
    if limit.key is not None:
        check_key(named, limit.key)
    return Named(named.body, named.label, limit)
