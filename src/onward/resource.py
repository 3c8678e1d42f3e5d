"""`Resource`: what a worker opens, such as a connection pool, and gives to its tasks."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from contextvars import ContextVar
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Generic, Literal, Protocol, TypeAlias, TypeVar, overload

if TYPE_CHECKING:
    from onward.fault import Misconfigured

T = TypeVar("T")
First = TypeVar("First")
Second = TypeVar("Second")

AsyncBlock: TypeAlias = AbstractAsyncContextManager[T, bool | None]
Block: TypeAlias = AbstractContextManager[T, bool | None]
Scope: TypeAlias = Literal["process", "attempt"]
"""How long a resource stays open: as long as its worker, or for one attempt at a task."""


@dataclass(frozen=True, init=False, repr=False, eq=False)
class Resource(Generic[T]):
    """What a worker opens once, gives to the tasks that use it, and closes when it stops.

    Each `Resource` object is a resource of its own, even if two of them have the same function.

    Args:
        open: Makes the context manager, sync or async: a function with `@contextmanager` or
            `@asynccontextmanager`, or a class such as `httpx.AsyncClient`. It gets the values of
            `needs`.
        needs: Other resources, which are opened before this one and closed after it.
        scope: `process` opens it once for each worker process; `attempt` opens a fresh one for each
            attempt at a task. An attempt's context manager sees the exception that ends the
            attempt, and `returns.primitives.exceptions.UnwrapFailedError` if the task returned a
            `Failure`, so that a transaction is rolled back.
        check: Looks whether the open value still works. It is broken if this function, sync or
            async, returns False or raises. A broken one is closed and opened again. Only for
            `process`.
        check_every: At most so often it is checked, in seconds, before an attempt gets it.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If an argument is out of range, or the scopes do not go together.

    Example:
        >>> from collections.abc import Generator
        >>> from contextlib import contextmanager
        >>> from onward import Resource, local, run, uses
        >>> @contextmanager
        ... def open_names() -> Generator[list[str]]:
        ...     yield ["Ada", "Grace"]
        >>> names = Resource(open_names)
        >>> @uses(names)
        ... def greet(names: list[str], n: int) -> str:
        ...     return f"Hello {names[n]}"
        >>> run(greet(1), on=local())
        <Success: Hello Grace>
        >>> run(greet(0), on=local(resources={names: ["Joan"]}))
        <Success: Hello Joan>
    """

    open: Callable[..., AsyncBlock[T] | Block[T]]
    needs: tuple[Resource[Any], ...]
    scope: Scope
    check: Callable[[T], object] | None
    check_every: float

    @overload
    def __init__(
        self,
        open: Callable[[], AsyncBlock[T]],
        needs: tuple[()] = ...,
        scope: Scope = ...,
        check: Callable[[T], object] | None = ...,
        check_every: float = ...,
    ) -> None: ...
    @overload
    def __init__(
        self,
        open: Callable[[], Block[T]],
        needs: tuple[()] = ...,
        scope: Scope = ...,
        check: Callable[[T], object] | None = ...,
        check_every: float = ...,
    ) -> None: ...
    @overload
    def __init__(
        self,
        open: Callable[[First], AsyncBlock[T]],
        needs: tuple[Resource[First]],
        scope: Scope = ...,
        check: Callable[[T], object] | None = ...,
        check_every: float = ...,
    ) -> None: ...
    @overload
    def __init__(
        self,
        open: Callable[[First], Block[T]],
        needs: tuple[Resource[First]],
        scope: Scope = ...,
        check: Callable[[T], object] | None = ...,
        check_every: float = ...,
    ) -> None: ...
    @overload
    def __init__(
        self,
        open: Callable[[First, Second], AsyncBlock[T]],
        needs: tuple[Resource[First], Resource[Second]],
        scope: Scope = ...,
        check: Callable[[T], object] | None = ...,
        check_every: float = ...,
    ) -> None: ...
    @overload
    def __init__(
        self,
        open: Callable[[First, Second], Block[T]],
        needs: tuple[Resource[First], Resource[Second]],
        scope: Scope = ...,
        check: Callable[[T], object] | None = ...,
        check_every: float = ...,
    ) -> None: ...
    def __init__(
        self,
        open: Callable[..., AsyncBlock[T] | Block[T]],  # noqa: A002 - as contextlib calls it
        needs: tuple[Resource[Any], ...] = (),
        scope: Scope = "process",
        check: Callable[[T], object] | None = None,
        check_every: float = 30.0,
    ) -> None:
        needs = _checked(open, needs, scope, check, check_every)
        values = (open, needs, scope, check, float(check_every))
        for field, value in zip(fields(self), values, strict=True):
            object.__setattr__(self, field.name, value)

    @property
    def name(self) -> str:
        """The name of its function, for messages."""
        inner: Any = self.open
        while (partial := getattr(inner, "func", None)) is not None:  # functools.partial
            inner = partial
        name = str(getattr(inner, "__qualname__", type(inner).__qualname__))
        code = getattr(inspect.unwrap(inner), "__code__", None)
        if "<lambda>" in name and code is not None:
            return f"<lambda> ({code.co_filename}:{code.co_firstlineno})"
        return name.rpartition("<locals>.")[2]

    def __repr__(self) -> str:
        scope = "" if self.scope == "process" else f", scope={self.scope!r}"
        return f"Resource({self.name}{scope})"

    def __copy__(self) -> Resource[T]:
        return self

    def __deepcopy__(self, memo: object) -> Resource[T]:
        return self


def _checked(
    opens: object, needs: object, scope: object, check: object, check_every: object
) -> tuple[Resource[Any], ...]:
    """The needs of a resource; raises TypeError or ValueError for invalid arguments."""
    if not callable(opens):
        advice = "a function with @contextmanager"
        if hasattr(opens, "__enter__") or hasattr(opens, "__aenter__"):
            advice = "lambda: ..., so that each worker opens its own"
        raise TypeError(f"a Resource takes a function that opens it, not {opens!r}: write {advice}")
    if isinstance(needs, Resource):
        raise TypeError(f"needs is a tuple of resources: write needs=({needs.name},)")
    if not isinstance(needs, tuple):
        raise TypeError(f"needs is a tuple of resources, not {needs!r}")
    if scope not in ("process", "attempt"):
        raise ValueError(f"scope is 'process' or 'attempt', not {scope!r}")
    for need in needs:
        if not isinstance(need, Resource):
            raise TypeError(f"needs is a tuple of resources, and has {need!r}")
        if (scope, need.scope) == ("process", "attempt"):
            raise ValueError(
                f"{need!r} is open for one attempt, so a resource that is open for the whole "
                "process cannot need it: write scope='attempt' here too"
            )
    if check is not None and not callable(check):
        raise TypeError(f"check is a function that takes the open value, not {check!r}")
    if check is not None and scope == "attempt":
        raise ValueError("a resource with scope='attempt' is always fresh: leave out check")
    if isinstance(check_every, bool) or not isinstance(check_every, int | float):
        raise TypeError(f"check_every is a number of seconds, not {check_every!r}")
    if not check_every >= 0:
        raise ValueError(f"check_every is a number of seconds from 0 up, not {check_every!r}")
    return needs


class Using(Protocol):
    """A task that uses resources."""

    @property
    def name(self) -> str: ...
    @property
    def fn(self) -> Callable[..., Any]: ...
    @property
    def resources(self) -> tuple[Resource[Any], ...]: ...


class Opens(Protocol):
    """Opens the resources of tasks, and calls their functions with them."""

    def call(self, task: Using, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        """Calls the function of a sync task in this thread."""
        ...

    async def call_async(self, task: Using, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        """Calls the function of an async task, and awaits its value."""
        ...

    def isolated_fault(self, task: Using) -> Misconfigured | None:
        """Why a task cannot run in a child process, which opens resources of its own."""
        ...


OPENS: ContextVar[Opens] = ContextVar("onward_opens")
"""What opens the resources of the tasks that run in this context."""


def calling(task: Using, opens: Opens | None, *, is_async: bool) -> Callable[..., Any]:
    """A function that calls a task's function with its resources.

    Args:
        task: The task.
        opens: What opens them; None for what the context says, which `local()` sets.
        is_async: Whether the task is async.
    """
    if is_async:

        async def call_async(*args: Any, **kwargs: Any) -> Any:
            return await (opens or _opens_here(task)).call_async(task, args, kwargs)

        return call_async

    def call(*args: Any, **kwargs: Any) -> Any:
        return (opens or _opens_here(task)).call(task, args, kwargs)

    return call


def _opens_here(task: Using) -> Opens:
    opens = OPENS.get(None)
    if opens is None:
        names = ", ".join(each.name for each in task.resources)
        raise RuntimeError(
            f"task {task.name!r} uses {names}, and nothing has opened it here: serve the task with "
            "onward.work, or run it on local()"
        )
    return opens
