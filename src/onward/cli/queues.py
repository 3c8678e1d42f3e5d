"""`onward watch --queue`: what waits where, and who takes it."""

from __future__ import annotations

import contextlib
import time

from returns.result import Failure
from rich.live import Live
from rich.table import Table

from onward.backend import Backend, Diagnoses, Diagnosis
from onward.cli.console import fail, out, say, say_json
from onward.fault import Unsupported

_PAUSE = 1.0
"""How long it is from one look to the next, in seconds."""


def watch_queues(backend: Backend, *, as_json: bool) -> None:
    """Shows the queues, whenever something has changed, until Ctrl-C."""
    if not isinstance(backend, Diagnoses):
        fail(Unsupported("watch", f"{backend!r} does not tell of its queues"))
    with contextlib.suppress(KeyboardInterrupt):
        if as_json or not out.is_terminal:
            _follow(backend, as_json=as_json)
        with Live(console=out, auto_refresh=False) as live:
            while True:
                live.update(_table(_look(backend)), refresh=True)
                time.sleep(_PAUSE)


def _follow(backend: Diagnoses, *, as_json: bool) -> None:
    before = None
    while True:
        seen = _rows(_look(backend))
        if seen != before:
            for queue, waiting, workers in seen:
                if as_json:
                    say_json({"queue": queue, "waiting": waiting, "workers": workers})
                else:
                    say(f"{queue}: {waiting} waiting, workers: {', '.join(workers) or 'none'}")
        before = seen
        time.sleep(_PAUSE)


def _look(backend: Diagnoses) -> Diagnosis:
    answer = backend.diagnose()
    if isinstance(answer, Failure):
        fail(answer.failure())
    seen = answer.unwrap()
    if not seen.waiting:
        fail(Unsupported("watch", f"{backend!r} does not tell how many steps wait in which queue"))
    return seen


def _rows(seen: Diagnosis) -> list[tuple[str, int, list[str]]]:
    return [
        (queue, waiting, [each.name for each in seen.workers if queue in each.queues])
        for queue, waiting in sorted(seen.waiting.items())
    ]


def _table(seen: Diagnosis) -> Table:
    table = Table("queue", "waiting", "workers", box=None, padding=(0, 2, 0, 0))
    for queue, waiting, workers in _rows(seen):
        style = "red" if waiting and not workers else ""
        table.add_row(queue, str(waiting), ", ".join(workers) or "none", style=style)
    return table
