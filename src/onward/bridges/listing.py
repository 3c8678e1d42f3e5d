"""The calls of two backends as one list, the newest first."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import msgspec
from msgspec import Struct
from msgspec.structs import replace
from returns.result import Failure, Result, Success

from onward.backend import CallPage, CallQuery, CallRecord, Lists
from onward.bridges.asking import ask
from onward.fault import Fault, Misconfigured

_OLDEST = datetime.min.replace(tzinfo=UTC)


class _Cursor(Struct, frozen=True, omit_defaults=True):
    """How far the list of one backend has been read.

    Args:
        after: What its page is asked for with.
        last: The last call of that page that was given; empty if none was.
        since: When that call was submitted.
        is_over: Whether there is no more.
    """

    after: str = ""
    last: str = ""
    since: datetime | None = None
    is_over: bool = False


class _Cursors(Struct, frozen=True):
    first: _Cursor = _Cursor()
    second: _Cursor = _Cursor()


class _Stream:
    """The calls of one backend that have not been given."""

    def __init__(self, backend: Lists, query: CallQuery, cursor: _Cursor) -> None:
        self._backend = backend
        self._query = query
        self.cursor = cursor
        self._calls: list[CallRecord] = []
        self._next = ""
        self._is_read = False

    async def peek(self) -> Result[CallRecord | None, Fault]:
        """The next call; None if there is no more."""
        while not self._calls and not self.cursor.is_over:
            if self._is_read:
                self.cursor = _Cursor(self._next, is_over=not self._next)
                self._is_read = False
                continue
            answer = await ask(self._backend.calls, self._query, self.cursor.after)
            if isinstance(answer, Failure):
                return Failure(answer.failure())
            page = answer.unwrap()
            self._next, self._is_read = page.next, True
            self._calls = _after(list(page.calls), self.cursor)
        return Success(self._calls[0] if self._calls else None)

    def take(self) -> CallRecord:
        """Gives the call that was peeked at."""
        call = self._calls.pop(0)
        self.cursor = replace(self.cursor, last=call.id, since=call.submitted)
        if not self._calls:
            self.cursor = _Cursor(self._next, is_over=not self._next)
            self._is_read = False
        return call


def _after(calls: list[CallRecord], cursor: _Cursor) -> list[CallRecord]:
    """The calls of a page after the last one that was given."""
    if not cursor.last:
        return calls
    ids = [call.id for call in calls]
    if cursor.last in ids:
        return calls[ids.index(cursor.last) + 1 :]
    until = cursor.since  # it has left the list meanwhile
    return [each for each in calls if until is None or (each.submitted or _OLDEST) < until]


async def merged_page(
    query: CallQuery, after: str, first: Lists, second: Lists, ref_of: Callable[[str], str]
) -> Result[CallPage, Fault]:
    """A page of the calls of both backends.

    Args:
        query: Which calls, and how many.
        after: The `next` of the page before.
        first: The first backend.
        second: The second one.
        ref_of: The text of a ref of the second one's call.
    """
    try:
        cursors = msgspec.json.decode(after, type=_Cursors) if after else _Cursors()
    except msgspec.MsgspecError:
        return Failure(Misconfigured("after", f"no page of this bridge ends with {after!r}"))
    streams = _Stream(first, query, cursors.first), _Stream(second, query, cursors.second)
    calls: list[CallRecord] = []
    while True:
        heads: list[tuple[datetime, int]] = []
        for number, stream in enumerate(streams):
            peeked = await stream.peek()
            if isinstance(peeked, Failure):
                return Failure(peeked.failure())
            call = peeked.unwrap()
            if call is not None:
                heads.append((call.submitted or _OLDEST, -number))
        if not heads:
            return Success(CallPage(tuple(calls)))
        if len(calls) == query.limit:
            ended = _Cursors(streams[0].cursor, streams[1].cursor)
            return Success(CallPage(tuple(calls), msgspec.json.encode(ended).decode()))
        newest = -max(heads)[1]
        call = streams[newest].take()
        calls.append(call if newest == 0 else replace(call, id=ref_of(call.id)))
