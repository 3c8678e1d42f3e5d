"""`onward watch`, which shows a running call."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Annotated

import typer
from msgspec import Struct
from returns.result import Failure
from rich.console import Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from onward.backend import Backend, Histories, Status, StepRecord
from onward.cli.console import USAGE, end, fail, out, say, say_json, warn
from onward.cli.options import Config, Json, On, Timeout, connected_elsewhere
from onward.cli.queues import watch_queues
from onward.cli.records import data_of_step, name_of, text_of
from onward.cli.refs import OfFlow, likely_ref
from onward.cli.shown import data_of_status, end_with, text_of_progress, text_of_status
from onward.cli.target import flow_of
from onward.cli.waiting import away, goes_on, leaving, not_yet, outcome_of
from onward.fault import Unavailable
from onward.outcome import Value

_PAUSE = 0.2
"""The time between two looks, in seconds."""


def watch(
    ref: Annotated[
        str | None,
        typer.Argument(
            metavar="REF", help="What `onward submit`, or str(ref), gave.", callback=likely_ref
        ),
    ] = None,
    flow: OfFlow = None,
    queue: Annotated[
        bool, typer.Option("--queue", help="Watch the queues and their workers instead.")
    ] = False,
    once: Annotated[bool, typer.Option("--once", help="With --queue: look once, and end.")] = False,
    serve: Annotated[
        str | None,
        typer.Option(
            metavar="[HOST:]PORT",
            help="With --queue: answer /queues over HTTP; on 127.0.0.1 unless there is a host.",
        ),
    ] = None,
    on: On = None,
    config: Config = None,
    timeout: Timeout = None,
    as_json: Json = False,
) -> None:
    """Watch a call and its steps until it ends, and print its outcome; or watch the queues.

    Finished steps are shown too, as far as the engine keeps a history. With --json, each change is
    a line of JSON, and so is the outcome at the end. If the engine is away, the command waits for
    it. Ctrl-C and --timeout end the command, and not the call.

    Example: `onward watch 7c1f… --flow my.tasks:ingest`

    Exit codes: those of `onward result`.
    """
    if queue == (ref is not None):
        end(USAGE, "watch either a call, by its REF, or the queues, with --queue")
    if ref is None:
        if timeout is not None:
            end(USAGE, "--timeout is for a call; the queues are watched until Ctrl-C")
        with connected_elsewhere(on, config) as backend:
            watch_queues(backend, as_json=as_json, once=once, serve=serve)
        return
    if once or serve is not None:
        end(USAGE, "--once and --serve are for the queues, with --queue")
    reader = None if flow is None else flow_of(flow)
    then = goes_on(ref, on, config)
    with connected_elsewhere(on, config) as backend:
        with leaving(then):
            follow = partial(_follow, backend, ref, timeout, then)
            if as_json:
                follow(_as_json(ref), warn)
            elif out.is_terminal:
                steps = Steps(ref)
                with Live(console=out, get_renderable=steps.shown, refresh_per_second=8):
                    follow(steps.note, partial(say, style="yellow"))
            else:
                follow(_as_text, warn)
        outcome = outcome_of(backend, ref, None, then)
    end_with(outcome, reader, as_json=as_json)


def _follow(
    backend: Backend,
    ref: str,
    timeout: float | None,
    then: str,
    show: Callable[[Status | StepRecord], None],
    note: Callable[[str], None],
) -> None:
    """Shows each change of a call's status, and its finished steps, until it has an outcome."""
    start = time.monotonic()
    finished = _Finished(backend, ref)
    place: tuple[str, ...] = ()
    before: Status | Unavailable | None = None
    while True:
        answer = backend.status(ref)
        if isinstance(answer, Failure):
            fault = answer.failure()
            if not isinstance(fault, Unavailable):
                fail(fault)
            if not isinstance(before, Unavailable):
                note(away(fault))
            before = fault
        else:
            status = answer.unwrap()
            if status != before:
                if (status.state, status.step) != place:  # and not the progress alone
                    place = status.state, status.step
                    for step in finished.since_then():
                        show(step)
                show(status)
            if status.settled:
                return
            before = status
        if timeout is not None and time.monotonic() - start >= timeout:
            not_yet(timeout, then)
        time.sleep(_PAUSE)


class _Finished:
    """The steps of a call that have ended, each of them given once."""

    def __init__(self, backend: Backend, ref: str) -> None:
        self._backend = backend
        self._ref = ref
        self._given: set[str] = set()
        self._after = ""  # where the pages begin on which something may still change

    def since_then(self) -> list[StepRecord]:
        """Those that have ended since the last time."""
        found: list[StepRecord] = []
        after, is_over = self._after, True
        while isinstance(self._backend, Histories):
            answer = self._backend.history(self._ref, after)
            if isinstance(answer, Failure):
                break  # the status tells of it
            page = answer.unwrap()
            ended = [step for step in page.steps if step.outcome is not None]
            found += [step for step in ended if step.path not in self._given]
            if not page.next:
                break
            after = page.next
            is_over = is_over and len(ended) == len(page.steps)
            if is_over:
                self._after = after
        self._given.update(step.path for step in found)
        return found


def _as_json(ref: str) -> Callable[[Status | StepRecord], None]:
    def show(seen: Status | StepRecord) -> None:
        if isinstance(seen, Status):
            say_json(data_of_status(ref, seen))
            return
        # Like a status, so that a program may read all lines in one way.
        status = Status("running", seen.task, seen.path, len(seen.attempts))
        say_json({**data_of_status(ref, status), "finished": data_of_step(seen)})

    return show


def _as_text(seen: Status | StepRecord) -> None:
    if isinstance(seen, Status):
        say(text_of_status(seen))
        return
    text = f"finished  {name_of(seen)} at {seen.path}"
    seconds = _seconds_of(seen)
    text += "" if seconds is None else f", {seconds:.2f} s"
    if seen.outcome is not None and not isinstance(seen.outcome, Value):
        text += f": {text_of(seen.outcome)}"
    say(text)


def _seconds_of(step: StepRecord) -> float | None:
    """How long a step took, in seconds, as far as the engine knows."""
    if step.began is None or step.ended is None:
        return None
    return max(0.0, (step.ended - step.began).total_seconds())


class _Row(Struct):
    status: Status
    since: float
    until: float | None = None
    name: str = ""
    failure: str = ""


class Steps:
    """A live table of the steps of a call that were seen so far."""

    def __init__(self, ref: str) -> None:
        self._ref = ref
        self._state = ""
        self._rows: dict[str, _Row] = {}

    def note(self, seen: Status | StepRecord) -> None:
        """Records the call's current status, or a step that has ended."""
        if isinstance(seen, StepRecord):
            self._end(seen)
            return
        status, now = seen, time.monotonic()
        self._state = status.state
        if status.step:
            row = self._rows.setdefault(status.step, _Row(status, now))
            row.status = status
        for step, row in self._rows.items():
            if row.until is None and (step != status.step or status.settled):
                row.until = now

    def _end(self, step: StepRecord) -> None:
        now = time.monotonic()
        status = Status("running", step.task, step.path, len(step.attempts))
        row = self._rows.setdefault(step.path, _Row(status, now))
        seconds = _seconds_of(step)
        row.status, row.name, row.until = status, name_of(step), now
        if seconds is not None:
            row.since = now - seconds
        if step.outcome is not None and not isinstance(step.outcome, Value):
            row.failure = text_of(step.outcome)

    def shown(self) -> Group:
        """The table as it is now."""
        now = time.monotonic()
        table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
        for step, row in self._rows.items():
            sign, style = ("▸", "yellow") if row.until is None else ("✓", "green")
            if row.failure:
                sign, style = "✗", "red"
            seconds = (now if row.until is None else row.until) - row.since
            table.add_row(
                Text(sign, style),
                Text(step, "dim"),
                Text(row.name or row.status.task, "bold"),
                Text(f"attempt {row.status.attempt}" if row.status.attempt > 1 else "", "yellow"),
                _bar(row.status),
                Text(row.failure or text_of_progress(row.status)),
                Text(f"{seconds:.1f} s", "dim"),
            )
        return Group(Text(f"{self._ref}  {self._state}", "bold"), table)


def _bar(status: Status) -> ProgressBar | Text:
    progress = status.progress
    if progress is None or not progress.total:
        return Text()
    return ProgressBar(total=progress.total, completed=progress.done, width=24)
