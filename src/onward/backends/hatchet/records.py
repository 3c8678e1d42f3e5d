"""Stores outcomes under keys, as the inputs of runs: the first outcome of a key counts."""

from __future__ import annotations

import asyncio
import uuid

from hatchet_sdk.contracts.v1.workflows_pb2 import GetRunDetailsResponse
from msgspec import Raw, Struct
from returns.result import Failure, Result, Success

from onward import outcome as outcomes
from onward import plan as plans
from onward.backends.hatchet import names
from onward.backends.hatchet.client import Client
from onward.backends.hatchet.errors import RpcError, with_retries
from onward.backends.hatchet.message import RunInput
from onward.backends.hatchet.outcomes import input_and_plan
from onward.backends.hatchet.reader import Oversized, Reader
from onward.backends.hatchet.submit import Submitter
from onward.fault import Fault, Lost
from onward.outcome import Outcome, Value
from onward.plan import VERSION, ChainNode, Plan, Runnable

NOTHING = Value(Raw(b"null"))
"""The outcome of what gives no value."""

UNTIL = " due"
"""The end of the path of a record that stores when a wait is due."""

_APPEARS = (0.0, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0)
"""The pauses between attempts to read a run that was just started, in seconds."""


class Record(Struct, frozen=True):
    """What a key has.

    Args:
        run: The id of the run that has the key.
        outcome: The outcome that it stores; None if it stores none.
        is_new: Whether the run was started by this request.
        is_record: Whether the run is a record. If not, it is the run of a step.
    """

    run: str
    outcome: Outcome | None
    is_new: bool
    is_record: bool


class Records:
    """Stores outcomes.

    Args:
        client: The connection.
        submitter: Starts the runs.
        reader: Reads them.
    """

    def __init__(self, client: Client, submitter: Submitter, reader: Reader) -> None:
        self._client = client
        self._submitter = submitter
        self._reader = reader

    async def store(
        self,
        key: str,
        outcome: Outcome | None,
        *,
        flow: str,
        call: str,
        at: str,
        signal: str = "",
        patience: float,
    ) -> Result[Record, Fault]:
        """Stores an outcome under a key, unless the key has one.

        Args:
            key: The key.
            outcome: The outcome; None to take the key without one.
            flow: The flow's name, for people.
            call: The call's id.
            at: The path of the step or wait that the record is about.
            signal: The name of the signal whose value it is.
            patience: How long to retry while the engine is away, in seconds.

        Returns:
            What the key has now.
        """
        plan = Plan(v=VERSION, id=uuid.uuid4().hex, flow=flow, root=ChainNode(()))
        text = "" if outcome is None else outcomes.encode(outcome).decode()
        run_input = RunInput(plans.encode(plan).decode(), at, call, outcome=text, signal=signal)
        started = await self._submitter.start(
            plan, run_input, key, workflow=names.RECORD, patience=patience
        )
        if isinstance(started, Failure):
            return started
        id = started.unwrap()
        try:
            details = await self._details(id, patience)
        except Oversized as oversized:
            return Failure(oversized.fault)
        except RpcError as problem:
            return Failure(self._client.fault(problem, flow))
        found = None if details is None else input_and_plan(details)
        if found is None:
            return Failure(Lost(flow, f"Hatchet no longer has the run {id}, which was just stored"))
        there, stored = found
        return Success(
            Record(
                id,
                outcomes.decode(there.outcome.encode()) if there.outcome else None,
                is_new=stored.id == plan.id,
                is_record=not isinstance(stored.root, Runnable),
            )
        )

    async def outcome_at(
        self, call: str, at: str, outcome: Outcome, *, flow: str, patience: float
    ) -> Result[Outcome, Fault]:
        """Stores the outcome of a step or wait of a call, unless it has one; returns what it has.

        Args:
            call: The call's id.
            at: The path of the step or wait.
            outcome: The outcome.
            flow: The flow's name, for people.
            patience: How long to retry while the engine is away, in seconds.
        """
        key = f"{call} {at}"
        stored = await self.store(key, outcome, flow=flow, call=call, at=at, patience=patience)
        return stored.map(lambda record: record.outcome or outcome)

    async def _details(self, id: str, patience: float) -> GetRunDetailsResponse | None:
        for pause in _APPEARS:
            await asyncio.sleep(pause)
            details = await with_retries(lambda: self._reader.details(id), patience)
            if details is not None:
                return details
        return None
