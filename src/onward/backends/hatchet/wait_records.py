"""Makes the records of waits, of the runs that store when they are due and how they ended."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

import msgspec
from msgspec import Raw, Struct

from onward.backend import StepRecord
from onward.backends.hatchet.cancelling import is_cancelled
from onward.backends.hatchet.message import RunInput
from onward.backends.hatchet.records import NOTHING, UNTIL
from onward.backends.hatchet.runs import Run
from onward.outcome import Outcome, Value, decode
from onward.past import replayed
from onward.plan import Plan, SleepNode, Waiting

_MOMENT = msgspec.json.Decoder(float)


class _Seen(Struct):
    """What the runs of a call say about its waits."""

    began: dict[str, datetime] = {}
    due: dict[str, datetime] = {}
    ended: dict[str, tuple[Outcome, datetime]] = {}
    opened: dict[str, datetime] = {}
    signals: dict[str, tuple[int, Value, datetime]] = {}


def signals_in(rows: Iterable[Run]) -> dict[str, Raw]:
    """Returns the values of the signals that a call has got, by name."""
    return {name: value.raw for name, (_, value, _) in _seen(rows).signals.items()}


async def records_of_waits(
    plan: Plan, rows: Sequence[Run], steps: Iterable[StepRecord], *, ended: datetime | None
) -> list[StepRecord]:
    """Makes the records of the waits that a call has begun.

    Args:
        plan: The call's plan.
        rows: The runs that belong to the call.
        steps: The records of its steps.
        ended: When the call ended, if it has.
    """
    seen = _seen(rows)
    known = {step.path: step.outcome for step in steps if step.outcome is not None}
    if plan.past is not None:
        known |= plan.past.outcomes
    found: dict[str, StepRecord] = {}
    while True:
        begun = await asyncio.to_thread(replayed, plan.root, plan.args, known)
        is_last = True
        for path, asked in begun.steps.items():
            if isinstance(asked.node, Waiting) and path not in found:
                is_last = False
                record = _record(path, asked.node, seen, ended or datetime.now(UTC))
                found[path] = record
                if record.outcome is not None:
                    known[path] = record.outcome
        if is_last:
            taken = {} if plan.past is None else plan.past.outcomes
            return [record for path, record in found.items() if path not in taken]


def _record(path: str, node: Waiting, seen: _Seen, now: datetime) -> StepRecord:
    is_sleep = isinstance(node, SleepNode)
    until, began = seen.due.get(path), seen.began.get(path)
    outcome, ended = seen.ended.get(path, (None, None))
    if isinstance(node, SleepNode):
        if outcome is None and until is not None and until <= now:
            outcome, ended = NOTHING, until
    else:
        began = began or seen.opened.get(node.signal)
        signal = seen.signals.get(node.signal)
        if outcome is None and node.timeout is None and signal is not None:
            _, outcome, ended = signal
    return StepRecord(
        path=path,
        task="" if isinstance(node, SleepNode) else node.signal,
        kind="sleep" if is_sleep else "awaits",
        outcome=outcome,
        began=began,
        ended=ended,
        until=until,
    )


def _seen(rows: Iterable[Run]) -> _Seen:
    seen = _Seen()
    for row in rows:
        run_input = row.run_input
        if run_input is not None:
            _note(seen, row, run_input)
    return seen


def _note(seen: _Seen, row: Run, run_input: RunInput) -> None:
    at, outcome = run_input.at, None
    if run_input.outcome:
        outcome = decode(run_input.outcome.encode())
    if run_input.signal:
        if outcome is None:
            seen.opened.setdefault(run_input.signal, row.created)
        elif isinstance(outcome, Value) and at.isdecimal():
            before = seen.signals.get(run_input.signal)
            if before is None or int(at) < before[0]:
                seen.signals[run_input.signal] = int(at), outcome, row.created
    elif at.endswith(UNTIL) and isinstance(outcome, Value):
        path = at.removesuffix(UNTIL)
        seen.began[path] = row.created
        seen.due[path] = datetime.fromtimestamp(_MOMENT.decode(outcome.raw), UTC)
    elif at and outcome is not None and not is_cancelled(outcome):
        seen.ended[at] = outcome, row.created
