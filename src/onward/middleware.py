"""Middleware: context managers of the user's own around each attempt at a task.

Observers follow an attempt from outside, and cannot touch it. Middleware stands between them and
the task: it changes what the task sees of its call, or refuses the attempt.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Sequence
from contextlib import AsyncExitStack, ExitStack
from functools import partial
from types import TracebackType
from typing import Protocol, TypeVar

from msgspec.structs import replace
from returns.result import Failure

from onward.answers import UnwrapError
from onward.backend.additions import additions_of, with_additions
from onward.backend.loop import LoopThread
from onward.blocks import enter_in_thread, enter_on_loop
from onward.catalog import Tasks
from onward.context import CURRENT, Context, is_same_attempt
from onward.execute import is_ctrl_c, raised
from onward.fault import Conflict, Fault, Lost, Raised, TimedOut
from onward.outcome import Failed, Faulted, Value, faulted
from onward.plan import Args, StepNode
from onward.resource import AsyncBlock, Block
from onward.served import AttemptEnd, Perform, PerformAsync, Surrounds

__all__ = ["Middleware", "Refused", "with_middleware"]

B = TypeVar("B")

_ADVICE = "Middleware of the worker refused it; retrying will not help until that lets it pass."
_LOGGER = logging.getLogger("onward.middleware")


class Middleware(Protocol):
    """What surrounds each attempt at a task: a function with `@contextmanager`, for example.

    It gives a context manager, sync or async, around an attempt of any task, sync or async. If that
    yields a `Context`, this is what `current()` returns inside. If the attempt fails, it sees the
    task's exception, or `onward.answers.UnwrapError` with the domain error or the fault. It cannot
    hide that or change it. If it raises an exception of its own before the task starts or after it
    gave a value, the attempt fails with `Raised`, and retries follow as the task's policy says.
    """

    def __call__(self, context: Context, /) -> AsyncBlock[Context | None] | Block[Context | None]:
        """Makes the context manager around one attempt.

        Args:
            context: What `current()` returns outside of it.
        """
        ...


class Refused(Exception):
    """Raise it in middleware to end the attempt with a fault that is not retried.

    Args:
        why: The fault; or what happened, as text, for a `Conflict`.

    Raises:
        TypeError: If it is neither a fault nor a text.
        ValueError: If it is a fault that retries may follow: `Raised`, `TimedOut` or `Lost`.

    Example:
        >>> from collections.abc import Generator
        >>> from contextlib import contextmanager
        >>> from onward import Context, local, run, task
        >>> from onward.middleware import Refused, with_middleware
        >>> @contextmanager
        ... def no_mail(context: Context) -> Generator[None]:
        ...     if context.task == "send_mail":
        ...         raise Refused("mail is switched off")
        ...     yield
        >>> @task
        ... def send_mail() -> None: ...
        >>> run(send_mail(), on=with_middleware(local(), no_mail)).failure().message
        'mail is switched off'
    """

    def __init__(self, why: Fault | str, /) -> None:
        if isinstance(why, Raised | TimedOut | Lost):
            raise ValueError(
                f"Refused takes a fault that is not retried, not {type(why).__name__}: raise the "
                "exception itself instead"
            )
        if not isinstance(why, Fault | str):
            raise TypeError(f"Refused takes a fault or a text, not {why!r}")
        super().__init__(why)
        self._why = why

    def fault_of(self, task: str) -> Fault:
        """The fault that the attempt at a task ends with."""
        return Conflict(task, self._why, _ADVICE) if isinstance(self._why, str) else self._why


def with_middleware(backend: B, /, *middleware: Middleware) -> B:
    """Adds middleware to a backend.

    Args:
        backend: Any backend.
        middleware: Surrounds each attempt at a task that `work` serves on it, or that it runs in
            this process. The first one is the outermost; what was added before is further out.

    Returns:
        A backend with the middleware that uses the same connections.

    Raises:
        TypeError: If something is no function that makes context managers.

    Example:
        >>> from collections.abc import Generator
        >>> from contextlib import contextmanager
        >>> from contextvars import ContextVar
        >>> from onward import Context, local, run, task
        >>> from onward.middleware import with_middleware
        >>> tenant = ContextVar("tenant", default="nobody")
        >>> @contextmanager
        ... def set_tenant(context: Context) -> Generator[None]:
        ...     _ = tenant.set(context.trace.get("tenant", "acme"))
        ...     yield
        >>> @task
        ... def who() -> str:
        ...     return tenant.get()
        >>> run(who(), on=with_middleware(local(), set_tenant))
        <Success: acme>
    """
    for each in middleware:
        _check(each)
    if not middleware:
        return backend
    added, more = additions_of(backend), Chain(middleware)
    both = more if added.middleware is None else Joined(added.middleware, more)
    return with_additions(backend, replace(added, middleware=both))


def _check(middleware: object) -> None:
    plain = inspect.unwrap(middleware) if callable(middleware) else middleware
    lacks_decorator = plain is middleware and (
        inspect.isgeneratorfunction(plain)
        or inspect.isasyncgenfunction(plain)
        or inspect.iscoroutinefunction(plain)
    )
    if not callable(middleware) or lacks_decorator:
        raise TypeError(
            f"middleware is a function that makes a context manager, not {middleware!r}: put "
            "@contextmanager or @asynccontextmanager on it"
        )


class Chain:
    """Middleware around attempts, the first one outermost.

    Args:
        middleware: The middleware.
    """

    def __init__(self, middleware: Sequence[Middleware]) -> None:
        self._middleware = middleware
        self._loop = LoopThread("onward-middleware")
        """Where async middleware of sync tasks runs."""

    def perform(
        self, call: Perform, step: StepNode, args: Args, tasks: Tasks, context: Context
    ) -> AttemptEnd:
        """See `Surrounds.perform`."""
        for each in reversed(self._middleware):
            call = partial(self._within, each, call)
        return call(step, args, tasks, context)

    async def perform_async(
        self, call: PerformAsync, step: StepNode, args: Args, tasks: Tasks, context: Context
    ) -> AttemptEnd:
        """See `Surrounds.perform_async`."""
        for each in reversed(self._middleware):
            call = partial(_within_async, each, call)
        return await call(step, args, tasks, context)

    def _within(
        self,
        middleware: Middleware,
        call: Perform,
        step: StepNode,
        args: Args,
        tasks: Tasks,
        context: Context,
    ) -> AttemptEnd:
        layer = _Layer(step, tasks, context)
        try:
            with ExitStack() as stack:
                given = enter_in_thread(stack, middleware(context), self._loop.call)
                inner = layer.entered(given)
                with layer:
                    layer.ended = call(step, args, tasks, inner)
                layer.show()
        except BaseException as problem:
            if is_ctrl_c(problem):
                raise
            layer.failed(problem)
        return layer.end()


async def _within_async(
    middleware: Middleware,
    call: PerformAsync,
    step: StepNode,
    args: Args,
    tasks: Tasks,
    context: Context,
) -> AttemptEnd:
    import asyncio

    layer = _Layer(step, tasks, context)
    try:
        async with AsyncExitStack() as stack:
            inner = layer.entered(await enter_on_loop(stack, middleware(context)))
            with layer:
                layer.ended = await call(step, args, tasks, inner)
            layer.show()
    except BaseException as problem:
        running = asyncio.current_task()
        if isinstance(problem, asyncio.CancelledError) and running and running.cancelling():
            raise
        if is_ctrl_c(problem):
            raise
        layer.failed(problem)
    return layer.end()


class Joined:
    """What surrounds attempts, around something else that does."""

    def __init__(self, outer: Surrounds, inner: Surrounds) -> None:
        self._outer = outer
        self._inner = inner

    def perform(
        self, call: Perform, step: StepNode, args: Args, tasks: Tasks, context: Context
    ) -> AttemptEnd:
        """See `Surrounds.perform`."""
        inside = partial(self._inner.perform, call)
        return self._outer.perform(inside, step, args, tasks, context)

    async def perform_async(
        self, call: PerformAsync, step: StepNode, args: Args, tasks: Tasks, context: Context
    ) -> AttemptEnd:
        """See `Surrounds.perform_async`."""
        inside = partial(self._inner.perform_async, call)
        return await self._outer.perform_async(inside, step, args, tasks, context)


class _Layer:
    """One middleware around one attempt, and how the attempt ended."""

    def __init__(self, step: StepNode, tasks: Tasks, context: Context) -> None:
        self.ended: AttemptEnd | None = None
        self._step = step
        self._tasks = tasks
        self._context = context
        self._shown: BaseException | None = None
        self._trace: TracebackType | None = None
        self._passing: BaseException | None = None

    def entered(self, given: object) -> Context:
        """The context of what is inside."""
        if given is None:
            return self._context
        if not isinstance(given, Context):
            raise TypeError(f"middleware yields a changed Context or None, not {given!r}")
        if not is_same_attempt(given, self._context):
            raise ValueError(
                "middleware cannot change id, task, step and attempt of the context: they say "
                "which attempt this is"
            )
        CURRENT.set(given)
        return given

    def __enter__(self) -> None:
        """Begins what is inside."""

    def __exit__(
        self, _: type[BaseException] | None, problem: BaseException | None, __: TracebackType | None
    ) -> None:
        """Ends what is inside: with an exception if nobody needs the attempt any more."""
        self._passing = problem
        CURRENT.set(self._context)

    def show(self) -> None:
        """Raises what the middleware sees of an attempt without a value."""
        assert self.ended is not None
        outcome, problem = self.ended.outcome, self.ended.problem
        if isinstance(outcome, Value):
            return
        if problem is None and isinstance(outcome, Faulted):
            problem = UnwrapError(Failure(outcome.fault))
        elif problem is None and isinstance(outcome, Failed):
            failure = self._tasks[self._step.task].read(outcome)
            assert isinstance(failure, Failure)
            problem = UnwrapError(failure)
        if problem is not None:
            self._shown, self._trace = problem, problem.__traceback__
            raise problem

    def failed(self, problem: BaseException) -> None:
        """Takes what came out of the middleware."""
        if problem is self._shown or problem is self._passing:
            return
        if self._passing is not None or self._shown is not None:
            shown = type(problem), problem, problem.__traceback__
            _LOGGER.error("a middleware raised after the attempt had failed", exc_info=shown)
            return
        if isinstance(problem, Refused):
            fault = problem.fault_of(self._step.task)
        else:
            fault = raised(self._step.task, problem, self._context.attempt)
        self.ended = AttemptEnd(faulted(fault), problem)

    def end(self) -> AttemptEnd:
        """How the attempt ended, whatever the middleware did."""
        if self._passing is not None:
            raise self._passing
        if self._shown is not None:  # without the places where middleware saw it
            self._shown.__traceback__ = self._trace
        assert self.ended is not None
        return self.ended
