"""What the backends and workers of all engines share: faults, contexts, queues, outages."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import math
import time
from collections.abc import Callable, Coroutine, Iterable, Mapping
from typing import Any, TypeVar

from onward.backend.records import Hearing
from onward.backend.workers import Hears, Worker
from onward.catalog import Catalog
from onward.context import Context, Progress, moment
from onward.fault import Conflict, Expired, Unknown
from onward.plan import Node, Runnable, SleepNode, StepNode, Waiting
from onward.scope import in_cleanup

T = TypeVar("T")

BLOCKED = 15.0
"""How long a worker's event loop may be blocked until the worker counts as deaf, in seconds."""

OUTAGE = 60.0
"""How long a waiting caller tolerates an engine that does not answer, in seconds."""


def expired(flow: str) -> Expired:
    """The fault for a call whose deadline passed.

    Args:
        flow: The name of the call's flow.
    """
    return Expired(flow, "its deadline passed before it had an outcome")


def unknown(id: str, where: str) -> Unknown:
    """The fault for an id that an engine does not know.

    Args:
        id: The call's id.
        where: Where the engine keeps calls, such as `this namespace`.
    """
    return Unknown(id, f"no such call in {where}, or its outcome is no longer kept")


def sent_already(flow: str, name: str) -> Conflict:
    """The fault for a second value of a signal.

    Args:
        flow: The name of the call's flow.
        name: The signal's name.
    """
    return Conflict(
        flow,
        f"the signal {name!r} was sent to this call before, and the first value counts",
        "If that value was wrong, cancel the call and submit it again.",
    )


def ended_already(flow: str, name: str) -> Conflict:
    """The fault for a signal to a call that has an outcome.

    Args:
        flow: The name of the call's flow.
        name: The signal's name.
    """
    return Conflict(flow, f"the call has ended, so nothing waits for the signal {name!r}")


def not_ended(flow: str) -> Conflict:
    """The fault for a call that cannot be deleted, because it has no outcome yet.

    Args:
        flow: The name of the call's flow.
    """
    return Conflict(
        flow, "the call has no outcome yet", "Cancel it, or wait for its result, and try again."
    )


def is_cancelling(flow: str) -> Conflict:
    """The fault for a call that cannot be moved, because its cleanups run already.

    Args:
        flow: The name of the call's flow.
    """
    return Conflict(flow, "the call is cancelling", "Wait for its result: it ends where it is.")


def step_name(step: Node, flow: str) -> str:
    """The name of a step: its task's, or its flow's where the step is a whole flow.

    Args:
        step: The step.
        flow: The call's flow.
    """
    return step.task if isinstance(step, StepNode) else flow


def step_context(
    step: Runnable,
    *,
    call: str,
    flow: str,
    path: str,
    attempt: int,
    key: str | None,
    deadline: float | None,
    trace: Mapping[str, str],
    report: Callable[[Progress], None],
    is_cancelled: Callable[[], bool] = lambda: False,
) -> Context:
    """Makes the context that `onward.current` returns during an attempt at a step.

    Args:
        step: The step. For a fused one, the context's task is the name of the flow.
        call: The call's id.
        flow: The name of the call's flow.
        path: The step's path within its call.
        attempt: The number of the attempt, from 1.
        key: The call's idempotency key.
        deadline: When the call expires, in seconds since 1970. A cleanup has no deadline.
        trace: The plan's trace.
        report: Takes the progress that the task reports.
        is_cancelled: Says whether the call was cancelled, if the engine can tell.
    """
    return Context(
        id=call,
        task=step_name(step, flow),
        step=path,
        attempt=attempt,
        key=key,
        deadline=None if in_cleanup(path) else moment(deadline),
        report=report,
        is_cancelled=is_cancelled,
        trace=trace,
    )


def queues_served(default: str, catalog: Catalog, queues: Iterable[str] | None) -> list[str]:
    """Returns the queues that a worker takes steps from, sorted.

    Args:
        default: The default queue, for steps that name none.
        catalog: The catalog that the worker serves.
        queues: The queues that the caller chose; None for the default queue and the catalog's.
    """
    return sorted({default, *catalog.queues} if queues is None else set(queues))


def stop_on(
    loop: asyncio.AbstractEventLoop, leave: Callable[[], Coroutine[Any, Any, None]]
) -> bool:
    """Stops a worker on its event loop, from any other thread, and waits for it.

    Args:
        loop: The worker's event loop.
        leave: Returns the coroutine that stops the worker.

    Returns:
        Whether the coroutine finished; False if the loop was closed, as a closed backend's is.
    """
    leaving = leave()
    try:
        asyncio.run_coroutine_threadsafe(leaving, loop).result()
    except (RuntimeError, concurrent.futures.CancelledError):
        leaving.close()
        return False
    return True


def hearing_of(worker: Worker) -> Hearing | None:
    """How long a worker has heard nothing from its engine; None if it cannot tell.

    Args:
        worker: Any worker.
    """
    return worker.hearing() if isinstance(worker, Hears) else None


class Echo:
    """Says how long something that was asked has not answered.

    Args:
        ask: Asks, without waiting; the answer is a call of `heard`.
        clock: Returns the time in seconds.

    Example:
        >>> time = 0.0
        >>> echo = Echo(lambda: None, clock=lambda: time)
        >>> echo.silent()
        0.0
        >>> time = 7.0
        >>> echo.silent()
        7.0
        >>> echo.heard()
        >>> echo.silent()
        0.0
    """

    def __init__(
        self, ask: Callable[[], object], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._ask = ask
        self._clock = clock
        self._since: float | None = None

    def heard(self) -> None:
        """Notes the answer."""
        self._since = None

    def silent(self) -> float:
        """How long the answer has not come, in seconds. Asks again if it has."""
        since = self._since
        if since is None:
            since = self._since = self._clock()
            self._ask()
        return self._clock() - since


def loop_echo(loop: asyncio.AbstractEventLoop) -> Echo:
    """Says how long an event loop has been blocked, or has been closed.

    Args:
        loop: The loop; ask from any thread.
    """

    def ask() -> None:
        with contextlib.suppress(RuntimeError):  # it is closed
            loop.call_soon_threadsafe(echo.heard)

    echo = Echo(ask)
    return echo


def first_match(table: Mapping[str, T], text: str) -> T | None:
    """Returns the first entry of a table whose key occurs in a text.

    Engines have such tables of error messages and what to do about them.

    Args:
        table: The entries, by a piece of text.
        text: The text to search.

    Example:
        >>> first_match({"refused": "start it", "timed out": "look at the network"}, "timed out")
        'look at the network'
    """
    return next((entry for piece, entry in table.items() if piece in text), None)


class Patience:
    """Says how much longer a caller waits for an engine that does not answer.

    Args:
        timeout: The caller's longest wait in total, in seconds; None for no limit.
        outage: How long one outage of the engine may last, in seconds.
        clock: Returns the time in seconds.
    """

    def __init__(
        self,
        timeout: float | None = None,
        outage: float = OUTAGE,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._outage = outage
        self._end = math.inf if timeout is None else clock() + timeout
        self._given_up = 0.0
        self.answered()

    @property
    def left(self) -> float:
        """The rest of the caller's time, in seconds; never less than 0."""
        return max(0.0, self._end - self._clock())

    @property
    def is_over(self) -> bool:
        """Whether the caller's time is over."""
        return self._clock() >= self._end

    @property
    def is_exhausted(self) -> bool:
        """Whether the outage lasted so long that the caller gives up."""
        return self._clock() >= self._given_up

    def answered(self) -> None:
        """Notes that the engine answered. The next failure begins a new outage."""
        self._given_up = min(self._end, self._clock() + self._outage)


def text_of_wait(node: Waiting) -> str:
    """A wait in a few words, for people."""
    if isinstance(node, SleepNode):
        return f"sleep ({node.seconds:.10g} s)"
    timeout = "" if node.timeout is None else f" (for {node.timeout:.10g} s)"
    return f"awaits {node.signal}{timeout}"
