"""What `calls` gives: submitted calls as values, read in pages."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Generic, Never, TypeAlias, TypeVar, cast, get_args

from msgspec import Struct
from returns.result import Failure, Result, Success
from typing_extensions import TypeVar as TypeVarWithDefault

from onward.backend import CallPage, CallQuery, CallRecord, Listed, Lists, State
from onward.fault import Fault, Misconfigured
from onward.flows.combinators import identity
from onward.flows.flow import Flow, Ref
from onward.interpret.callers import Caller
from onward.interpret.prepare import check_tags, seconds_of, unsupported

Value = TypeVar("Value")
Error = TypeVar("Error")
Value_co = TypeVarWithDefault("Value_co", covariant=True, default=object)
Error_co = TypeVarWithDefault("Error_co", covariant=True, default=Never)

Moment: TypeAlias = float | timedelta | datetime
"""A moment: seconds before now, a timedelta before now, or a moment with a time zone."""

LISTED: tuple[str, ...] = (*get_args(State), "lost")
"""What calls are listed by."""

_PAGE = 100


class ListedCall(Struct, Generic[Value_co, Error_co], frozen=True):
    """A submitted call, as `calls` lists it.

    Args:
        ref: Its ref, for `history`, `result`, `resume`, `cancel` and the others. Typed by the flow
            that `calls` was asked for; if it was asked for none, it reads values as JSON, and
            `ingest.ref(call.ref.id)` makes a typed one.
        flow: The name of its flow.
        state: Its state.
        submitted: When it was submitted; None if the engine does not know.
        ended: When it got its outcome.
        tags: The tags that it was submitted with.
        fault: The kind of fault that ended it, such as `Raised` or `Lost`; empty if none did.
    """

    ref: Ref[Value_co, Error_co]
    flow: str
    state: State
    submitted: datetime | None = None
    ended: datetime | None = None
    tags: tuple[str, ...] = ()
    fault: str = ""


class Listing(Generic[Value, Error]):
    """The pages of a list of calls, of which each is asked for when the one before is used up.

    Args:
        on: The backend that lists.
        state: The states to list; None for all.
        flow: The flow, or its name; None for all.
        tags: The tags that each call has.
        since: The earliest time of submission.
        until: The time of submission before which the calls are.
        limit: The largest number of calls; None for all.
    """

    def __init__(
        self,
        on: Lists,
        state: Listed | Collection[Listed] | None,
        flow: Flow[..., Value, Error] | str | None,
        tags: Collection[str],
        since: Moment | None,
        until: Moment | None,
        limit: int | None,
    ) -> None:
        self._on = on
        self._flow = flow if isinstance(flow, Flow) else cast(Flow[..., Value, Error], identity)
        self._left = limit
        self._after = ""
        self.is_over: bool = False
        self._query: CallQuery | Fault
        missing = unsupported(on, "", "calls")
        if missing is not None:
            self._query = missing
            return
        try:
            self._query = CallQuery(
                _states(state),
                _name(flow),
                frozenset(check_tags(tags)),
                None if since is None else _moment("since", since),
                None if until is None else _moment("until", until),
                _page_size(limit),
            )
        except (TypeError, ValueError) as problem:
            self._query = Misconfigured("calls", str(problem))

    async def page(self, caller: Caller) -> Result[CallPage, Fault]:
        """Asks for the next page."""
        if isinstance(self._query, Fault):
            return Failure(self._query)
        return await caller.ask(self._on.calls, self._query, self._after)

    def take(
        self, answer: Result[CallPage, Fault]
    ) -> Iterator[Result[ListedCall[Value, Error], Fault]]:
        """Gives the calls of a page, or the fault of the engine, after which there is no more."""
        if isinstance(answer, Failure):
            self.is_over = True
            yield Failure(answer.failure())
            return
        page = answer.unwrap()
        self._after = page.next
        calls = page.calls if self._left is None else page.calls[: self._left]
        if self._left is not None:
            self._left -= len(calls)
        self.is_over = not page.next or self._left == 0
        for record in calls:
            yield Success(self._call(record))

    def _call(self, record: CallRecord) -> ListedCall[Value, Error]:
        return ListedCall(
            self._flow.ref(record.id),
            record.flow,
            record.state,
            record.submitted,
            record.ended,
            record.tags,
            record.fault,
        )


def _states(state: object) -> frozenset[Listed]:
    if state is None:
        return frozenset()
    states = [state] if isinstance(state, str) else state
    if not isinstance(states, Collection):
        raise TypeError(f"state is a state or a list of them, not {state!r}: write 'failed'")
    for each in states:
        if each not in LISTED:
            raise ValueError(f"a state is one of {', '.join(LISTED)}, not {each!r}")
    return frozenset(cast("Collection[Listed]", states))


def _name(flow: object) -> str:
    if flow is None:
        return ""
    if isinstance(flow, Flow):
        return flow.name
    if not isinstance(flow, str):
        raise TypeError(f"flow is a flow or its name, not {flow!r}")
    if not flow:
        raise ValueError("the name of a flow is not empty: leave flow out to list all")
    return flow


def _moment(what: str, moment: object) -> datetime:
    if isinstance(moment, datetime):
        if moment.tzinfo is None:
            raise ValueError(
                f"{what} {moment} has no time zone: write datetime.now(UTC) - ..., or a number of "
                "seconds ago"
            )
        return moment.astimezone(UTC)
    ago = seconds_of(what, cast(Any, moment))
    return datetime.now(UTC) - timedelta(seconds=ago)


def _page_size(limit: object) -> int:
    if limit is None:
        return _PAGE
    if isinstance(limit, bool) or not isinstance(limit, int):
        raise TypeError(f"limit is a whole number of calls, not {limit!r}")
    if limit < 1:
        raise ValueError(f"limit is a whole number of calls from 1 up, not {limit}")
    return min(limit, _PAGE)
