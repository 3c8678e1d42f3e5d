"""Reads the status of a call from its record in the ledger."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import cast, get_args

from returns.result import Failure, Result, Success

from onward.backend import State, Status
from onward.backends.celery.clock import to_local
from onward.backends.celery.ledger import Entry
from onward.backends.celery.records import IN_WAIT, decode_about, parse_log
from onward.backends.celery.wait import damaged
from onward.context import Progress
from onward.fault import Fault

_STATES = frozenset(get_args(State))


def status_of(id: str, entry: Entry, now: Callable[[], float]) -> Result[Status, Fault]:
    """Returns the status that a record describes.

    Args:
        id: The call's id.
        entry: Its record.
        now: Returns the time by the ledger's clock.
    """
    fields = entry.fields
    state: str = entry.end or ("running" if "task" in fields else "queued")
    signal, until, limit = "", None, ""
    if not entry.end and not any(name.startswith("b:") for name in fields):
        for due, _, awaited in _waits(fields):
            state, signal = "waiting", awaited
            if due != "inf":
                until = datetime.fromtimestamp(to_local(float(due), now()), UTC)
            break
        for name, text in fields.items() if state != "waiting" else ():
            if name.startswith("q:"):
                if name == "q:" and "held_back" not in fields:
                    continue  # it has begun
                state, (limit, _, _) = "waiting", text.partition("\t")
                break
    if not entry.end and "cancelling" in fields:
        state, signal, until, limit = "cancelling", "", None, ""
    if state not in _STATES or (entry.end and entry.outcome is None):
        return Failure(damaged(id))
    progress = None
    reported = "" if entry.end else fields.get("progress", "")
    with contextlib.suppress(ValueError):  # the field may be damaged
        done, total, note = reported.split(" ", 2)
        progress = Progress(float(done), float(total) if total != "-" else None, note)
    task, step, attempt = "", "", ""
    if entry.end and _has_begun(fields):  # a packed record may leave them out
        flow = decode_about(fields.get("about", "").partition(" ")[2].encode()).flow
        task, step, attempt = flow, "0", "1"
    task, step = fields.get("task", task), fields.get("step", step)
    attempt = fields.get("attempt", attempt)
    return Success(
        Status(
            cast(State, state),
            task,
            step,
            int(attempt) if attempt.isascii() and attempt.isdigit() else 0,
            progress,
            signal,
            until,
            limit,
        )
    )


def _has_begun(fields: Mapping[str, str]) -> bool:
    """Whether the log of a call has an attempt at a step."""
    logs = (parse_log(text, None) for name, text in fields.items() if name.startswith("l:"))
    return any(line.holder != IN_WAIT for log in logs for each in log for line in each.lines)


def _waits(fields: Mapping[str, str]) -> Iterator[tuple[str, str, str]]:
    """The due time and the signal of each wait of a call that goes on."""
    waits = (text.partition(" ") for name, text in fields.items() if name.startswith("w:"))
    return (wait for wait in waits if wait[1])
