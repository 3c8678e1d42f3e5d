"""`onward watch --queue`, which shows the queues and their workers."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Literal, NoReturn

import msgspec
from msgspec import Struct
from msgspec.structs import replace
from returns.result import Failure
from rich.live import Live
from rich.table import Table

from onward.backend import Backend, Diagnoses
from onward.cli.console import USAGE, end, fail, out, say, say_json, value_of, warn
from onward.cli.options import health_at
from onward.cli.waiting import away
from onward.fault import Unavailable, Unsupported

_PAUSE = 1.0
"""The time between two looks, in seconds."""


class _Row(Struct):
    """A queue, or a task on an engine that counts by task.

    Args:
        what: Which of them it is.
        name: Its name.
        waiting: The number of steps that wait.
        workers: The names of the workers that take them.
        running: The number of steps that run; None if the engine does not count them.
        oldest: How long the oldest of those that wait has waited, in seconds; None if none waits,
            or the engine does not know.
    """

    what: Literal["queue", "task"]
    name: str
    waiting: int
    workers: list[str]
    running: int | None = None
    oldest: float | None = None

    @property
    def data(self) -> dict[str, object]:
        """What `--json` shows."""
        return {
            self.what: self.name,
            "waiting": self.waiting,
            "running": self.running,
            "oldest": None if self.oldest is None else round(self.oldest, 3),
            "workers": self.workers,
        }


def watch_queues(backend: Backend, *, as_json: bool, once: bool, serve: str | None) -> None:
    """Shows the queues after each change, until Ctrl-C.

    Args:
        backend: The backend.
        as_json: Whether to print lines of JSON.
        once: Whether to end after the first look.
        serve: Where to answer `/queues` over HTTP instead; None for nowhere.
    """
    if not isinstance(backend, Diagnoses):
        fail(Unsupported("watch", f"{backend!r} does not report its queues"))
    with contextlib.suppress(KeyboardInterrupt):
        if serve is not None:
            _serve(backend, serve)
        elif once:
            _show_once(backend, as_json=as_json)
        elif as_json or not out.is_terminal:
            _follow(backend, _say_json if as_json else _say, warn)
        else:
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
        elif isinstance(before, Unavailable | None) or _but_age(seen) != _but_age(before):
            show(seen)
        before = seen
        time.sleep(_PAUSE)


def _but_age(rows: list[_Row]) -> list[_Row]:
    return [replace(row, oldest=None) for row in rows]


def _show_once(backend: Diagnoses, *, as_json: bool) -> None:
    seen = _look(backend)
    if isinstance(seen, Unavailable):
        fail(seen)
    if as_json or not out.is_terminal:
        (_say_json if as_json else _say)(seen)
    else:
        out.print(_table(seen))


def _serve(backend: Diagnoses, address: str) -> NoReturn:
    """Answers `/queues` over HTTP, until Ctrl-C."""
    from onward.health.server import Answer, PageServer

    where = health_at("--serve", address)

    def queues() -> Answer:
        with lock:  # one look at a time, whoever asks
            seen = _look(backend)
        if isinstance(seen, Unavailable):
            return Answer(503, msgspec.json.encode({"error": str(seen)}))
        return Answer(200, msgspec.json.encode({row.name: row.data for row in seen}))

    lock = threading.Lock()
    try:
        server = PageServer(where.host, where.port or 0, {"/queues": queues})
    except OSError as problem:
        end(USAGE, f"--serve: {address} cannot be listened on: {problem.strerror or problem}")
    say(f"the queues are at {server.url}/queues", "bold")
    while True:
        time.sleep(3600.0)


def _look(backend: Diagnoses) -> list[_Row] | Unavailable:
    answer = backend.diagnose()
    if isinstance(answer, Failure) and isinstance(fault := answer.failure(), Unavailable):
        return fault
    seen = value_of(answer)
    if seen.waiting:
        return [
            _Row(
                "queue",
                name,
                waiting,
                [each.name for each in seen.workers if name in each.queues],
                seen.running.get(name),
                seen.oldest.get(name),
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
            seen.running.get(name, 0),
            seen.oldest.get(name),
        )
        for name in sorted(served | seen.waiting_tasks.keys() | seen.running.keys())
    ]


def _say_json(rows: list[_Row]) -> None:
    for row in rows:
        say_json(row.data)


def _say(rows: list[_Row]) -> None:
    for row in rows:
        workers = ", ".join(row.workers) or "none"
        say(f"{row.name}: {row.waiting} waiting{_running(row)}, workers: {workers}")


def _running(row: _Row) -> str:
    return f", {row.running} running" if row.running else ""


def _table(rows: list[_Row]) -> Table:
    what = rows[0].what if rows else "queue"
    table = Table(what, "waiting", "running", "oldest", "workers", box=None, padding=(0, 2, 0, 0))
    for row in rows:
        style = "red" if row.waiting and not row.workers else ""
        workers = ", ".join(row.workers) or "none"
        running = "" if row.running is None else str(row.running)
        oldest = "" if row.oldest is None else f"{row.oldest:.0f} s"
        table.add_row(row.name, str(row.waiting), running, oldest, workers, style=style)
    return table
