"""Shows outcomes and states, as text or as JSON."""

from __future__ import annotations

from datetime import datetime
from typing import NoReturn

import msgspec
import typer
from msgspec import Raw
from returns.result import Failure
from rich.pretty import pretty_repr
from rich.text import Text

from onward.backend import Status
from onward.cli.console import ERROR, code_of, data_of_fault, end, err, fail, out, say, say_json
from onward.codec import Refused, read_tag
from onward.fault import Fault, Raised
from onward.flows.flow import AnyFlow
from onward.outcome import Failed, Faulted, Outcome, Value
from onward.secret import masked

_WIDE = 1_000_000


def end_with(outcome: Outcome, flow: AnyFlow | None, *, as_json: bool) -> NoReturn:
    """Shows an outcome, and ends the command with the code for it.

    Args:
        outcome: The outcome of a call.
        flow: The call's flow, which reads the value; None shows it as JSON.
        as_json: Whether to show JSON.
    """
    if as_json or flow is None:
        say_json(data_of(outcome))
        raise typer.Exit(_code(outcome))
    read = flow.read(outcome)
    if not isinstance(read, Failure):
        _say_value(read.unwrap())
        raise typer.Exit(0)
    failure = read.failure()
    if isinstance(failure, Fault) and not isinstance(outcome, Failed):
        if isinstance(failure, Raised) and failure.traceback:
            err.print(Text(failure.traceback.rstrip()))
        fail(failure)
    name = _task_of(outcome)
    end(ERROR, f"{name} failed with {pretty_repr(failure, max_width=_WIDE)}")


def data_of(outcome: Outcome) -> dict[str, object]:
    """An outcome as JSON data: `outcome` says whether it is a value, an error or a fault."""
    match outcome:
        case Value(raw):
            return {"outcome": "value", "value": Raw(masked(raw))}
        case Failed(raw):
            try:
                tag = read_tag(raw)
            except Refused:
                return {"outcome": "error", "error": Raw(masked(raw))}
            error = {"type": tag.type, "task": tag.task, "value": Raw(masked(tag.value))}
            return {"outcome": "error", "error": error}
        case Faulted():
            return {"outcome": "fault", "fault": data_of_fault(outcome.fault)}


def data_of_status(id: str, status: Status) -> dict[str, object]:
    """Where a call is, as JSON data."""
    return {"ref": id, **msgspec.to_builtins(status)}


def text_of_status(status: Status) -> str:
    """Where a call is, on one line."""
    where = [f"{status.task} at {status.step}" if status.step else status.task]
    if status.attempt > 1:
        where.append(f"attempt {status.attempt}")
    place = ", ".join(filter(None, where))
    if status.state == "waiting" and status.task and not status.limit:  # the task has ended
        place = f"after {place}"
    more = text_of_wait(status) or text_of_progress(status)
    return f"{status.state:<9} {': '.join(filter(None, (place, more)))}".rstrip()


def text_of_wait(status: Status) -> str:
    """What the call waits for."""
    if status.limit:
        return f"for its limit {status.limit}"
    signal = f"for the signal {status.signal}" if status.signal else ""
    until = "" if status.until is None else f"until {text_of_time(status.until)}"
    return f"{signal} {until}".strip()


def text_of_time(at: datetime) -> str:
    """A time, to the second, with the name of its time zone."""
    return f"{at:%Y-%m-%d %H:%M:%S %Z}"


def text_of_progress(status: Status) -> str:
    """The progress that a task reported."""
    progress = status.progress
    if progress is None:
        return ""
    total = "" if progress.total is None else f"/{progress.total:g}"
    return f"{progress.done:g}{total} {progress.note}".rstrip()


def _say_value(value: object) -> None:
    if value is None:
        return
    if isinstance(value, str):
        typer.echo(value)
    elif out.is_terminal:
        out.print(Text(pretty_repr(value, max_width=out.width)))
    else:
        say(pretty_repr(value, max_width=_WIDE))


def _task_of(outcome: Outcome) -> str:
    try:
        return str(read_tag(outcome.raw).task)
    except Refused:
        return "a task"


def _code(outcome: Outcome) -> int:
    match outcome:
        case Value():
            return 0
        case Failed():
            return ERROR
        case Faulted():
            return code_of(outcome.fault)
