"""Enters context managers, sync or async, around an attempt of a thread or of an event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack, ExitStack
from contextvars import Context as Variables
from contextvars import copy_context
from functools import partial
from types import TracebackType
from typing import Any, Generic, Protocol, TypeVar

from returns.primitives.exceptions import UnwrapFailedError
from returns.result import Failure
from typing_extensions import TypeIs

from onward.resource import AsyncBlock, Block

T = TypeVar("T")


class HeldBlock(Generic[T]):
    """An async block that a task of its own keeps open, so that one task enters and leaves it.

    Args:
        block: The block.
        variables: The context variables that it starts with.
    """

    def __init__(self, block: AsyncBlock[T] | Block[T], variables: Variables | None = None) -> None:
        loop = asyncio.get_running_loop()
        self._opened: asyncio.Future[T] = loop.create_future()
        self._leaving: asyncio.Future[BaseException | None] = loop.create_future()
        self.variables: Variables = copy_context() if variables is None else variables
        self._task: asyncio.Task[None] = loop.create_task(self._keep(block), context=self.variables)

    async def _keep(self, block: AsyncBlock[T] | Block[T]) -> None:
        try:
            if is_async(block):
                async with block as value:
                    await self._open(value)
            else:
                with block as value:
                    await self._open(value)
        except BaseException as problem:
            if self._opened.done():
                raise
            if isinstance(problem, asyncio.CancelledError):
                self._opened.cancel()
                raise
            self._opened.set_exception(problem)

    async def _open(self, value: T) -> None:
        self._opened.set_result(value)
        problem = await self._leaving
        if problem is not None:
            raise problem

    async def enter(self) -> T:
        """Enters the block, and returns its value; raises what it raises."""
        try:
            return await asyncio.shield(self._opened)
        except asyncio.CancelledError:
            self._task.cancel()
            raise

    async def leave(self, problem: BaseException | None = None) -> None:
        """Leaves the block, which sees this exception; raises what else it raises."""
        if not self._leaving.done():
            self._leaving.set_result(problem)
        await asyncio.wait([self._task])
        raised = asyncio.CancelledError() if self._task.cancelled() else self._task.exception()
        if raised is not None and raised is not problem:
            raise raised

    def cancel(self) -> None:
        """Gives up waiting for the block to end."""
        self._task.cancel()


def is_async(block: AsyncBlock[T] | Block[T]) -> TypeIs[AsyncBlock[T]]:
    """Whether something is an async context manager; raises TypeError if it is none at all.

    What is both, such as `aiohttp.ClientSession`, is taken as an async one.
    """
    kind = type(block)
    if hasattr(kind, "__aenter__") and hasattr(kind, "__aexit__"):
        return True
    if hasattr(kind, "__enter__") and hasattr(kind, "__exit__"):
        return False
    raise TypeError(
        f"{kind.__qualname__} is not a context manager: put @contextmanager or "
        "@asynccontextmanager on the function that makes it, or use contextlib.closing"
    )


class Caller(Protocol):
    """Runs a coroutine on an event loop while this thread blocks."""

    def __call__(self, start: Callable[[], Coroutine[Any, Any, T]], /) -> T:
        """Returns what the coroutine returns, or raises what it raises."""
        ...


def enter_in_thread(stack: ExitStack, block: AsyncBlock[T] | Block[T], call: Caller) -> T:
    """Enters a block in this thread: a sync one here, an async one on a loop.

    The caller sees the context variables that an async block sets.

    Args:
        stack: Leaves it.
        block: The block.
        call: Runs async blocks.
    """
    if not is_async(block):
        return stack.enter_context(block)
    before = copy_context()

    async def enter() -> tuple[HeldBlock[T], T]:
        held = HeldBlock(block, before.copy())
        return held, await held.enter()

    held, value = call(enter)
    for variable, it in held.variables.items():
        if before.get(variable, stack) is not it:
            variable.set(it)

    def leave(
        _: type[BaseException] | None, problem: BaseException | None, __: TracebackType | None
    ) -> None:
        call(partial(held.leave, problem))

    stack.push(leave)
    return value


async def enter_on_loop(stack: AsyncExitStack, block: AsyncBlock[T] | Block[T]) -> T:
    """Enters a block in the running task of the event loop."""
    if is_async(block):
        return await stack.enter_async_context(block)
    return stack.enter_context(block)


class Ending:
    """How the work inside some blocks ended, which the blocks see and cannot change.

    A block that raises an exception of its own ends the attempt with it, because a transaction that
    was not committed has failed.
    """

    def __init__(self) -> None:
        self._raised: BaseException | None = None
        self._failed: UnwrapFailedError | None = None

    def raised(self, problem: BaseException) -> None:
        """The work raised this."""
        self._raised = problem

    def gave(self, value: object) -> None:
        """The work gave this; raises UnwrapFailedError for a Failure, so that the blocks see it."""
        if isinstance(value, Failure):
            self._failed = UnwrapFailedError(value)
            raise self._failed

    def is_own(self, problem: BaseException) -> bool:
        """Whether an exception that came out of the blocks only said that the work failed."""
        return problem is self._failed

    def check(self) -> None:
        """Raises what the work raised, if a block has suppressed it."""
        if self._raised is not None:
            raise self._raised


def within(enter: Callable[[ExitStack], Callable[[], T]]) -> T:
    """Enters blocks, does work, and leaves them, in this thread.

    Args:
        enter: Enters the blocks, and returns the work.
    """
    ending = Ending()
    with_value: list[T] = []
    try:
        with ExitStack() as stack:
            try:
                work = enter(stack)
                with_value.append(work())
            except BaseException as problem:
                ending.raised(problem)
                raise
            ending.gave(with_value[0])
    except UnwrapFailedError as problem:
        if not ending.is_own(problem):
            raise
    ending.check()
    return with_value[0]


async def within_async(
    enter: Callable[[AsyncExitStack], Awaitable[Callable[[], Awaitable[T]]]],
) -> T:
    """The same, in the running task of the event loop."""
    ending = Ending()
    with_value: list[T] = []
    try:
        async with AsyncExitStack() as stack:
            try:
                work = await enter(stack)
                with_value.append(await work())
            except BaseException as problem:
                ending.raised(problem)
                raise
            ending.gave(with_value[0])
    except UnwrapFailedError as problem:
        if not ending.is_own(problem):
            raise
    ending.check()
    return with_value[0]
