"""Finds runs that the engine gave up because it only found dead workers for them.

Whoever asks for the outcome of such a run has it delivered again. Nobody may ask for it, so workers
do.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from datetime import UTC, datetime, timedelta

from returns.result import Failure

from onward.backends.hatchet.connection import Connection
from onward.backends.hatchet.errors import RpcError
from onward.backends.hatchet.message import KEY
from onward.backends.hatchet.outcomes import UNDELIVERED
from onward.backends.hatchet.reader import Oversized
from onward.backends.hatchet.runs import FAILED, Run, list_runs

_LOOKS = 15.0
"""The interval of looks, in seconds."""

_SINCE = timedelta(minutes=15)
"""How old a run is at most that is looked for."""

_PAGE = 200
_PAGES = 10


async def watch_undelivered(connection: Connection) -> None:
    """Looks for such runs at intervals, until it is cancelled."""
    while True:
        await asyncio.sleep(_LOOKS * (0.5 + random.random()))
        await deliver_again(connection)


async def deliver_again(connection: Connection) -> None:
    """Looks for such runs once, and has them delivered again."""
    for id in await _found(connection):
        with contextlib.suppress(RpcError, Oversized):
            details = await connection.reader.details(id)
            if details is not None:
                await connection.reader.outcome(details)  # this has it delivered again


async def _found(connection: Connection) -> set[str]:
    """Returns the ids of the runs of this namespace that look so in the HTTP API."""
    since = datetime.now(UTC) - _SINCE
    found: set[str] = set()
    for page in range(_PAGES):
        answer = await list_runs(
            connection.http,
            connection.settings.tenant,
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
            if _is_undelivered(row, connection.settings.prefix)
        }
        if len(rows) < _PAGE:
            break
    return found


def _is_undelivered(row: Run, prefix: str) -> bool:
    key = row.marks.get(KEY)
    is_own = isinstance(key, str) and key.startswith(prefix)
    return is_own and (row.error_message or "").startswith(UNDELIVERED)
