"""Tasks that exist on an engine, as tasks of Onward's: `adopted.celery` and its like.

The code of such a task stays where it is, in whatever language. A worker of Onward's calls it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Never, ParamSpec, Protocol, TypeVar, Unpack, overload

from onward.bridges.adopting import adopt, on_celery, on_hatchet, on_temporal
from onward.flows.define import Async
from onward.flows.flow import Task
from onward.policy import PolicyOptions, check_seconds

if TYPE_CHECKING:
    from onward.backends.celery.adopted import Celery

__all__ = ["celery", "hatchet", "temporal_activity", "temporal_workflow"]

P = ParamSpec("P")
V = TypeVar("V")


class Adopts(Protocol):
    """The decorator that makes a task of a signature."""

    def __call__(self, signature: Callable[P, V], /) -> Task[P, V, Never, Async[V]]:
        """Makes the task."""
        ...


@overload
def celery(
    name: str,
    signature: Callable[P, V],
    /,
    *,
    on: Celery | str,
    result_backend: str | None = None,
    to: str | None = None,
    terminate: bool = False,
    **options: Unpack[PolicyOptions],
) -> Task[P, V, Never, Async[V]]: ...
@overload
def celery(
    name: str,
    /,
    *,
    on: Celery | str,
    result_backend: str | None = None,
    to: str | None = None,
    terminate: bool = False,
    **options: Unpack[PolicyOptions],
) -> Adopts: ...
def celery(
    name: str,
    signature: Callable[..., Any] | None = None,
    /,
    *,
    on: Celery | str,
    result_backend: str | None = None,
    to: str | None = None,
    terminate: bool = False,
    **options: Unpack[PolicyOptions],
) -> Any:
    """Makes a task of a task that exists in a Celery app.

    A worker of Onward's sends it, and waits for its result without a slot where it can. If that
    worker dies, another one may send it again with the same id, as Celery itself does.

    Args:
        name: The task's name in Celery.
        signature: A function with the annotations of its parameters and its value. It is never
            called. Without it, the answer is a decorator.
        on: The Celery app, or its broker's URL.
        result_backend: The URL of its result backend, if that is not the broker.
        to: The queue that it is sent to; None for what the app says.
        terminate: Whether the process that runs it is killed, if the step is cancelled or times
            out. Otherwise Celery only keeps it from starting.
        options: The fields of the step's `Policy`. Its `queue` is that of Onward's workers.

    Returns:
        The task. What the Celery task raises is the fault `Raised`.

    Raises:
        TypeError: If the signature has an annotation that cannot travel, or a Result.
        ValueError: If the name or an option is out of bounds.

    Example:
        >>> from onward.bridges import adopted
        >>> @adopted.celery("shop.charge", on="redis://localhost:6379/0", timeout=30)
        ... def charge(card: str, cents: int) -> str:
        ...     raise NotImplementedError
        >>> charge("4242", 1999)
        charge('4242', 1999)
    """
    opened = partial(on_celery, on, result_backend, to, terminate)
    return adopt(name, signature, opened, "as given", options)


@overload
def temporal_workflow(
    name: str,
    signature: Callable[P, V],
    /,
    *,
    on: str,
    task_queue: str,
    **options: Unpack[PolicyOptions],
) -> Task[P, V, Never, Async[V]]: ...
@overload
def temporal_workflow(
    name: str, /, *, on: str, task_queue: str, **options: Unpack[PolicyOptions]
) -> Adopts: ...
def temporal_workflow(
    name: str,
    signature: Callable[..., Any] | None = None,
    /,
    *,
    on: str,
    task_queue: str,
    **options: Unpack[PolicyOptions],
) -> Any:
    """Makes a task of a workflow that exists on Temporal, in whatever language.

    Each attempt at the step is one workflow, also if Onward's worker dies meanwhile.

    Args:
        name: The workflow's type.
        signature: A function with the annotations of its parameters and its value. It is never
            called. Without it, the answer is a decorator.
        on: The URL of Temporal, as for `connect`.
        task_queue: The task queue of the workers that serve it.
        options: The fields of the step's `Policy`. Its `queue` is that of Onward's workers.

    Returns:
        The task. What the workflow fails with is the fault `Raised`.

    Raises:
        TypeError: If the signature has an annotation that cannot travel, or a Result.
        ValueError: If the name, the URL or an option is out of bounds.

    Example:
        >>> from onward.bridges import adopted
        >>> url = "temporal://localhost:7233"
        >>> @adopted.temporal_workflow("ShipOrder", on=url, task_queue="shipping")
        ... def ship(order: str) -> str:
        ...     raise NotImplementedError
        >>> ship("A7")
        ship('A7')
    """
    opened = partial(on_temporal, on, task_queue)
    return adopt(name, signature, opened, "by position", options)


@overload
def temporal_activity(
    name: str,
    signature: Callable[P, V],
    /,
    *,
    on: str,
    task_queue: str,
    longest: float = 3600.0,
    **options: Unpack[PolicyOptions],
) -> Task[P, V, Never, Async[V]]: ...
@overload
def temporal_activity(
    name: str,
    /,
    *,
    on: str,
    task_queue: str,
    longest: float = 3600.0,
    **options: Unpack[PolicyOptions],
) -> Adopts: ...
def temporal_activity(
    name: str,
    signature: Callable[..., Any] | None = None,
    /,
    *,
    on: str,
    task_queue: str,
    longest: float = 3600.0,
    **options: Unpack[PolicyOptions],
) -> Any:
    """Makes a task of an activity that exists on Temporal, in whatever language.

    The server must run activities by themselves, without a workflow. Each attempt at the step is
    one activity, and one attempt at it.

    Args:
        name: The activity's type.
        signature: A function with the annotations of its parameters and its value. It is never
            called. Without it, the answer is a decorator.
        on: The URL of Temporal, as for `connect`.
        task_queue: The task queue of the workers that serve it.
        longest: How long the activity may take, in seconds.
        options: The fields of the step's `Policy`. Its `queue` is that of Onward's workers.

    Returns:
        The task. What the activity fails with is the fault `Raised`.

    Raises:
        TypeError: If the signature has an annotation that cannot travel, or a Result.
        ValueError: If the name, the URL or an option is out of bounds.

    Example:
        >>> from onward.bridges import adopted
        >>> url = "temporal://localhost:7233"
        >>> @adopted.temporal_activity("Charge", on=url, task_queue="billing", timeout=30)
        ... def charge(card: str, cents: int) -> str:
        ...     raise NotImplementedError
        >>> charge("4242", 1999)
        charge('4242', 1999)
    """
    check_seconds("longest", longest, 0.001)
    opened = partial(on_temporal, on, task_queue, longest)
    return adopt(name, signature, opened, "by position", options)


@overload
def hatchet(
    name: str, signature: Callable[P, V], /, *, on: str, **options: Unpack[PolicyOptions]
) -> Task[P, V, Never, Async[V]]: ...
@overload
def hatchet(name: str, /, *, on: str, **options: Unpack[PolicyOptions]) -> Adopts: ...
def hatchet(
    name: str,
    signature: Callable[..., Any] | None = None,
    /,
    *,
    on: str,
    **options: Unpack[PolicyOptions],
) -> Any:
    """Makes a task of a task or workflow that exists on Hatchet, in whatever language.

    Its input is an object with the arguments by their names. Its value is the output of its only
    task, or an object with the outputs of all tasks by their names.

    Args:
        name: The name of the task or workflow on Hatchet.
        signature: A function with the annotations of its parameters and its value. It is never
            called. Without it, the answer is a decorator.
        on: The URL of Hatchet, as for `connect`.
        options: The fields of the step's `Policy`. Its `queue` is that of Onward's workers.

    Returns:
        The task. What the workflow fails with is the fault `Raised`.

    Raises:
        TypeError: If the signature has an annotation that cannot travel, or a Result.
        ValueError: If the name, the URL or an option is out of bounds.

    Example:
        ```python
        @adopted.hatchet("send-mail", on="hatchet://localhost:7077")
        def send_mail(to: str, text: str) -> Sent:
            raise NotImplementedError
        ```
    """
    return adopt(name, signature, partial(on_hatchet, on), "by name", options)
