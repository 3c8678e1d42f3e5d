"""Lists of calls, the newest first: those with the largest numbers.

Each list goes by an index that has all it needs to find the calls of a page, so that a page takes
as long however large the calls are.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from itertools import islice
from sqlite3 import Connection
from typing import Any, NamedTuple, cast

import msgspec

from onward.backend import State
from onward.backend.history import CallPage, CallQuery, CallRecord
from onward.backends.sqlite.wait import STATE
from onward.context import moment

COLUMNS = (
    f"calls.seq, calls.id, calls.flow, {STATE}, calls.submitted, calls.ended, calls.tags, "
    "calls.fault"
)
FROM = "onward_calls as calls left join onward_jobs as jobs on jobs.seq = calls.seq"
"""What `record_of` takes, and where that is from."""

_ENDED_BADLY = ("failed", "cancelled", "expired", "moved")
_OPEN = ("queued", "running", "waiting", "cancelling")

_MAY_BE = {
    "running": "jobs.owner is not null or jobs.task is not null",
    "waiting": "jobs.seq in (select call from onward_waits)",
}
"""What holds for all jobs of calls in a state, and can be seen without their calls."""

_NEWEST = "onward_calls as calls indexed by onward_newest"
_FAILURES = "onward_calls as calls indexed by onward_failures"
_JOBS = "onward_jobs as jobs cross join onward_calls as calls on calls.seq = jobs.seq"
_TAGGED = (
    "onward_tags as tagged cross join onward_calls as calls on calls.seq = tagged.call "
    "left join onward_jobs as jobs on jobs.seq = calls.seq"
)


class _Search(NamedTuple):
    """A part of a list, which an index has in its order.

    Args:
        source: Where it is from.
        seq: What has a call's number there.
        terms: What holds for its calls.
        values: The values of these terms.
    """

    source: str
    seq: str
    terms: tuple[str, ...] = ()
    values: tuple[object, ...] = ()

    def with_term(self, term: str, *values: object) -> _Search:
        """The calls of it for which that holds too."""
        terms, all_values = (*self.terms, term), (*self.values, *values)
        return self._replace(terms=terms, values=all_values)


def listed(db: Connection, query: CallQuery, after: int | None) -> CallPage:
    """Lists calls.

    Args:
        db: A connection.
        query: Which ones, and how many.
        after: The number of the last one on the page before.
    """
    parts = [_found(db, _narrowed(part, query, after), query.limit) for part in _searches(query)]
    found = heapq.merge(*parts, reverse=True)
    page = list(islice(dict.fromkeys(found), query.limit + 1))
    shown = page[: query.limit]
    rows = db.execute(
        f"select {COLUMNS} from json_each(?) as wanted "
        "cross join onward_calls as calls on calls.seq = wanted.value "
        "left join onward_jobs as jobs on jobs.seq = calls.seq",
        (msgspec.json.encode(shown).decode(),),
    ).fetchall()
    rows.sort(reverse=True)
    following = str(shown[-1]) if len(page) > len(shown) else ""
    return CallPage(tuple(map(record_of, rows)), following)


def record_of(row: tuple[Any, ...]) -> CallRecord:
    """The record that a row of `COLUMNS` is."""
    _, id, flow, state, submitted, ended, tags, fault = row
    return CallRecord(
        id,
        flow,
        cast(State, state),
        moment(submitted),
        moment(ended),
        () if tags is None else _TAGS.decode(tags),
        fault or "",
    )


def _searches(query: CallQuery) -> Iterator[_Search]:
    """The parts that a list is put together from: for each state, by the index that has it."""
    tags, states = sorted(query.tags), query.states
    if tags and not (states and states <= {"lost", *_ENDED_BADLY}):
        search = _Search(_TAGGED, "tagged.call", ("tagged.tag = ?",), (tags[0],))
        yield search.with_term(*_any_of(states)) if states else search
        return
    if not states:
        yield _Search(_NEWEST, "calls.seq")
    for state in _ENDED_BADLY:
        search = _Search(_FAILURES, "calls.seq", ("state = ?", "state <> 'done'"), (state,))
        if state in states:
            yield search
        elif state == "failed" and "lost" in states:
            yield search.with_term("fault = 'Lost'")
    if "done" in states:
        yield _Search(_NEWEST, "calls.seq", ("state = 'done'",))
    still_open = states.intersection(_OPEN)
    if still_open:
        search = _Search(_JOBS, "jobs.seq", ("jobs.seq > 0",))
        if still_open <= _MAY_BE.keys():
            search = search.with_term(f"({' or '.join(map(_MAY_BE.__getitem__, still_open))})")
        is_all = len(still_open) == len(_OPEN)
        yield search if is_all else search.with_term(*_any_of(still_open))


def _any_of(states: frozenset[str]) -> tuple[str, ...]:
    named = sorted(states - {"lost"})
    term = f"({STATE}) in ({', '.join('?' * len(named))})"
    if "lost" in states:
        term = f"({term} or calls.fault = 'Lost')"
    return (term, *named)


def _narrowed(search: _Search, query: CallQuery, after: int | None) -> _Search:
    if after is not None:
        search = search.with_term(f"{search.seq} < ?", after)
    if query.flow:
        search = search.with_term("calls.flow = ?", query.flow)
    if query.since is not None:
        search = search.with_term("calls.submitted >= ?", query.since.timestamp())
    if query.until is not None:
        search = search.with_term("calls.submitted < ?", query.until.timestamp())
    for tag in sorted(query.tags):
        is_tagged = f"exists (select 1 from onward_tags where tag = ? and call = {search.seq})"
        search = search.with_term(is_tagged, tag)
    return search


def _found(db: Connection, search: _Search, limit: int) -> list[int]:
    where = f"where {' and '.join(search.terms)} " if search.terms else ""
    rows = db.execute(
        f"select {search.seq} from {search.source} {where}order by {search.seq} desc limit ?",
        (*search.values, limit + 1),
    )
    return [seq for (seq,) in rows]


_TAGS = msgspec.json.Decoder(tuple[str, ...])
