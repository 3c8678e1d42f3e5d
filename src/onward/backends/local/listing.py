"""Shows the calls of this process as records."""

from __future__ import annotations

from collections.abc import Iterable

from onward.backend import CallPage, CallQuery, CallRecord, HistoryPage, matches
from onward.backends.local.steps import Run
from onward.context import moment
from onward.outcome import Faulted


def history_page(run: Run, after: str, limit: int) -> HistoryPage:
    """See `Histories.history`."""
    start = int(after or 0)
    steps = run.records.listed(start, limit + 1)
    has_more = len(steps) > limit
    return HistoryPage(
        call_record(run),
        run.plan,
        steps[:limit],
        run.finished.result() if run.finished.done() else None,
        run.waits.signals,
        str(start + limit) if has_more else "",
    )


def call_page(newest_first: Iterable[Run], query: CallQuery, after: str) -> CallPage:
    """See `Lists.calls`."""
    earlier = float(after or "inf")
    calls: list[CallRecord] = []
    last = 0
    for run in newest_first:
        if run.number >= earlier:
            continue
        call = call_record(run)
        if not matches(query, call):
            continue
        if len(calls) == query.limit:
            return CallPage(tuple(calls), str(last))
        calls.append(call)
        last = run.number
    return CallPage(tuple(calls))


def call_record(run: Run) -> CallRecord:
    """A call as it is listed."""
    outcome = run.finished.result() if run.finished.done() else None
    return CallRecord(
        run.plan.id,
        run.plan.flow,
        run.status.state,
        moment(run.submitted),
        moment(run.ended),
        run.plan.tags,
        type(outcome.fault).__name__ if isinstance(outcome, Faulted) else "",
        moment(run.starts) if run.state == "queued" else None,
    )
