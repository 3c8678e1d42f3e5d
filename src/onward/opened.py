"""The open resources of one process, on an event loop of their own.

Resources are opened and closed there, and the async tasks that use them run there, so that a
connection never meets another loop. Sync tasks stay on their threads.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import inspect
import logging
import time
import weakref
from collections.abc import (
    Awaitable,
    Callable,
    Collection,
    Coroutine,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import AsyncExitStack, ExitStack
from functools import partial
from types import MappingProxyType
from typing import Any, TypeAlias, TypeVar

from onward.backend.loop import Closed, LoopThread
from onward.blocks import HeldBlock, enter_in_thread, enter_on_loop, within, within_async
from onward.catalog import Catalog
from onward.execute import own_frames
from onward.fault import Fault, Misconfigured, Unavailable
from onward.flows.flow import AnyTask
from onward.flows.nodes import changed_task
from onward.policy import type_name
from onward.resource import Resource, Using, calling
from onward.signature import call_async

T = TypeVar("T")

AnyResource: TypeAlias = Resource[Any]
Instead: TypeAlias = Mapping[Resource[Any], object]
"""What tasks get in place of resources: values as they are, or other resources to open."""

NOTHING: Instead = MappingProxyType({})

_PATIENCE = 10.0
"""How long one resource may take to close, in seconds."""

_PARTING = 2.0
"""How long attempts that were given up may take to end, in seconds."""

_LOGGER = logging.getLogger("onward.resource")


class _Value:
    """What tasks get in place of a resource."""

    __slots__ = ("value",)

    def __init__(self, value: object) -> None:
        self.value = value


class _Open:
    """A resource that is open for the process."""

    def __init__(
        self, resource: AnyResource, needs: Sequence[_Open], held: HeldBlock[Any], value: object
    ) -> None:
        self.resource = resource
        self.needs = needs
        self.held = held
        self.value = value
        self.checked = time.monotonic()

    @property
    def is_due(self) -> bool:
        """Whether it, or what it needs, is to be checked before an attempt gets it."""
        return self.is_due_itself or any(each.is_due for each in self.needs)

    @property
    def is_due_itself(self) -> bool:
        """Whether it is to be checked itself."""
        resource = self.resource
        if resource.check is None:
            return False
        return time.monotonic() - self.checked >= resource.check_every


class _Loop:
    """What lives on the event loop of the resources."""

    def __init__(self, instead: Instead) -> None:
        self._instead = instead
        self.open: dict[AnyResource, _Open] = {}
        """Those that are open, in the order in which they were opened."""
        self._opening: dict[AnyResource, asyncio.Task[_Open]] = {}
        self._attempts: set[asyncio.Task[Any]] = set()
        self._leaving: set[asyncio.Task[None]] = set()

    def chosen(self, resource: AnyResource) -> AnyResource | _Value:
        """The resource, or what tasks get in place of it."""
        if resource not in self._instead:
            return resource
        other = self._instead[resource]
        return other if isinstance(other, Resource) else _Value(other)

    def is_replaced(self, resource: AnyResource) -> bool:
        """Whether tasks get something else in place of a resource, or of what it needs."""
        return resource in self._instead or any(map(self.is_replaced, resource.needs))

    async def get(self, resource: AnyResource) -> object:
        """The value of a resource of scope `process`, which is opened unless it is open."""
        chosen = self.chosen(resource)
        return chosen.value if isinstance(chosen, _Value) else await self.opened(chosen)

    async def opened(self, resource: AnyResource) -> object:
        """The value of a resource that is opened, and not replaced."""
        found = self.open.get(resource)
        if found is not None and not found.is_due:
            return found.value
        opening = self._opening.get(resource)
        if opening is None:
            opening = asyncio.create_task(self._opened(resource))
            self._opening[resource] = opening
            opening.add_done_callback(lambda _: self._opening.pop(resource))
        return (await asyncio.shield(opening)).value

    async def _opened(self, resource: AnyResource) -> _Open:
        """Checks a resource that is open, and opens one that is broken or not open."""
        needs = [await self.get(each) for each in resource.needs]  # may close this one as well
        found = self.open.get(resource)
        if found is not None:
            problem = await _problem(found) if found.is_due_itself else None
            if problem is None:
                return found
            _LOGGER.warning("%s is broken (%s): opening it again", resource.name, problem)
            leaving = asyncio.create_task(self._close_all(self._without(found)))
            self._leaving.add(leaving)
            leaving.add_done_callback(self._leaving.discard)
        try:
            held = HeldBlock(resource.open(*needs))
            value = await held.enter()
        except Exception as problem:
            problem.add_note(f"while opening the resource {resource.name}")
            raise
        chosen = [
            self.open.get(each)
            for each in map(self.chosen, resource.needs)
            if isinstance(each, Resource)
        ]
        opened = _Open(resource, [each for each in chosen if each is not None], held, value)
        self.open[resource] = opened
        return opened

    def _without(self, broken: _Open) -> list[_Open]:
        """Takes out a broken resource and what needs it, in the order in which they close."""
        gone = [
            each
            for dependent in list(self.open.values())
            if broken in dependent.needs
            for each in self._without(dependent)
        ]
        self.open.pop(broken.resource, None)
        return [*gone, broken]

    async def _close_all(self, opened: list[_Open]) -> None:
        for each in opened:
            await self._close(each)

    async def close(self) -> None:
        """Closes all of them, each one before those that it needs."""
        if self._attempts:
            await asyncio.wait(self._attempts, timeout=_PARTING)
        for opening in list(self._opening.values()):
            opening.cancel()
        while self.open:
            await self._close(self.open.popitem()[1])
        if self._leaving:
            await asyncio.wait(self._leaving, timeout=_PATIENCE)

    async def _close(self, opened: _Open) -> None:
        name = opened.resource.name
        try:
            async with asyncio.timeout(_PATIENCE):
                await opened.held.leave()
        except TimeoutError:
            opened.held.cancel()
            _LOGGER.error("%s did not close within %g s", name, _PATIENCE)  # noqa: TRY400 - no bug
        except Exception:
            _LOGGER.exception("%s could not be closed", name)

    async def call(self, task: Using, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        """Runs an async task here, with its resources."""
        running = asyncio.current_task()
        assert running is not None
        self._attempts.add(running)
        try:
            chosen = [self.chosen(each) for each in task.resources]
            if any(map(_is_of_attempt, chosen)):
                return await within_async(partial(self._enter, task, args, kwargs))
            values = [await self.get(each) for each in task.resources]
            return await call_async(task.fn, *values, *args, **kwargs)
        finally:
            self._attempts.discard(running)

    async def _enter(
        self, task: Using, args: Sequence[Any], kwargs: dict[str, Any], stack: AsyncExitStack
    ) -> Callable[[], Awaitable[Any]]:
        known: dict[AnyResource, object] = {}

        async def value(resource: AnyResource) -> object:
            chosen = self.chosen(resource)
            if isinstance(chosen, _Value):
                return chosen.value
            if chosen.scope == "process":
                return await self.opened(chosen)
            if chosen not in known:
                needs = [await value(each) for each in chosen.needs]
                known[chosen] = await enter_on_loop(stack, chosen.open(*needs))
            return known[chosen]

        values = [await value(each) for each in task.resources]
        return partial(call_async, task.fn, *values, *args, **kwargs)


class OpenResources:
    """The resources of a worker, or of a backend that runs calls in this process.

    Args:
        instead: What tasks get in place of resources.
    """

    def __init__(self, instead: Instead = NOTHING) -> None:
        self._loop = _Loop(check_instead(instead))
        self.thread: LoopThread = LoopThread(
            "onward-resources", end=self._loop.close, at_exit=False
        )
        # What is made later ends earlier, and this before the loop of the calls that use it starts.
        self._end = weakref.finalize(self, self.thread.close)

    def served(self, tasks: Mapping[str, AnyTask]) -> dict[str, AnyTask]:
        """The tasks as a worker serves them: they get their resources from here."""
        return {
            name: self._served(task) if task.resources else task for name, task in tasks.items()
        }

    def _served(self, task: AnyTask) -> AnyTask:
        called = calling(task, self, is_async=task.signature.is_async)
        return changed_task(task, called=called)

    def start(
        self, tasks: Iterable[AnyTask], queues: Collection[str] | None = None
    ) -> concurrent.futures.Future[Fault | None]:
        """Starts to open what tasks use for the whole process, one after another.

        Args:
            tasks: The tasks.
            queues: The queues that the worker serves; None for all. What only tasks of other queues
                use is opened when an attempt needs it.

        Returns:
            A future with the reason why one did not open.
        """
        uses: dict[AnyResource, str] = {}
        for task in tasks:
            queue = task.policy.queue
            if queue is None or queues is None or queue in queues:
                for each in task.resources:
                    uses.setdefault(each, task.name)
        return self.thread.start(partial(self._start, uses))

    async def _start(self, uses: Mapping[AnyResource, str]) -> Fault | None:
        for resource, task in uses.items():
            try:
                for each in self._of_process(resource):
                    await self._loop.get(each)
            except Exception as problem:
                return _not_opened(resource, task, problem)
        return None

    def _of_process(self, resource: AnyResource) -> Iterator[AnyResource]:
        """What is opened for the process: a resource, or else what it needs."""
        chosen = self._loop.chosen(resource)
        if isinstance(chosen, _Value):
            return
        if chosen.scope == "process":
            yield resource
            return
        for each in chosen.needs:
            yield from self._of_process(each)

    def call(self, task: Using, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        """See `Opens.call`."""
        chosen = [self._loop.chosen(each) for each in task.resources]
        if any(map(_is_of_attempt, chosen)):
            return within(partial(self._enter, task, args, kwargs))
        return task.fn(*map(self._get, task.resources), *args, **kwargs)

    def _get(self, resource: AnyResource) -> object:
        """The value of a resource of scope `process`, for this thread."""
        chosen = self._loop.chosen(resource)
        if isinstance(chosen, _Value):
            return chosen.value
        found = self._loop.open.get(chosen)
        if found is not None and not found.is_due:
            return found.value
        return self._call(partial(self._loop.opened, chosen))

    def _enter(
        self, task: Using, args: Sequence[Any], kwargs: dict[str, Any], stack: ExitStack
    ) -> Callable[[], Any]:
        known: dict[AnyResource, object] = {}

        def value(resource: AnyResource) -> object:
            chosen = self._loop.chosen(resource)
            if isinstance(chosen, _Value) or chosen.scope == "process":
                return self._get(resource)
            if chosen not in known:
                block = chosen.open(*map(value, chosen.needs))
                known[chosen] = enter_in_thread(stack, block, self._call)
            return known[chosen]

        return partial(task.fn, *[value(each) for each in task.resources], *args, **kwargs)

    def _call(self, start: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Runs a coroutine on the loop of the resources while this thread blocks."""
        if self.thread.is_this_thread():
            raise RuntimeError(
                "an async task with resources called a blocking function, which would wait for the "
                "loop that it blocks: write await aio.run(...)"
            )
        return self.thread.call(start)

    async def call_async(self, task: Using, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        """See `Opens.call_async`."""
        chosen = [self._loop.chosen(each) for each in task.resources]
        if all(isinstance(each, _Value) for each in chosen):
            values = [each.value for each in chosen if isinstance(each, _Value)]
            return await call_async(task.fn, *values, *args, **kwargs)
        return await self.thread.run(partial(self._loop.call, task, args, kwargs))

    def isolated_fault(self, task: Using) -> Misconfigured | None:
        """See `Opens.isolated_fault`."""
        names = ", ".join(each.name for each in task.resources if self._loop.is_replaced(each))
        if not names:
            return None
        return Misconfigured(
            task.name,
            "it runs in a child process, which cannot get what resources= gives in place of "
            f"{names}, and would open the real one: in a test, leave the isolation out, with "
            f"{task.name}.with_(isolate=False)",
        )

    def close(self) -> None:
        """Closes what is open. An attempt that needs it later opens it again."""
        if self.thread.is_running:
            with contextlib.suppress(Closed):
                self.thread.call(self._loop.close)

    def end(self) -> None:
        """Closes what is open, for good."""
        self._end()

    def abandon(self) -> None:
        """Lets go of what is open and what is being opened: the process is about to end."""
        self._end.detach()
        self.thread.abandon()


def with_resources(catalog: Catalog, opens: OpenResources | None = None) -> Catalog:
    """The catalog as a worker serves it: its tasks get their resources.

    `onward.work` does this. It is for who calls `serve` of a backend.

    Args:
        catalog: The catalog.
        opens: What opens the resources; None for one that opens them when attempts need them, and
            closes them when the program ends.
    """
    return catalog.with_tasks((opens or OpenResources()).served(catalog.tasks))


def check_instead(instead: object) -> Instead:
    """The replacements of resources; raises TypeError if they are not valid."""
    if not isinstance(instead, Mapping):
        raise TypeError(f"resources is a mapping such as {{db: fake}}, not {instead!r}")
    for resource in instead:
        if not isinstance(resource, Resource):
            raise TypeError(f"the keys of resources are Resources, not {resource!r}")
    return dict(instead)


def _is_of_attempt(chosen: AnyResource | _Value) -> bool:
    return isinstance(chosen, Resource) and chosen.scope == "attempt"


async def _problem(opened: _Open) -> str | None:
    """What is wrong with an open resource; None if it works."""
    assert opened.resource.check is not None
    opened.checked = time.monotonic()
    try:
        answer = opened.resource.check(opened.value)
        if inspect.isawaitable(answer):
            answer = await answer
    except Exception as problem:
        return _brief(problem)
    return "its check returned False" if answer is False else None


def _brief(problem: BaseException) -> str:
    return " ".join(f"{type_name(type(problem))}: {problem}".split())


def _not_opened(resource: AnyResource, task: str, problem: Exception) -> Fault:
    """Why a worker does not start."""
    shown = type(problem), problem, own_frames(problem)
    _LOGGER.error("the resource %s could not be opened", resource.name, exc_info=shown)
    return Unavailable(
        task,
        f"its resource {resource.name} could not be opened: {_brief(problem)}",
        advice="The worker has not started: check what the resource connects to.",
    )
