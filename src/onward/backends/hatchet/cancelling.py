"""Cancels calls that have a cleanup: a run of its own evaluates what a cancelled call has to run.

The engine cancels the call's own run at once, whether or not a worker is alive. So the cleanups
are run by another run, with a key of the call: whoever cancels starts it, and so does whoever asks
for the outcome of a call that was cancelled otherwise, such as in the dashboard.
"""

from __future__ import annotations

import asyncio
import math
import time

from hatchet_sdk.contracts.v1.workflows_pb2 import GetRunDetailsResponse
from msgspec.structs import replace
from returns.result import Failure, Result, Success

from onward.backend.support import expired
from onward.backends.hatchet import names
from onward.backends.hatchet.client import Client
from onward.backends.hatchet.errors import with_retries
from onward.backends.hatchet.message import cancelled, input_of
from onward.backends.hatchet.moved import MovedCalls
from onward.backends.hatchet.outcomes import (
    input_and_plan,
    is_cleaned_up,
    is_late,
    is_without_result,
    was_cancelled,
)
from onward.backends.hatchet.reader import DELIVERED_AGAIN, Reader
from onward.backends.hatchet.records import NOTHING, Records
from onward.backends.hatchet.submit import Submitter
from onward.backends.hatchet.undelivered import Undelivered
from onward.fault import Cancelled, Fault
from onward.outcome import Faulted, Outcome, faulted
from onward.plan import Plan

_PATIENCE = 600.0
"""How long a worker retries while the engine is away, in seconds."""

_LOOK = 3.0
"""How long one look at a call retries while the engine is away, in seconds."""

_AGAIN = 1.0
_LOOKS = 0.02
"""The pauses before runs are cancelled again, and between looks at them, in seconds."""


class Cancelling:
    """Ends calls that have a cleanup.

    Args:
        client: The connection.
        reader: Reads runs.
        submitter: Starts runs.
        records: Stores which calls have begun.
        moved: Says which calls were moved; their runs are cancelled, and clean nothing up.
        undelivered: Delivers again what was not delivered.
    """

    def __init__(
        self,
        client: Client,
        reader: Reader,
        submitter: Submitter,
        records: Records,
        moved: MovedCalls,
        undelivered: Undelivered,
    ) -> None:
        self._client = client
        self._reader = reader
        self._submitter = submitter
        self._records = records
        self._moved = moved
        self._undelivered = undelivered

    async def begin(self, plan: Plan, call: str) -> Result[bool, Fault]:
        """Notes that a call begins; False if it was cancelled before it began."""
        stored = await self._records.store(
            _begun(call), NOTHING, flow=plan.flow, call=call, at="", patience=_PATIENCE
        )
        return stored.map(lambda record: record.outcome is not None)

    async def has_begun(self, plan: Plan, call: str, patience: float) -> Result[bool, Fault]:
        """Whether a call has begun; if not, it never will.

        Args:
            plan: The call's plan.
            call: The call's id.
            patience: How long to retry while the engine is away, in seconds.
        """
        stored = await self._records.store(
            _begun(call), None, flow=plan.flow, call=call, at="", patience=patience
        )
        return stored.map(lambda record: record.outcome is not None)

    async def outcome(self, call: str, details: GetRunDetailsResponse) -> Outcome | None:
        """Returns the outcome of a call; None if it has none yet.

        Raises:
            RpcError: If the engine is not reached.
            Oversized: If a run cannot be read, now or later.
        """
        outcome = await self._outcome(call, details)
        found = input_and_plan(details) if was_cancelled(details) or outcome is None else None
        if found is not None and outcome is not None and not found[0].call:
            moved = await self._moved.of(call)
            if moved is not None:
                return moved
        if found is None or not is_cleaned_up(*found):
            return outcome
        if outcome is None:
            is_over = is_late(*found) and not await self._has_begun(found[1], call)
            return faulted(expired(found[1].flow)) if is_over else None
        run = await self.pending(details, call)
        if run is None:
            return outcome
        ended = await self._reader.details(run)
        return None if ended is None else await self._outcome(run, ended)

    async def _outcome(self, run: str, details: GetRunDetailsResponse) -> Outcome | None:
        outcome = await self._reader.outcome(details)
        if outcome is not None and await self._undelivered.deliver_again(run, details):
            return None
        return outcome

    async def _has_begun(self, plan: Plan, call: str) -> bool:
        begun = await self.has_begun(plan, call, _LOOK)
        return not isinstance(begun, Success) or begun.unwrap()

    async def run_for(self, plan: Plan, call: str, *, patience: float) -> Result[str | None, Fault]:
        """Starts the run that ends a cancelled call; the same one each time.

        Args:
            plan: The call's plan.
            call: The call's id.
            patience: How long to retry while the engine is away, in seconds.

        Returns:
            Its id; None if the call has nothing to clean up, because it has not begun.
        """
        begun = await self.has_begun(plan, call, patience)
        if isinstance(begun, Failure):
            return Failure(begun.failure())
        if not begun.unwrap():
            return Success(None)
        run_input = replace(input_of(plan, call=call), cleans_up=True)
        return await self._submitter.start(
            plan, run_input, f"{call} cancel", workflow=names.FLOW, patience=patience
        )

    async def pending(self, details: GetRunDetailsResponse, call: str) -> str | None:
        """Returns the id of the run that ends a call, if the call was cancelled and has one."""
        found = input_and_plan(details)
        if found is None or not is_cleaned_up(*found) or not was_cancelled(details):
            return None
        if await self._moved.of(call) is not None:
            return None
        return (await self.run_for(found[1], call, patience=_LOOK)).value_or(None)

    async def stop(self, run: str) -> bool:
        """Cancels a run, and retries until it has ended; False if it ended otherwise."""
        failed_at = math.inf
        while True:
            await with_retries(lambda: self._client.cancel([run]), _PATIENCE)
            again = time.monotonic() + _AGAIN
            while time.monotonic() < again:
                details = await with_retries(lambda: self._reader.details(run), _PATIENCE)
                if details is None:
                    return False
                if details.done and not is_without_result(details):
                    return was_cancelled(details)
                if details.done:  # the engine may deliver it once more
                    failed_at = min(failed_at, time.monotonic())
                    if time.monotonic() - failed_at >= DELIVERED_AGAIN:
                        return True
                await asyncio.sleep(_LOOKS)

    async def known(self, plan: Plan, call: str, where: str) -> Outcome | None:
        """Returns the outcome of a step or wait of a cancelled call; None if it has none.

        From now on it cannot get another one: a running step is cancelled, and the key of one that
        has not begun is taken.
        """
        outcome = await self._outcome_of(plan, call, where)
        return None if outcome is None or is_cancelled(outcome) else outcome

    async def _outcome_of(self, plan: Plan, call: str, where: str) -> Outcome | None:
        stored = await self._records.store(
            f"{call} {where}",
            faulted(cancelled(plan.flow)),
            flow=plan.flow,
            call=call,
            at=where,
            patience=_PATIENCE,
        )
        if isinstance(stored, Failure):
            return None
        record = stored.unwrap()
        if record.is_record:
            return record.outcome
        details = await with_retries(lambda: self._reader.details(record.run), _PATIENCE)
        if details is not None and not details.done:
            await self.stop(record.run)
            details = await with_retries(lambda: self._reader.details(record.run), _PATIENCE)
        return None if details is None else await self._reader.outcome(details)


def is_cancelled(outcome: Outcome) -> bool:
    """Whether an outcome is that of something cancelled."""
    return isinstance(outcome, Faulted) and isinstance(outcome.fault, Cancelled)


def _begun(call: str) -> str:
    return f"{call} began"
