"""The progress of a call: a worker writes it to the log of the run, which the dashboard shows.

Each line costs a request. So a short step writes none, and frequent reports are thinned out.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time

import msgspec
from msgspec import Struct
from msgspec.structs import replace
from returns.result import Failure

from onward.backends.hatchet.client import Client
from onward.backends.hatchet.errors import RpcError
from onward.backends.hatchet.http_api import HttpApi
from onward.backends.hatchet.message import EarlierAttempt, LastAttempt
from onward.context import Context, Progress
from onward.outcome import Outcome, encode

_FIRST = 0.1
_EVERY = 0.25
"""The delay of a step's first line, and the shortest pause between lines, in seconds."""


_KEPT = 10
_SMALL = 16 * 1024
"""How many attempts before the last one a result has, and how many letters their outcomes."""


class Note(Struct, frozen=True, omit_defaults=True):
    """A worker's report about a running step, or about a wait.

    Args:
        task: The task of the step.
        step: The path of the step or wait.
        attempt: The number of the step's attempt.
        progress: What the step reported.
        waits: Whether all that the call does is to wait.
        signal: The signal that it waits for, if any.
        until: When the wait ends at the latest, in seconds since 1970.
        limit: The limit that its step waits for, if any.
    """

    task: str
    step: str
    attempt: int = 1
    progress: Progress | None = None
    waits: bool = False
    signal: str = ""
    until: float | None = None
    limit: str = ""

    @property
    def text(self) -> str:
        """The report, for people."""
        if self.limit:
            return f"waits for the limit {self.limit!r}" + f" at {self.step}" * bool(self.step)
        if self.signal:
            return f"waits for the signal {self.signal!r} at {self.step}"
        if self.waits:
            return f"sleeps at {self.step}"
        if not self.step:
            return "waits no more"
        text = f"{self.task} at {self.step}, attempt {self.attempt}"
        if self.progress is None:
            return text
        total = "" if self.progress.total is None else f" of {self.progress.total:g}"
        return f"{text}: {self.progress.done:g}{total} {self.progress.note}"


class _Metadata(Struct, frozen=True):
    onward: Note


class _Line(Struct, frozen=True):
    metadata: msgspec.Raw


class _Lines(Struct, frozen=True):
    rows: list[_Line] = []


_LINES = msgspec.json.Decoder(_Lines)
_METADATA = msgspec.json.Decoder(_Metadata)


class Reporter:
    """Reports the steps of one run; thread-safe.

    Args:
        client: The connection.
        task: The id of the engine's task whose log gets the lines.
    """

    def __init__(self, client: Client, task: str) -> None:
        self._client = client
        self._task = task
        self._loop = asyncio.get_running_loop()
        self._begun = Note("", "")
        self._attempts: list[EarlierAttempt] = []
        self._note: Note | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._writing: asyncio.Task[None] | None = None
        self._is_closed = False

    def on_attempt(self, context: Context) -> None:
        """Reports that an attempt starts."""
        self._begun = Note(context.task, context.step, context.attempt)
        self._report(self._begun)

    def ends(self, context: Context, began: float, outcome: Outcome | None) -> None:
        """Notes that an attempt has ended, be it at a task or at a fused step around several.

        Args:
            context: The attempt's context.
            began: When it began, in seconds since 1970.
            outcome: Its outcome; None if it was interrupted.
        """
        self._begun = Note(context.task, context.step, context.attempt)
        text = "" if outcome is None else encode(outcome).decode()
        attempt = EarlierAttempt(str(context.attempt), str(began), str(time.time()), text)
        self._attempts = [*self._attempts[-_KEPT:], attempt]

    @property
    def last(self) -> LastAttempt:
        """The attempt that ended last, with those before it as far as they are small."""
        *before, last = self._attempts or [EarlierAttempt("", "", "", "")]
        sizes = itertools.accumulate(len(each.outcome) for each in reversed(before))
        kept = sum(size <= _SMALL for size in sizes)
        return LastAttempt(
            self._begun.task,
            self._begun.step,
            str(self._begun.attempt),
            last.began,
            earlier=tuple(before[len(before) - kept :]),
        )

    def report(self, progress: Progress) -> None:
        """Reports the progress of the running step."""
        self._report(replace(self._begun, progress=progress))

    def on_wait(
        self, where: str, signal: str = "", until: float | None = None, limit: str = ""
    ) -> None:
        """Reports that the run waits.

        Args:
            where: The path of the wait; empty if the run waits no more, or for the limit of its
                call.
            signal: The signal that it waits for, if any.
            until: When the wait ends at the latest, in seconds since 1970.
            limit: The limit that it waits for, if any.
        """
        self._report(Note("", where, 0, None, bool(where or limit), signal, until, limit))

    def close(self) -> None:
        """Ends the reports, because the run has ended."""
        self._is_closed = True
        if self._timer is not None:
            self._timer.cancel()

    def _report(self, note: Note) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self._schedule, note)

    def _schedule(self, note: Note) -> None:
        self._note = note
        if self._timer is None and not self._is_closed:
            pause = _FIRST if self._writing is None else _EVERY
            self._timer = self._loop.call_later(pause, self._flush)

    def _flush(self) -> None:
        note, self._note, self._timer = self._note, None, None
        if note is not None:
            self._writing = self._loop.create_task(self._write(note))

    async def _write(self, note: Note) -> None:
        metadata = msgspec.json.encode(_Metadata(note)).decode()
        with contextlib.suppress(RpcError):  # a missing line does not matter to the step
            await self._client.log(self._task, note.text[:2000].strip(), metadata)


async def last_note(http: HttpApi, task: str) -> Note | None:
    """Returns a worker's last report about a task; None if there is none, or no HTTP API."""
    query = {"limit": "5", "order_by_direction": "DESC"}
    answer = await http.request("GET", f"stable/tasks/{task}/logs", query=query)
    if isinstance(answer, Failure):
        return None
    with contextlib.suppress(msgspec.MsgspecError):
        for line in _LINES.decode(answer.unwrap()).rows:
            with contextlib.suppress(msgspec.MsgspecError):  # the log may have other lines
                return _METADATA.decode(line.metadata).onward
    return None
