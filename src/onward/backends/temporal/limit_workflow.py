"""The workflow that hands out the places of a limit, one for each pool.

Temporal replays this code, see `onward.backends.temporal.workflow`. It ends a run only by its last
command, which the server refuses if a signal has come meanwhile. So no request gets lost.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from datetime import timedelta

from temporalio import workflow
from temporalio.common import RawValue, RetryPolicy
from temporalio.exceptions import FailureError

from onward.backend.limiter import Limiter, Saved
from onward.backends.temporal import limit_message as messages
from onward.backends.temporal.converter import raw_value
from onward.backends.temporal.limit_message import Asked

_CHECK = 10.0
"""How often it looks whether the calls that hold places are still there, while others wait."""

_CHECK_IDLE = 600.0
"""The same while nothing waits, in seconds."""

_AT_ONCE = 200
"""How many calls it asks about at once."""


@workflow.defn(name=messages.TYPE, sandboxed=False, failure_exception_types=[Exception])
class LimitWorkflow:
    """Hands out places until nothing holds or waits for one, and the rate's last window is over."""

    @workflow.init
    def __init__(self, saved: RawValue) -> None:
        state = messages.decode(saved.payload.data, Saved)
        self._limiter = Limiter.of(state)
        self._pool = state.pool
        self._is_changed = False

    @workflow.signal(name=messages.ASK)
    def ask(self, raw: RawValue) -> None:
        """Takes the request of a step."""
        asked = messages.decode(raw.payload.data, Asked)
        self._limiter.request(asked.holder, asked.limit, asked.key, workflow.time())
        self._is_changed = True

    @workflow.signal(name=messages.BEGIN)
    def begin(self, raw: RawValue) -> None:
        """Notes that an attempt begins."""
        holder = messages.decode(raw.payload.data, str)
        if self._limiter.has_place(holder):
            self._limiter.begin(holder, workflow.time())
            self._is_changed = True

    @workflow.signal(name=messages.LEAVE)
    def leave(self, raw: RawValue) -> None:
        """Takes a step out of the limit."""
        self._limiter.leave(messages.decode(raw.payload.data, str))
        self._is_changed = True

    @workflow.run
    async def run(self, saved: RawValue) -> None:
        """Takes what an earlier run left; see `onward.backend.limiter.Saved`."""
        checked = workflow.time()
        while True:
            self._is_changed = False
            granted = self._limiter.hand_out(self._pool, workflow.time())
            if granted:
                await asyncio.gather(*map(self._grant, granted))
                continue
            now = workflow.time()
            some_wait, some_have_places, over = self._limiter.extent(self._pool)
            if not some_wait and not some_have_places and over <= now:
                return
            if workflow.info().is_continue_as_new_suggested():
                state = self._limiter.saved(self._pool)
                workflow.continue_as_new(args=[raw_value(messages.encode(state))])
            looks = checked + (_CHECK if some_wait else _CHECK_IDLE)
            if not some_have_places:
                looks = over
            opens = self._limiter.opens_at(self._pool, now)
            until = looks if opens is None else min(looks, opens)
            with contextlib.suppress(TimeoutError):
                await workflow.wait_condition(
                    lambda: self._is_changed, timeout=max(until - now, 0.001)
                )
            if some_have_places and workflow.time() >= looks:
                await self._free_dead(self._limiter.saved(self._pool).places[:_AT_ONCE])
                checked = workflow.time()

    async def _grant(self, holder: str) -> None:
        """Gives a place to a step, unless its call has ended."""
        call = workflow.get_external_workflow_handle(messages.workflow_of(holder))
        token = holder.partition(" ")[0]
        try:
            await call.signal(messages.PLACE, args=[raw_value(messages.encode(token))])
        except FailureError:
            self._limiter.leave(holder)

    async def _free_dead(self, holders: Sequence[str]) -> None:
        """Frees the places of calls that have ended without giving them back."""
        with contextlib.suppress(FailureError):
            found: RawValue = await workflow.execute_activity(
                messages.TYPE,
                args=[raw_value(messages.encode(list(holders)))],
                result_type=RawValue,
                start_to_close_timeout=timedelta(seconds=60),
                schedule_to_close_timeout=timedelta(seconds=300),
                retry_policy=RetryPolicy(maximum_attempts=3),
            )
            for holder in messages.decode(found.payload.data, list[str]):
                self._limiter.leave(holder)
