"""Notes where calls went that were moved to another engine.

The engine cannot be told why a run is cancelled. So where a call goes is stored first, and its run
is cancelled once the HTTP API shows that: whoever sees the cancel then finds it.
"""

from __future__ import annotations

import asyncio
import time

from returns.result import Failure, Result, Success

from onward import outcome as outcomes
from onward.backends.hatchet.http_api import HttpApi
from onward.backends.hatchet.message import KEY
from onward.backends.hatchet.records import Records
from onward.backends.hatchet.runs import list_runs
from onward.backends.hatchet.settings import Settings
from onward.fault import Fault, Moved, Unavailable
from onward.outcome import Faulted, faulted, moved_by
from onward.plan import Plan

_PATIENCE = 10.0
"""How long to wait for the engine, and for its HTTP API to show what was stored, in seconds."""

_LOOKS = 0.1
"""The pause between looks, in seconds."""


class MovedCalls:
    """Where calls went.

    Args:
        http: The HTTP API.
        settings: The backend's settings.
        records: Stores it.
    """

    def __init__(self, http: HttpApi, settings: Settings, records: Records) -> None:
        self._http = http
        self._settings = settings
        self._records = records

    async def note(self, plan: Plan, call: str, moved: Moved) -> Result[None, Fault]:
        """Stores where a call goes, and waits until `of` finds it.

        Args:
            plan: The call's plan.
            call: The call's id.
            moved: Where it goes.
        """
        stored = await self._records.store(
            _key(call), faulted(moved), flow=plan.flow, call=call, at="", patience=_PATIENCE
        )
        if isinstance(stored, Failure):
            return Failure(stored.failure())
        end = time.monotonic() + _PATIENCE
        while await self.of(call) is None:
            if time.monotonic() >= end:
                message = f"Hatchet's HTTP API did not show within {_PATIENCE:g} s where it goes"
                return Failure(Unavailable(plan.flow, message))
            await asyncio.sleep(_LOOKS)
        return Success(None)

    async def of(self, call: str) -> Faulted | None:
        """Where a call went, as its outcome; None if it was not moved.

        Args:
            call: The call's id.
        """
        entry = f"{KEY}:{self._settings.prefix}{_key(call)}"
        tenant = self._settings.tenant
        listed = await list_runs(self._http, tenant, [entry], limit=1, has_payloads=True)
        if isinstance(listed, Failure):
            return None
        for run in listed.unwrap().rows:
            stored = run.run_input
            outcome = None if stored is None else outcomes.decode(stored.outcome.encode())
            if isinstance(outcome, Faulted) and moved_by(outcome) is not None:
                return outcome
        return None


def _key(call: str) -> str:
    return f"{call} moved"
