"""What every engine's backend and worker need, written once."""

from __future__ import annotations

import asyncio
import concurrent.futures
import math
import time
from collections.abc import Callable, Coroutine, Iterable, Mapping
from typing import Any, TypeVar

from onward.catalog import Catalog
from onward.context import Context, Progress, moment
from onward.fault import Expired, Unknown
from onward.plan import Runnable, StepNode

T = TypeVar("T")

OUTAGE = 60.0
"""How long a caller that waits tolerates an engine that is away, in seconds."""


def expired(flow: str) -> Expired:
    """The fault of a call whose deadline passed.

    Args:
        flow: The call's flow.
    """
    return Expired(flow, "its deadline passed before it had an outcome")


def unknown(id: str, where: str) -> Unknown:
    """The fault of an id that an engine does not know.

    Args:
        id: The call's id.
        where: Where the engine keeps calls, as in `this namespace`.
    """
    return Unknown(id, f"no such call in {where}, or its outcome is no longer kept")


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
    """What a step's task learns about its attempt from `onward.current`.

    Args:
        step: The step; a fused one bears the name of its flow.
        call: The call's id.
        flow: The call's flow.
        path: Where the step stands within its call.
        attempt: Which attempt it is, from 1.
        key: The call's idempotency key.
        deadline: When the call expires, in seconds since 1970.
        trace: The plan's trace.
        report: Takes what the task reports of its progress.
        is_cancelled: Tells whether the call was cancelled, where the engine can know.
    """
    return Context(
        id=call,
        task=step.task if isinstance(step, StepNode) else flow,
        step=path,
        attempt=attempt,
        key=key,
        deadline=moment(deadline),
        report=report,
        is_cancelled=is_cancelled,
        trace=trace,
    )


def queues_served(default: str, catalog: Catalog, queues: Iterable[str] | None) -> list[str]:
    """The queues that a worker takes steps from, sorted.

    Args:
        default: The queue of steps that name none.
        catalog: What the worker serves.
        queues: What its caller asked for; None for the default queue and those of the catalog.
    """
    return sorted({default, *catalog.queues} if queues is None else set(queues))


def stop_on(
    loop: asyncio.AbstractEventLoop, leave: Callable[[], Coroutine[Any, Any, None]]
) -> bool:
    """Runs a worker's end on its event loop, from any other thread, and waits for it.

    Args:
        loop: The worker's event loop.
        leave: Makes the coroutine that ends the worker.

    Returns:
        Whether it ran to its end; False where the backend was closed, and the loop with it.
    """
    leaving = leave()
    try:
        asyncio.run_coroutine_threadsafe(leaving, loop).result()
    except (RuntimeError, concurrent.futures.CancelledError):
        leaving.close()
        return False
    return True


def first_match(table: Mapping[str, T], text: str) -> T | None:
    """The first entry of a table whose key stands in a text.

    Engines keep such tables of what their clients say, and what to do about it.

    Args:
        table: The entries, by a piece of text.
        text: The text.

    Example:
        >>> first_match({"refused": "start it", "timed out": "look at the network"}, "timed out")
        'look at the network'
    """
    return next((entry for piece, entry in table.items() if piece in text), None)


class Patience:
    """How much longer a caller that waits tolerates an engine that is away.

    Args:
        timeout: How long the caller waits in all, in seconds; None for as long as it takes.
        outage: How long the engine may be away at a time, in seconds.
        clock: The time in seconds.
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
        """How long the caller still waits, in seconds; never less than 0."""
        return max(0.0, self._end - self._clock())

    @property
    def is_over(self) -> bool:
        """Whether the caller's own time is over."""
        return self._clock() >= self._end

    @property
    def is_exhausted(self) -> bool:
        """Whether the caller gives up on an engine that is still away."""
        return self._clock() >= self._given_up

    def answered(self) -> None:
        """The engine answered: the next failure begins another outage."""
        self._given_up = min(self._end, self._clock() + self._outage)
