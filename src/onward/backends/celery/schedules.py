"""Schedules: records in the ledger, which the leader of the workers makes calls of."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import NamedTuple

import msgspec
from msgspec import MsgspecError, Struct
from msgspec.structs import replace

from onward import plan as plans
from onward.backend import Schedule, Scheduled
from onward.backend.schedules import Timing, begin, change, is_same, shown
from onward.backends.celery.cells import Cells
from onward.backends.celery.signing import Signer, sign, verify
from onward.plan import Plan

_LOGGER = logging.getLogger("onward.celery")


class Record(Struct, frozen=True):
    """What the ledger has of a schedule, besides its plan."""

    schedule: Schedule
    timing: Timing


class Kept(NamedTuple):
    """A record, and the bytes that say whether it has changed since."""

    raw: bytes
    record: Record


class ScheduleStore:
    """The schedules in a ledger.

    Args:
        cells: Where it keeps them.
        signer: Signs them; None without keys.
    """

    def __init__(self, cells: Cells, signer: Signer | None) -> None:
        self.cells = cells
        self._signer = signer

    def declare(self, schedule: Schedule, plan: Plan, now: float) -> Schedule:
        """Makes a schedule, or replaces the one of that name; raises ValueError for a bad cron.

        Args:
            schedule: The schedule.
            plan: The plan of its calls.
            now: The ledger's time, in seconds since 1970.
        """
        name, body = schedule.name, plans.encode(plan)
        while True:
            raw = self.cells.record(name)
            before = self._read(name, raw)
            if before is None:
                record = Record(schedule, begin(schedule, now))
            elif is_same(before.schedule, schedule) and self._plan(name) == body:
                return shown(before.schedule, before.timing)
            else:
                changed = replace(schedule, paused=before.schedule.paused)
                record = Record(changed, change(changed, before.schedule, before.timing, now))
            signed = sign(self._signer, body, "schedule plan", name)
            if self.cells.swap(name, raw, self._written(record), signed):
                return shown(record.schedule, record.timing)

    def listed(self) -> list[Schedule]:
        """The schedules there are, by name."""
        kept = sorted(self.all(), key=lambda each: each.record.schedule.name)
        return [shown(each.record.schedule, each.record.timing) for each in kept]

    def scheduled(self, name: str) -> Scheduled | None:
        """A schedule and its plan; None if there is none of that name that can be read."""
        record, plan = self._read(name, self.cells.record(name)), self.plan_of(name)
        if record is None or plan is None:
            return None
        return Scheduled(shown(record.schedule, record.timing), plan)

    def pause(self, name: str, now: float, *, is_paused: bool) -> bool:
        """Pauses or resumes a schedule; returns whether there is one of that name."""
        while True:
            raw = self.cells.record(name)
            record = self._read(name, raw)
            if record is None:
                return False
            if record.schedule.paused == is_paused:
                return True
            schedule = replace(record.schedule, paused=is_paused)
            record = Record(schedule, begin(schedule, now, record.timing.last))
            if self.cells.swap(name, raw, self._written(record)):
                return True

    def remove(self, name: str) -> bool:
        """Deletes a schedule; returns whether there was one of that name."""
        while raw := self.cells.record(name):
            if self.cells.swap(name, raw, b""):
                return True
        return False

    # -- what the leader does ------------------------------------------------------------------

    def all(self) -> Iterator[Kept]:
        """Gives the schedules that can be read, and logs the others."""
        for name, raw in self.cells.records().items():
            record = self._read(name, raw)
            if record is not None:
                yield Kept(raw, record)

    def plan_of(self, name: str) -> Plan | None:
        """The plan of a schedule; None if it cannot be read, or was removed meanwhile."""
        body = self._plan(name)
        return None if body is None else plans.decode(body).value_or(None)

    def advance(self, kept: Kept, timing: Timing) -> Kept | None:
        """Stores where a schedule is; None if somebody has changed the schedule meanwhile."""
        name = kept.record.schedule.name
        record = replace(kept.record, timing=timing)
        raw = self._written(record)
        if self.cells.swap(name, kept.raw, raw, is_client=False):
            return Kept(raw, record)
        # Whoever changed it did not know of the call that was made last.
        found = self.cells.record(name)
        other = self._read(name, found)
        if other is not None and other.timing.last == kept.record.timing.last != timing.last:
            merged = replace(other, timing=replace(other.timing, last=timing.last))
            self.cells.swap(name, found, self._written(merged), is_client=False)
        return None

    def _plan(self, name: str) -> bytes | None:
        return verify(self._signer, self.cells.plan(name), "schedule plan", name)

    def _written(self, record: Record) -> bytes:
        raw = msgspec.json.encode(record)
        return sign(self._signer, raw, "schedule", record.schedule.name)

    def _read(self, name: str, raw: bytes) -> Record | None:
        """Reads a record; None if there is none, or it is not one that Onward wrote."""
        if not raw:
            return None
        verified = verify(self._signer, raw, "schedule", name)
        try:
            record = None if verified is None else _DECODER.decode(verified)
        except MsgspecError:
            record = None
        if record is None or record.schedule.name != name:
            _LOGGER.error(
                "schedule %r in the ledger is damaged, or not signed with a key of this process: "
                "it makes no calls until it is declared again",
                name,
            )
            return None
        return record


_DECODER = msgspec.json.Decoder(Record)
