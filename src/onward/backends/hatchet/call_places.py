"""The places of calls in the limit of their flow.

A run of the limit's workflow has the place, as long as the call lasts: when the engine starts it,
it signals the call that it may begin. Until then the call waits, as for any other signal.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from returns.result import Failure

from onward import plan as plans
from onward.backends.hatchet import names
from onward.backends.hatchet.connection import Connection
from onward.backends.hatchet.errors import RpcError
from onward.backends.hatchet.message import RunInput
from onward.backends.hatchet.progress import Reporter
from onward.backends.hatchet.records import NOTHING
from onward.backends.hatchet.submit import Place
from onward.backends.hatchet.waiting import Waits
from onward.fault import Fault, Lost, Unavailable, Unknown
from onward.limit import StepLimit
from onward.outcome import Faulted
from onward.plan import VERSION, AwaitsNode, ChainNode, Plan

_TRIES = 20
"""How many keys to try, if the engine knows a key but has no run for it."""

_PAUSE = 1.0
"""The pause between attempts while the engine is away, in seconds."""

_PATIENCE = 600.0
"""How long a request is retried while the engine is away, in seconds."""


class CallPlace:
    """The place of a call, as the worker sees it that runs the call.

    Args:
        connection: The connections to the engine.
        plan: The call's plan.
        limit: The limit of its flow.
        call: The call's id.
        task: The id of the engine's task that runs the call.
        on_idle: Called when all that the call does is to wait for its place.
    """

    def __init__(
        self,
        connection: Connection,
        plan: Plan,
        limit: StepLimit,
        call: str,
        task: str,
        on_idle: Callable[[Waits], None],
    ) -> None:
        self._connection = connection
        self._plan = plan
        self._limit = limit
        self._call = call
        self._task = task
        self._on_idle = on_idle
        self._reporter = Reporter(connection.client, task)
        self._waits = Waits(connection, plan, call, self._note)
        self._holder = ""

    async def enter(self) -> Fault | None:
        """Waits until the call has its place; returns why it will have none, if so."""
        with self._waits.work():
            fault = await self._start()
        if fault is None:
            outcome = await self._waits(AwaitsNode(names.PLACE), names.PLACE)
            fault = outcome.fault if isinstance(outcome, Faulted) else None
        return fault

    async def leave(self) -> None:
        """Gives up a place that the call still waits for, because the call has ended."""
        if self._holder:
            await self._connection.client.cancel([self._holder])
        await self._waits.close()

    def close(self) -> None:
        """Ends the reports."""
        self._reporter.close()

    async def _start(self) -> Fault | None:
        """Starts the run that has the place; the same one each time."""
        fault = await self._connection.limit_workflows.declare(self._limit, of_calls=True)
        if fault is not None:
            return fault
        plan = Plan(v=VERSION, flow=self._plan.flow, root=ChainNode(()))
        run_input = RunInput(plans.encode(plan).decode(), call=self._call, holds=True)
        for again in range(_TRIES):
            place = "place" + " again" * again
            started = await self._connection.submitter.start(
                plan,
                run_input,
                f"{self._call} {place}",
                parent=self._task,
                place=Place(self._limit, self._plan.limit_key, of_call=True),
                patience=_PATIENCE,
            )
            if not isinstance(started, Failure):
                self._holder = started.unwrap()
                return None
            wrong: Fault = started.failure()
            if not isinstance(wrong, Unknown):
                return wrong
        return Lost(self._plan.flow, f"the engine lost its place in {self._limit.name!r}")

    def _note(self) -> None:
        if self._waits.is_idle:
            self._reporter.on_wait("", limit=self._limit.name)
            self._on_idle(self._waits)


async def hold(connection: Connection, call: str) -> None:
    """Lets a call begin that has its place now, and waits until the call has ended."""
    while True:
        sent = await connection.signals.send(call, names.PLACE, NOTHING.raw)
        if not isinstance(sent, Failure) or not isinstance(sent.failure(), Unavailable):
            break
        await asyncio.sleep(_PAUSE)
    while True:
        try:
            await connection.waiter.outcome(call)
        except RpcError:  # the connection failed
            await asyncio.sleep(_PAUSE)
        else:
            return
