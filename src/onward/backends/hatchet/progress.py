"""How far a call is: a worker writes it into the log of its run, where the dashboard shows it too.

A line costs a request. So a step that is over soon writes none, and one that says much is heard
only now and then.
"""

from __future__ import annotations

import asyncio
import contextlib

import msgspec
from msgspec import Struct
from msgspec.structs import replace
from returns.result import Failure

from onward.backends.hatchet.client import Client
from onward.backends.hatchet.errors import Problem
from onward.backends.hatchet.message import LastAttempt
from onward.backends.hatchet.rest import Rest
from onward.context import Context, Progress

_FIRST = 0.1
_EVERY = 0.25
"""After how many seconds a step is told of first, and how often then at most."""


class Note(Struct, frozen=True, omit_defaults=True):
    """What a worker says of a step that runs."""

    task: str
    step: str
    attempt: int = 1
    progress: Progress | None = None


class _Metadata(Struct, frozen=True):
    onward: Note


class _Line(Struct, frozen=True):
    metadata: msgspec.Raw


class _Lines(Struct, frozen=True):
    rows: list[_Line] = []


_LINES = msgspec.json.Decoder(_Lines)
_METADATA = msgspec.json.Decoder(_Metadata)


class Reporter:
    """Tells of the steps of one run; it may be told from any thread.

    Args:
        client: The connection.
        task: The task in whose log it writes.
    """

    def __init__(self, client: Client, task: str) -> None:
        self._client = client
        self._task = task
        self._loop = asyncio.get_running_loop()
        self._begun = Note("", "")
        self._note: Note | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._writing: asyncio.Task[None] | None = None
        self._is_closed = False

    def begins(self, context: Context) -> None:
        """An attempt at a step begins."""
        self._begun = Note(context.task, context.step, context.attempt)
        self._tell(self._begun)

    @property
    def last(self) -> LastAttempt:
        """The attempt that began last."""
        return LastAttempt(self._begun.task, self._begun.step, str(self._begun.attempt))

    def says(self, progress: Progress) -> None:
        """The step that runs says how far it is."""
        self._tell(replace(self._begun, progress=progress))

    def close(self) -> None:
        """The run is over."""
        self._is_closed = True
        if self._timer is not None:
            self._timer.cancel()

    def _tell(self, note: Note) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(self._take, note)

    def _take(self, note: Note) -> None:
        self._note = note
        if self._timer is None and not self._is_closed:
            pause = _FIRST if self._writing is None else _EVERY
            self._timer = self._loop.call_later(pause, self._flush)

    def _flush(self) -> None:
        note, self._note, self._timer = self._note, None, None
        if note is not None:
            self._writing = self._loop.create_task(self._write(note))

    async def _write(self, note: Note) -> None:
        progress = note.progress
        text = f"{note.task} at {note.step}, attempt {note.attempt}"
        if progress is not None:
            total = "" if progress.total is None else f" of {progress.total:g}"
            text += f": {progress.done:g}{total} {progress.note}"
        metadata = msgspec.json.encode(_Metadata(note)).decode()
        with contextlib.suppress(Problem):  # it is for people; the step goes on without
            await self._client.log(self._task, text[:2000].strip(), metadata)


async def last_note(rest: Rest, task: str) -> Note | None:
    """What a worker last said of a task; None if nothing, or if the HTTP API is not reached."""
    query = {"limit": "5", "order_by_direction": "DESC"}
    answer = await rest.ask("GET", f"stable/tasks/{task}/logs", query=query)
    if isinstance(answer, Failure):
        return None
    with contextlib.suppress(msgspec.MsgspecError):
        for line in _LINES.decode(answer.unwrap()).rows:
            with contextlib.suppress(msgspec.MsgspecError):  # others write into the log as well
                return _METADATA.decode(line.metadata).onward
    return None
