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

from onward.backend import Backend, Status
from onward.cli.console import USAGE, end, fail, out, say, say_json, warn
from onward.cli.options import Config, Json, On, Timeout, connected_elsewhere
from onward.cli.queues import watch_queues
from onward.cli.refs import OfFlow, likely_ref
from onward.cli.shown import data_of_status, end_with, text_of_progress, text_of_status
from onward.cli.target import flow_of
from onward.cli.waiting import away, goes_on, leaving, not_yet, outcome_of
from onward.fault import Unavailable

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
    on: On = None,
    config: Config = None,
    timeout: Timeout = None,
    as_json: Json = False,
) -> None:
    """Watch a call and its steps until it ends, and print its outcome; or watch the queues.

    With --json, each change is a line of JSON, and so is the outcome at the end. A step that starts
    and ends between two looks is not shown. If the engine is away, the command waits for it. Ctrl-C
    and --timeout end the command, and not the call.

    Example: `onward watch 7c1f… --flow my.tasks:ingest`

    Exit codes: those of `onward result`.
    """
    if queue == (ref is not None):
        end(USAGE, "watch either a call, by its REF, or the queues, with --queue")
    if ref is None:
        if timeout is not None:
            end(USAGE, "--timeout is for a call; the queues are watched until Ctrl-C")
        with connected_elsewhere(on, config) as backend:
            watch_queues(backend, as_json=as_json)
        return
    reader = None if flow is None else flow_of(flow)
    then = goes_on(ref, on, config)
    with connected_elsewhere(on, config) as backend:
        with leaving(then):
            follow = partial(_follow, backend, ref, timeout, then)
            if as_json:
                follow(lambda status: say_json(data_of_status(ref, status)), warn)
            elif out.is_terminal:
                steps = Steps(ref)
                with Live(console=out, get_renderable=steps.shown, refresh_per_second=8):
                    follow(steps.note, partial(say, style="yellow"))
            else:
                follow(lambda status: say(text_of_status(status)), warn)
        outcome = outcome_of(backend, ref, None, then)
    end_with(outcome, reader, as_json=as_json)


def _follow(
    backend: Backend,
    ref: str,
    timeout: float | None,
    then: str,
    show: Callable[[Status], None],
    note: Callable[[str], None],
) -> None:
    """Shows each change of a call's status, until the call has an outcome."""
    start = time.monotonic()
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
                show(status)
            if status.settled:
                return
            before = status
        if timeout is not None and time.monotonic() - start >= timeout:
            not_yet(timeout, then)
        time.sleep(_PAUSE)


class _Row(Struct):
    status: Status
    since: float
    until: float | None = None


class Steps:
    """A live table of the steps of a call that were seen so far."""

    def __init__(self, ref: str) -> None:
        self._ref = ref
        self._state = ""
        self._rows: dict[str, _Row] = {}

    def note(self, status: Status) -> None:
        """Records the call's current status."""
        now = time.monotonic()
        self._state = status.state
        if status.step:
            row = self._rows.setdefault(status.step, _Row(status, now))
            row.status = status
        for step, row in self._rows.items():
            if row.until is None and (step != status.step or status.settled):
                row.until = now

    def shown(self) -> Group:
        """The table as it is now."""
        now = time.monotonic()
        table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
        for step, row in self._rows.items():
            is_over = row.until is not None
            seconds = (now if row.until is None else row.until) - row.since
            table.add_row(
                Text("✓" if is_over else "▸", "green" if is_over else "yellow"),
                Text(step, "dim"),
                Text(row.status.task, "bold"),
                Text(f"attempt {row.status.attempt}" if row.status.attempt > 1 else "", "yellow"),
                _bar(row.status),
                Text(text_of_progress(row.status)),
                Text(f"{seconds:.1f} s", "dim"),
            )
        return Group(Text(f"{self._ref}  {self._state}", "bold"), table)


def _bar(status: Status) -> ProgressBar | Text:
    progress = status.progress
    if progress is None or not progress.total:
        return Text()
    return ProgressBar(total=progress.total, completed=progress.done, width=24)
