"""The steps of a call, or of one fan-out, that can be cancelled together."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Awaitable, Callable, Generator
from typing import TYPE_CHECKING, Protocol, TypeAlias

from onward.outcome import Faulted, Outcome
from onward.plan import Args, Runnable

if TYPE_CHECKING:
    import asyncio

Known: TypeAlias = Callable[[str], Awaitable[Outcome | None]]
"""Gives the recorded outcome of the step or wait at a path; None if it has none."""

_IN_CLEANUP = re.compile(r"(?:^|\.)finally(?![^.\[])")
_TRIED = re.compile(r"\.try(?![^.\[])")


class RunStep(Protocol):
    """Runs one step with its retries and returns its outcome. Each backend has its own."""

    def __call__(self, step: Runnable, args: Args, where: str, /) -> Awaitable[Outcome]: ...


def in_cleanup(path: str, *, ends: bool = False) -> bool:
    """Whether the step at a path belongs to a cleanup, which runs in spite of cancel and deadline.

    Args:
        path: The path.
        ends: Whether only a step counts whose failure ends the cleanup, because none rescues it.

    Example:
        >>> in_cleanup("1.finally[0]"), in_cleanup("1.try"), in_cleanup("finally.try.0")
        (True, False, True)
    """
    found = list(_IN_CLEANUP.finditer(path))
    return bool(found) and not (ends and _TRIED.search(path, found[-1].end()))


class Scope:
    """Runs steps until they are cancelled; `evaluate` takes it in place of a runner of steps.

    A call whose plan has a `FinallyNode` is evaluated with a scope of its own. To cancel the call,
    or to end it at its deadline, its backend calls `cancel` with the fault. From then on:

    - A step that runs is interrupted: the asyncio task that runs it is cancelled. It answers with
      the fault, and so does each step that would begin. No rescue catches this.
    - Cleanups run as always, with `run_step` itself. Then the evaluation ends, and the call's
      outcome is `cancelled`, whatever the evaluation gave.

    A backend ends a call at once, and does not wait for its evaluation, if `has_cleanup` is false.

    **Engines that evaluate a call again from recorded outcomes** pass `known`. If the call was
    cancelled before, they call `cancel` before they evaluate: steps with a recorded outcome answer
    with that, others with the fault, so the evaluation soon reaches the cleanups, and skips those
    that have an outcome because `run_step` answers with it as always. A cleanup may then also run
    for a flow that had its input and had not begun.

    **Engines that replay** need nothing: `cancel` is deterministic if it comes from an event of the
    history, and running steps are cancelled in the order in which they began.

    Args:
        run_step: Runs a single step.
        known: Gives the recorded outcome of a step; None in the first evaluation of a call.
    """

    def __init__(self, run_step: RunStep, known: Known | None = None) -> None:
        self.run_step = run_step
        self._answer: Faulted | None = None
        self._known = known
        self._root: Scope = self
        self._cleanups = 0
        self._running: dict[asyncio.Future[Outcome], None] = {}  # in order, to replay
        self._inner: dict[Scope, None] = {}

    @property
    def cancelled(self) -> Faulted | None:
        """What the steps without an outcome answer since they were cancelled."""
        return self._answer

    @property
    def has_cleanup(self) -> bool:
        """Whether a cleanup has still to end: its flow has begun."""
        return self._root._cleanups > 0

    def cancel(self, outcome: Faulted) -> None:
        """Cancels all steps without an outcome, also those of the scopes within; the first counts.

        Call it on the event loop of the evaluation.

        Args:
            outcome: What these steps answer.
        """
        if self._answer is not None:
            return
        self._answer = outcome
        for running in list(self._running):
            running.cancel()
        for inner in list(self._inner):
            inner.cancel(outcome)

    async def __call__(self, step: Runnable, args: Args, where: str, /) -> Outcome:
        return await self.guard(lambda: self.run_step(step, args, where), where)

    async def guard(self, start: Callable[[], Awaitable[Outcome]], where: str) -> Outcome:
        """Runs a step or a wait, unless it is cancelled.

        Args:
            start: Starts it.
            where: Its path.
        """
        if self.cancelled is not None:
            known = None if self._known is None else await self._known(where)
            return self.cancelled if known is None else known
        import asyncio  # here, because a program that only submits should not pay for this import

        running = asyncio.ensure_future(start())
        self._running[running] = None
        try:
            return await running
        except asyncio.CancelledError:
            this = asyncio.current_task()
            answer = self._answer
            if answer is None or (this is not None and this.cancelling()):
                raise  # it was not cancelled by the scope, or not only
            return answer
        finally:
            del self._running[running]

    def is_closed_to(self, outcome: Outcome) -> bool:
        """Whether an outcome is the answer of a cancelled step, which no rescue catches."""
        return outcome is self._answer

    def refusal(self) -> Faulted | None:
        """What a flow with a cleanup answers if it must not begin any more."""
        # A cancelled call that is evaluated again may have begun it before.
        return self.cancelled if self._known is None else None

    @contextlib.contextmanager
    def cleaning_up(self) -> Generator[None]:
        """While a flow with a cleanup has begun, and its cleanup has not ended."""
        self._root._cleanups += 1
        try:
            yield
        finally:
            self._root._cleanups -= 1

    @contextlib.contextmanager
    def within(self) -> Generator[Scope]:
        """Makes a scope that can be cancelled alone, and is cancelled with this one."""
        inner = Scope(self.run_step, self._known)
        inner._root = self._root
        inner._answer = self._answer
        self._inner[inner] = None
        try:
            yield inner
        finally:
            del self._inner[inner]
