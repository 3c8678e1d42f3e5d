"""`onward watch --queue`, which shows the queues and their workers."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from functools import partial
from typing import Literal, NoReturn

from msgspec import Struct
from returns.result import Failure
from rich.live import Live
from rich.table import Table

from onward.backend import Backend, Diagnoses
from onward.cli.console import fail, out, say, say_json, value_of, warn
from onward.cli.waiting import away
from onward.fault import Unavailable, Unsupported

_PAUSE = 1.0
"""The time between two looks, in seconds."""


class _Row(Struct):
    what: Literal["queue", "task"]
    name: str
    waiting: int
    workers: list[str]


def watch_queues(backend: Backend, *, as_json: bool) -> None:
    """Shows the queues after each change, until Ctrl-C."""
    if not isinstance(backend, Diagnoses):
        fail(Unsupported("watch", f"{backend!r} does not report its queues"))
    with contextlib.suppress(KeyboardInterrupt):
        if as_json or not out.is_terminal:
            _follow(backend, _say_json if as_json else _say, warn)
        with Live(console=out, auto_refresh=False) as live:
            show = partial(live.update, refresh=True)
            _follow(backend, lambda rows: show(_table(rows)), partial(say, style="yellow"))


def _follow(
    backend: Diagnoses, show: Callable[[list[_Row]], None], note: Callable[[str], None]
) -> NoReturn:
    before: list[_Row] | Unavailable | None = None
    while True:
        seen = _look(backend)
        if isinstance(seen, Unavailable):
            if not isinstance(before, Unavailable):
                note(away(seen))
        elif seen != before:
            show(seen)
        before = seen
        time.sleep(_PAUSE)


def _look(backend: Diagnoses) -> list[_Row] | Unavailable:
    answer = backend.diagnose()
    if isinstance(answer, Failure) and isinstance(fault := answer.failure(), Unavailable):
        return fault
    seen = value_of(answer)
    if seen.waiting:
        return [
            _Row(
                "queue", name, waiting, [each.name for each in seen.workers if name in each.queues]
            )
            for name, waiting in sorted(seen.waiting.items())
        ]
    if not seen.knows_tasks:
        fail(Unsupported("watch", f"{backend!r} does not count the steps in its queues"))
    # The engine hands out steps by task, and counts them so.
    served = {name for each in seen.workers for name in each.tasks or ()}
    return [
        _Row(
            "task",
            name,
            seen.waiting_tasks.get(name, 0),
            [each.name for each in seen.workers if name in (each.tasks or ())],
        )
        for name in sorted(served | seen.waiting_tasks.keys())
    ]


def _say_json(rows: list[_Row]) -> None:
    for row in rows:
        say_json({row.what: row.name, "waiting": row.waiting, "workers": row.workers})


def _say(rows: list[_Row]) -> None:
    for row in rows:
        say(f"{row.name}: {row.waiting} waiting, workers: {', '.join(row.workers) or 'none'}")


def _table(rows: list[_Row]) -> Table:
    what = rows[0].what if rows else "queue"
    table = Table(what, "waiting", "workers", box=None, padding=(0, 2, 0, 0))
    for row in rows:
        style = "red" if row.waiting and not row.workers else ""
        workers = ", ".join(row.workers) or "none"
        table.add_row(row.name, str(row.waiting), workers, style=style)
    return table
