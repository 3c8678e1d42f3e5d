"""Runs a flow that is not a DAG, by the evaluator; each step is a run of its own.

The engine identifies the run of a step by the step's path in the call. So if a worker dies and
another one starts the flow again, steps that have ended keep their outcomes and do not run again.
"""

from __future__ import annotations

import asyncio
import time

from msgspec.structs import replace
from returns.result import Failure

from onward.backend.support import step_name
from onward.backends.hatchet.connection import Connection
from onward.backends.hatchet.errors import RpcError
from onward.backends.hatchet.message import LastAttempt, input_of
from onward.backends.hatchet.submit import Parent
from onward.evaluate import evaluate
from onward.fault import Fault, Lost, Raised, TimedOut, Unknown
from onward.outcome import Faulted, Outcome, faulted, is_unknown
from onward.plan import Args, Plan, Runnable

_PLACES = 20
"""How many keys to try, if the engine knows a key but has no run for it."""

_BROKEN_OFF = 2
"""How many failures to start a step do not prove yet that its task is undeclared."""

_PAUSE = 1.0
"""The pause between waits for a step while the engine is away, in seconds."""

_PATIENCE = 600.0
"""How long the start of a step is retried while the engine is away, in seconds."""


class Evaluation:
    """One flow, as one worker runs it.

    Args:
        connection: The connections to the engine.
        plan: The flow.
        call: The call's id.
        task: The id of the engine's task that runs the flow.
    """

    def __init__(self, connection: Connection, plan: Plan, call: str, task: str) -> None:
        self._connection = connection
        self._plan = plan
        self._call = call
        self._task = task
        self._running: set[str] = set()
        self.last: LastAttempt | None = None
        """The step that ended last."""

    async def run(self, args: Args) -> Outcome:
        """Runs the flow."""
        return await evaluate(self._plan.root, args, self._run_step)

    async def cancel(self) -> None:
        """Cancels the running steps."""
        if self._running:
            await self._connection.client.cancel(sorted(self._running))

    async def _run_step(self, step: Runnable, args: Args, where: str) -> Outcome:
        plan = replace(self._plan, root=step, args=args)
        fault: Fault = Lost(plan.flow, f"the engine lost its step at {where}")
        undeclared = self._connection.settings.undeclared
        end = time.monotonic() + undeclared
        for again in range(_PLACES):
            place = where + " again" * again
            started = await self._connection.submitter.start(
                plan,
                input_of(plan, at=where, call=self._call),
                f"{self._call} {place}",
                parent=Parent(self._task, place),
                patience=_PATIENCE,
            )
            if isinstance(started, Failure):
                fault = started.failure()
                if isinstance(fault, Unknown) and (again < _BROKEN_OFF or time.monotonic() < end):
                    await asyncio.sleep(undeclared / _PLACES)  # its worker may be starting
                    continue
                break
            id = started.unwrap()
            self._running.add(id)
            outcome, last = await self._outcome(id)
            self._running.discard(id)
            if not is_unknown(outcome, id):
                name = step_name(step, plan.flow)
                self.last = last or LastAttempt(name, where, str(_attempts(outcome)))
                return outcome
            # The engine stored the key, but then failed to start the run.
        return faulted(fault)

    async def _outcome(self, id: str) -> tuple[Outcome, LastAttempt | None]:
        while True:
            try:
                return await self._connection.waiter.step(id)
            except RpcError:  # the connection failed, not the step
                await asyncio.sleep(_PAUSE)


def _attempts(outcome: Outcome) -> int:
    fault = outcome.fault if isinstance(outcome, Faulted) else None
    return fault.attempts if isinstance(fault, Raised | TimedOut) else 1
