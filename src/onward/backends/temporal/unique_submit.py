"""Submits calls that share a key, through the workflow that holds the key."""

from __future__ import annotations

from temporalio.client import Client
from temporalio.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.service import RPCError, RPCStatusCode

from onward import plan as plans
from onward.backend import Submission, Unique
from onward.backends.temporal import unique_message as messages
from onward.backends.temporal.client import PROMPT, Address
from onward.backends.temporal.converter import raw_value
from onward.backends.temporal.message import CANCELLED
from onward.backends.temporal.unique_lookup import Held, held, was_dropped
from onward.backends.temporal.unique_message import HolderOptions, Place, Submitted, next_id
from onward.backends.temporal.wait import has_ended


async def submit_unique(
    client: Client, address: Address, submission: Submission, unique: Unique
) -> str:
    """Submits a call, and returns the id of the call that stands for it; raises RPCError.

    Args:
        client: The connection.
        address: The server's address.
        submission: The call.
        unique: Its key, and whether it replaces a call that waits.
    """
    return await _Submitter(client, address, submission, unique).submit()


class _Submitter:
    """Submits one call."""

    def __init__(
        self, client: Client, address: Address, submission: Submission, unique: Unique
    ) -> None:
        self._client = client
        self._address = address
        self._replaces = unique.replaces
        self._seconds = submission.delay
        self._holder = messages.holder_id(unique.slot)
        plan = submission.plan
        waits = unique.replaces or submission.delay > 0
        self._place = Place(messages.call_id(self._holder, plan.id), plan.flow, waits)
        self._plan = raw_value(plans.encode(plan))

    async def submit(self) -> str:
        ended = ""
        while True:
            signal = None
            if self._replaces or ended:
                signal = Submitted(self._seconds, "" if self._replaces else ended)
            found = await held(self._client, self._holder, await self._start(signal))
            if found is None:  # its retention is over already
                continue
            place = found.place
            if place.call == self._place.call:
                return place.call
            if place.waits:
                if not await was_dropped(self._client, place.call):
                    return place.call
                await self._end(found)
            elif self._replaces or (signal is not None and signal.after == place.call):
                following = await self._as_next(found, signal or Submitted(self._seconds))
                if following is not None:
                    return following
            elif await self._has_ended(place.call):
                ended = place.call  # the holder is about to find that out
            else:
                return place.call

    async def _start(self, signal: Submitted | None) -> str:
        """Starts the holder, unless it runs, and signals it; returns the run's id."""
        options = HolderOptions(self._place, self._address.heartbeat, self._seconds)
        handle = await self._client.start_workflow(
            messages.TYPE,
            args=[self._plan, raw_value(messages.encode(options))],
            id=self._holder,
            task_queue=self._address.task_queue,
            memo={messages.MEMO: messages.encode(self._place)},
            id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
            id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
            start_signal=None if signal is None else messages.SUBMIT,
            start_signal_args=[] if signal is None else self._signal_args(signal),
            rpc_timeout=PROMPT,
        )
        return handle.result_run_id or ""

    def _signal_args(self, signal: Submitted) -> list[object]:
        return [self._plan, raw_value(messages.encode(signal))]

    async def _as_next(self, found: Held, signal: Submitted) -> str | None:
        """The id of the call that comes after the one of a run, which has got the signal.

        None if the run has ended, and so may have forgotten the signal with a cancelled call.
        """
        number = 0
        while True:
            id = next_id(self._holder, found.run, number)
            if not await was_dropped(self._client, id):
                return id
            number += 1
            again = Submitted(signal.seconds, signal.after, number)
            handle = self._client.get_workflow_handle(self._holder, run_id=found.run)
            try:
                await handle.signal(
                    messages.SUBMIT, args=self._signal_args(again), rpc_timeout=PROMPT
                )
            except RPCError as problem:
                if problem.status != RPCStatusCode.NOT_FOUND:
                    raise
                return None

    async def _has_ended(self, call: str) -> bool:
        try:
            return await has_ended(self._client, call)
        except RPCError as problem:
            if problem.status != RPCStatusCode.NOT_FOUND:
                raise
            return False  # its holder has not started it yet

    async def _end(self, found: Held) -> None:
        """Ends a run that waits with a call that was cancelled, in place of who cancelled it."""
        handle = self._client.get_workflow_handle(self._holder, run_id=found.run)
        try:
            await handle.terminate(reason=CANCELLED, rpc_timeout=PROMPT)
        except RPCError as problem:
            if problem.status != RPCStatusCode.NOT_FOUND:
                raise
