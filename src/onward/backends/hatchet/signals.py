"""Signals: values that are sent to calls.

A record stores each value under a key of the call and the signal. Nothing in the engine says
whether a key exists, except an attempt to take it. So a call waits for the end of a run that no
worker takes, the signal's mailbox: a worker that runs the record cancels it. If a mailbox ends
otherwise, such as by somebody in the dashboard, the call goes on with the next mailbox.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Iterable

from msgspec import Raw
from returns.result import Failure, Result, Success

from onward import plan as plans
from onward.backend.support import ended_already, sent_already
from onward.backends.hatchet import names
from onward.backends.hatchet.cancelling import Cancelling
from onward.backends.hatchet.client import Client
from onward.backends.hatchet.errors import RpcError, unknown, with_retries
from onward.backends.hatchet.message import RunInput
from onward.backends.hatchet.outcomes import input_and_plan
from onward.backends.hatchet.reader import Oversized, Reader
from onward.backends.hatchet.records import Record, Records
from onward.backends.hatchet.submit import Submitter
from onward.backends.hatchet.wait import Waiter
from onward.fault import Fault
from onward.outcome import Value
from onward.plan import VERSION, AwaitsNode, ChainNode, Plan, walk

_PATIENCE = 3.0
"""How long sending a signal is retried while the engine is away, in seconds."""

_WORK = 600.0
"""How long a worker retries while the engine is away, in seconds."""

_PAUSE = 1.0
"""The pause between waits for a mailbox while the engine is away, in seconds."""

_RESTORES = (0.0, 2.0, 4.0, 8.0, 16.0)
"""The pauses between looks whether a call is evicted, in seconds.

The engine may be evicting it just now, or may lose the request to restore it.
"""


class Signals:
    """Sends signals, and waits for them.

    Args:
        client: The connection.
        reader: Reads runs.
        submitter: Starts runs.
        waiter: Waits for runs to end.
        records: Stores the values.
        cancelling: Tells whether a call has ended.
    """

    def __init__(
        self,
        client: Client,
        reader: Reader,
        submitter: Submitter,
        waiter: Waiter,
        records: Records,
        cancelling: Cancelling,
    ) -> None:
        self._client = client
        self._reader = reader
        self._submitter = submitter
        self._waiter = waiter
        self._records = records
        self._cancelling = cancelling

    async def send(self, call: str, name: str, raw: Raw) -> Result[None, Fault]:
        """See `AsyncSignals.send`."""
        try:
            details = await with_retries(lambda: self._reader.details(call), _PATIENCE)
            outcome = None if details is None else await self._cancelling.outcome(call, details)
        except Oversized as oversized:
            return Failure(oversized.fault)
        except RpcError as problem:
            return Failure(self._client.fault(problem))
        found = None if details is None else input_and_plan(details)
        if found is None:
            return Failure(unknown(call))
        flow = found[1].flow
        if outcome is not None:
            return Failure(ended_already(flow, name))
        for generation in itertools.count():
            stored = await self._records.store(
                _value_key(call, generation, name),
                Value(raw),
                flow=flow,
                call=call,
                at=str(generation),
                signal=name,
                patience=_PATIENCE,
            )
            if isinstance(stored, Failure):
                return stored
            if stored.unwrap().is_new:
                return Success(None)
            if stored.unwrap().outcome is not None:
                break
        return Failure(sent_already(flow, name))

    async def deliver(self, run_input: RunInput) -> None:
        """Ends the mailbox of the signal whose value a record has."""
        call = run_input.call
        if run_input.wakes:
            await self.restore(call)
        if not (run_input.outcome and run_input.signal):
            return
        mailbox = await self.mailbox(call, int(run_input.at), run_input.signal)
        if isinstance(mailbox, Failure):
            return
        await self.end([mailbox.unwrap()])
        await self.restore(call)

    async def restore(self, call: str) -> None:
        """Restores a call if it is evicted now, or is being evicted."""
        for pause in _RESTORES:
            await asyncio.sleep(pause)
            details = await with_retries(lambda: self._client.details(call), _WORK)
            if details is not None and details.is_evicted:
                await with_retries(lambda: self._client.restore(call), _WORK)
            elif pause:
                return

    async def wake_at(self, call: str, moment: float) -> None:
        """Has the engine restore an evicted call at a moment.

        Args:
            call: The call's id.
            moment: The moment, in seconds since 1970.

        Raises:
            RpcError: If the engine refuses it, or is away.
        """
        plan = Plan(v=VERSION, flow=f"wake {call}", root=ChainNode(()))
        run_input = RunInput(plans.encode(plan).decode(), call=call, wakes=True)
        key = f"{call} wake {moment:.3f}"
        await self._submitter.schedule(plan, run_input, key, workflow=names.RECORD, at=moment)

    async def end_all(self, plan: Plan, call: str) -> None:
        """Ends the mailboxes of a call that has ended, for which no worker remembers them.

        Args:
            plan: The call's plan.
            call: The call's id.
        """
        names_of = {node.signal for node in walk(plan.root) if isinstance(node, AwaitsNode)}
        if plan.call_limit is not None:
            names_of.add(names.PLACE)
        mailboxes = await asyncio.gather(*(self.mailbox(call, 0, name) for name in names_of))
        ids = [mailbox.unwrap() for mailbox in mailboxes if isinstance(mailbox, Success)]
        if ids:
            await self._client.cancel(ids)

    async def end(self, mailboxes: Iterable[str]) -> None:
        """Ends mailboxes, and retries until they have ended."""
        await asyncio.gather(*map(self._cancelling.stop, set(mailboxes)))

    async def receive(
        self, call: str, mailbox: str, generation: int, name: str, timeout: float | None
    ) -> Result[Record | None, Fault]:
        """Waits for the value of a signal.

        Args:
            call: The call's id.
            mailbox: The id of the mailbox.
            generation: The number of the mailbox.
            name: The signal's name.
            timeout: How long to wait, in seconds.

        Returns:
            What the mailbox has; it has no outcome if it was ended otherwise. None after the
            timeout.
        """
        if not await self._has_ended(mailbox, timeout):
            return Success(None)
        return await self._records.store(
            _value_key(call, generation, name),
            None,
            flow=f"signal {name}",
            call=call,
            at=str(generation),
            signal=name,
            patience=_WORK,
        )

    async def mailbox(self, call: str, generation: int, name: str) -> Result[str, Fault]:
        """Returns the id of a mailbox of a signal; the first request makes it."""
        plan = Plan(v=VERSION, flow=f"signal {name}", root=ChainNode(()))
        text = plans.encode(plan).decode()
        return await self._submitter.start(
            plan,
            RunInput(text, str(generation), call, signal=name),
            f"{call} mailbox {generation} {name}",
            workflow=names.MAILBOX,
            patience=_WORK,
        )

    async def _has_ended(self, mailbox: str, timeout: float | None) -> bool:
        end = None if timeout is None else time.monotonic() + timeout
        while True:
            left = None if end is None else max(0.0, end - time.monotonic())
            try:
                if await self._waiter.outcome(mailbox, left) is not None:
                    return True
                details = await self._reader.details(mailbox)
                return details is None or details.done
            except RpcError:  # the connection failed
                await asyncio.sleep(_PAUSE)


def _value_key(call: str, generation: int, name: str) -> str:
    return f"{call} signal {generation} {name}"
