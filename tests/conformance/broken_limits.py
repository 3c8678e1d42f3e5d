"""Backends that each break one promise about limits."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

from onward.backends.local.core import Core
from onward.backends.local.limits import Limits
from onward.backends.local.steps import Run, StepRunner
from onward.execute import limit_key
from onward.limit import StepLimit
from onward.outcome import Faulted, Outcome
from onward.plan import Args, FusedNode, NamedNode, Node, Runnable, StepNode
from tests.conformance.broken import Broken, replaced


class _OtherLimits(Broken):
    """Runs the steps with other limits."""

    def limit(self, limit: StepLimit) -> StepLimit | None:
        """The limit instead of this one."""
        raise NotImplementedError

    def rewrite(self, node: Node) -> Node:
        if isinstance(node, StepNode | FusedNode) and node.limit is not None:
            changed: Node = replaced(node, limit=self.limit(node.limit))
            return changed
        return node


class IgnoresLimits(_OtherLimits):
    def limit(self, limit: StepLimit) -> StepLimit | None:
        return None


class IgnoresLimitsOfCalls(Broken):
    def rewrite(self, node: Node) -> Node:
        return replaced(node, limit=None) if isinstance(node, NamedNode) else node


class LetsOneMoreRun(_OtherLimits):
    def limit(self, limit: StepLimit) -> StepLimit | None:
        more = None if limit.concurrency is None else limit.concurrency + 1
        changed: StepLimit = replaced(limit, concurrency=more)
        return changed


class CountsFixedWindows(_OtherLimits):
    """Lets the attempts of two windows begin where the first one ends."""

    def limit(self, limit: StepLimit) -> StepLimit | None:
        changed: StepLimit = replaced(limit, per=limit.per / 2)
        return changed


class HasOneLimitForAllKeys(_OtherLimits):
    def limit(self, limit: StepLimit) -> StepLimit | None:
        return limit if limit.fair else replaced(limit, keyed=False)


class FirstComeFirstServed(_OtherLimits):
    def limit(self, limit: StepLimit) -> StepLimit | None:
        return replaced(limit, keyed=False, fair=False) if limit.fair else limit


class _InTurn(StepRunner):
    """Has a place of a limit during all of a step."""

    async def __call__(self, step: Runnable, args: Args, where: str, /) -> Outcome:
        if step.limit is None:
            return await super().__call__(step, args, where)
        key = limit_key(step, args, self._tasks)
        if isinstance(key, Faulted):
            return key
        async with self._runtime.limits.place(step.limit, key):
            return await super().__call__(replaced(step, limit=None), args, where)


class KeepsAPlaceBetweenAttempts(Broken):
    class BrokenCore(Core):
        def steps(self, run: Run) -> StepRunner:
            return _InTurn(self.runtime, run)


class _InSlot(StepRunner):
    """Takes a slot before it waits for a limit."""

    async def __call__(self, step: Runnable, args: Args, where: str, /) -> Outcome:
        if step.limit is None:
            return await super().__call__(step, args, where)
        await self._runtime.slots.take(None)
        try:
            return await super().__call__(step, args, where)
        finally:
            self._runtime.slots.add(1)


class WaitsInASlot(Broken):
    class BrokenCore(Core):
        def steps(self, run: Run) -> StepRunner:
            return _InSlot(self.runtime, run)


class _Twice(StepRunner):
    """Takes a place for a fused step, and another one within it."""

    async def __call__(self, step: Runnable, args: Args, where: str, /) -> Outcome:
        if step.limit is None or isinstance(step, StepNode):
            return await super().__call__(step, args, where)
        async with self._runtime.limits.place(step.limit, ""):
            return await super().__call__(step, args, where)


class TakesTwoPlacesForFused(Broken):
    class BrokenCore(Core):
        def steps(self, run: Run) -> StepRunner:
            return _Twice(self.runtime, run)


class _Unkeyed(StepRunner):
    """Runs a step without its limit if its key raises."""

    async def __call__(self, step: Runnable, args: Args, where: str, /) -> Outcome:
        if isinstance(limit_key(step, args, self._tasks), Faulted):
            step = replaced(step, limit=None)
        return await super().__call__(step, args, where)


class ForgetsKeysThatRaise(Broken):
    class BrokenCore(Core):
        def steps(self, run: Run) -> StepRunner:
            return _Unkeyed(self.runtime, run)


class _GivesPlacesToTheGone(Limits):
    """Keeps the turn of what has ended while it waited."""

    @asynccontextmanager
    async def place(self, limit: StepLimit, key: str) -> AsyncGenerator[Callable[[], None]]:
        place = super().place(limit, key)
        loop = asyncio.get_running_loop()
        try:
            begin = await place.__aenter__()
        except asyncio.CancelledError:
            gone = f"gone {next(self._numbers)}"
            self._turns[gone] = loop.create_future()
            self._limiter.request(gone, limit, key, loop.time())
            raise
        try:
            yield begin
        finally:
            await place.__aexit__(None, None, None)


class KeepsTheTurnOfWhatHasEnded(Broken):
    class BrokenCore(Core):
        def __init__(self, workers: int, keep: float) -> None:
            super().__init__(workers, keep)
            self.runtime.limits = _GivesPlacesToTheGone()
