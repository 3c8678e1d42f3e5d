"""Delivers runs again that the engine gave up because it only found dead workers for them.

Whoever asks for the outcome of such a run does so. Nobody may ask for it, so workers look for them.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from datetime import UTC, datetime, timedelta

from hatchet_sdk.contracts.v1.workflows_pb2 import GetRunDetailsResponse
from msgspec import Raw
from returns.result import Failure, Success

from onward.backends.hatchet import outcomes
from onward.backends.hatchet.client import Client
from onward.backends.hatchet.errors import RpcError
from onward.backends.hatchet.http_api import HttpApi
from onward.backends.hatchet.message import KEY
from onward.backends.hatchet.reader import Oversized, Reader
from onward.backends.hatchet.records import Record, Records
from onward.backends.hatchet.runs import FAILED, Run, list_runs
from onward.backends.hatchet.settings import Settings
from onward.backends.hatchet.task_events import events_of
from onward.outcome import Value

_SINCE = timedelta(minutes=15)
"""How old a run is at most that workers look for."""

_PAGE = 200
_PAGES = 10
_PATIENCE = 3.0
"""How long a claim is retried while the engine is away, in seconds."""

_SETTLES = 60.0
"""How long a run that somebody delivers again may still read as failed, in seconds."""

_LOOKS = 15.0
"""How often a worker looks for such runs, in seconds."""

_CLAIM = " delivered again "


class Undelivered:
    """Delivers such runs again.

    If a task is delivered again twice at once, an engine of 0.104 has it in its queue twice, and
    then takes nothing from this queue any more. So each delivery is claimed first.

    Args:
        client: The connection.
        http: The HTTP API, which knows of earlier deliveries and of cancels.
        reader: Reads runs.
        records: Stores the claims.
        settings: The backend's settings.
    """

    def __init__(
        self, client: Client, http: HttpApi, reader: Reader, records: Records, settings: Settings
    ) -> None:
        self._client = client
        self._http = http
        self._reader = reader
        self._records = records
        self._settings = settings

    async def deliver_again(self, id: str, details: GetRunDetailsResponse) -> bool:
        """Has the tasks of a run delivered again for which the engine only found dead workers.

        Args:
            id: The run's id.
            details: What the engine has of it.

        Returns:
            Whether the run goes on.
        """
        tasks = outcomes.undelivered(details)
        if not tasks or not outcomes.is_without_result(details):
            return False
        goes_on = [await self._deliver_again(id, task) for task in tasks]
        return any(goes_on)

    async def _deliver_again(self, id: str, task: str) -> bool:
        events = await events_of(self._http, task)
        if not events.rows or events.is_cancelled:
            return False
        # The claim has the number of the deliveries that are over. The run is read once more after
        # they were counted: it may have been delivered again just before.
        details = await self._reader.details(id)
        if details is None or task not in outcomes.undelivered(details):
            return True
        now = (events.now or datetime.now(UTC)).timestamp()
        claimed = await self._records.store(
            f"{task}{_CLAIM}{events.replays}",
            Value(Raw(str(now).encode())),
            flow="delivered again",
            call=id,
            at="",
            patience=_PATIENCE,
        )
        if not isinstance(claimed, Success):
            return True  # the engine is away: nobody knows whether somebody else does it
        claim = claimed.unwrap()
        if claim.is_new:
            await self._client.replay([task])
            return True
        return now - _moment(claim) < _SETTLES  # somebody else does it

    async def watch(self) -> None:
        """Looks for such runs at intervals, until it is cancelled."""
        while True:
            await asyncio.sleep(_LOOKS * (0.5 + random.random()))
            await self.look()

    async def look(self) -> None:
        """Looks for such runs, and has them delivered again."""
        for id in await self._found():
            with contextlib.suppress(RpcError, Oversized):
                details = await self._reader.details(id)
                if details is not None and await self._reader.outcome(details) is not None:
                    await self.deliver_again(id, details)

    async def _found(self) -> set[str]:
        """Returns the ids of the runs of this namespace that look so in the HTTP API."""
        since = datetime.now(UTC) - _SINCE
        found: set[str] = set()
        for page in range(_PAGES):
            answer = await list_runs(
                self._http,
                self._settings.tenant,
                (),
                statuses=[FAILED],
                since=since,
                offset=page * _PAGE,
                limit=_PAGE,
                only_tasks=True,
            )
            if isinstance(answer, Failure):
                break
            rows = answer.unwrap().rows
            found |= {
                row.workflow_run_external_id or row.id
                for row in rows
                if _is_undelivered(row, self._settings.prefix)
            }
            if len(rows) < _PAGE:
                break
        return found


def _moment(claim: Record) -> float:
    """When it was made, in seconds since the epoch."""
    return float(bytes(claim.outcome.raw)) if isinstance(claim.outcome, Value) else 0.0


def _is_undelivered(row: Run, prefix: str) -> bool:
    key = row.marks.get(KEY)
    is_own = isinstance(key, str) and key.startswith(prefix) and _CLAIM not in key
    return is_own and (row.error_message or "").startswith(outcomes.UNDELIVERED)
