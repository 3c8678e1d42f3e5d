"""Shows the steps of a call, and calls in a list, as text or as JSON data."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from onward.backend import CallRecord, StepRecord
from onward.cli.shown import data_of
from onward.codec import Refused, read_tag
from onward.fault import Fault, Raised
from onward.outcome import Failed, Faulted, Outcome, Value
from onward.secret import masked

if TYPE_CHECKING:
    from onward.interpret.listed import ListedCall

LONG_TEXT = 60


def name_of(step: StepRecord) -> str:
    """What stands at a place, in a word or two."""
    if step.kind == "step":
        return step.task
    return "sleep" if step.kind == "sleep" else f"awaits {step.task}".rstrip()


def text_of(outcome: Outcome) -> str:
    """An outcome on one line, without its value."""
    match outcome:
        case Value():
            return "done"
        case Failed(raw):
            try:
                tag = read_tag(raw)
            except Refused:
                return "a domain error"
            return short(f"{tag.type} {bytes(masked(tag.value)).decode()}")
        case Faulted():
            return _of_fault(outcome.fault)


def _of_fault(fault: Fault) -> str:
    kind = type(fault).__name__
    if isinstance(fault, Raised):
        kind = f"{kind} {fault.error_type}"
    return " ".join(f"{kind}: {fault.message}".split())


def short(text: str) -> str:
    """The beginning of a text."""
    return text if len(text) <= LONG_TEXT else f"{text[: LONG_TEXT - 1]}…"


def when(moment: datetime) -> str:
    """A moment, for people."""
    return f"{moment:%Y-%m-%d %H:%M:%S %Z}"


def seconds(start: datetime, end: datetime) -> str:
    """The time between two moments, for people."""
    return f"{max(0.0, (end - start).total_seconds()):.2f} s"


def data_of_call(id: str, call: CallRecord | ListedCall[object, object]) -> dict[str, object]:
    """A call as JSON data."""
    return {
        "ref": id,
        "flow": call.flow,
        "state": call.state,
        "submitted": call.submitted,
        "ended": call.ended,
        "tags": call.tags,
        "fault": call.fault,
    }


def data_of_step(step: StepRecord, *, taken_over: bool = False) -> dict[str, object]:
    """A step or a wait as JSON data."""
    return {
        "path": step.path,
        "task": step.task,
        "kind": step.kind,
        "taken_over": taken_over,
        "began": step.began,
        "ended": step.ended,
        "until": step.until,
        "outcome": data_or_none(step.outcome),
        "attempts": [
            {
                "number": each.number,
                "began": each.began,
                "ended": each.ended,
                "worker": each.worker,
                "outcome": data_or_none(each.outcome),
            }
            for each in step.attempts
        ],
    }


def data_or_none(outcome: Outcome | None) -> dict[str, object] | None:
    """Like `data_of`, for what may have no outcome yet."""
    return None if outcome is None else data_of(outcome)
