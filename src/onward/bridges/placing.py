"""Which of a bridge's two backends has a call, by the text of its ref."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, NamedTuple

from msgspec.structs import asdict, replace
from returns.result import Failure, Result, Success

from onward.backend import Backend, Histories, Signals, Status, Submission
from onward.backend.additions import additions_of
from onward.bridges.asking import ask, find
from onward.fault import Conflict, Fault, Moved, Unknown
from onward.outcome import Outcome, moved_by

_APPEARS = 10.0
"""How long it may take until an engine finds a call that has just moved to it, in seconds."""

CLAIM = "onward-claim"
"""The entry of a plan's trace by which a client knows the claim that it made."""


class Place(NamedTuple):
    """A call on a backend, by its id there."""

    backend: Backend
    id: str


class BridgeStatus(Status, frozen=True, eq=False):
    """What `status` gives on a bridge: a `Status` that says which engine has the call.

    It equals a `Status` of the same call, whichever engine that is of.

    Args:
        engine: The engine's URL without credentials, or its backend's text.
    """

    engine: str = ""

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Status):
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in Status.__struct_fields__)

    def __hash__(self) -> int:
        return hash(tuple(getattr(self, name) for name in Status.__struct_fields__))


class Pair:
    """Two backends, and the mark of the calls of the second one.

    A plan that goes to the second backend gets a mark at the end of its id. So most engines show it
    in the call's own id, which stays valid without the bridge. An engine that chooses ids by itself
    does not; there the mark is in the ref alone.

    Args:
        first: The backend whose refs have no mark.
        second: The backend whose refs have one.
        name: What the mark calls the second backend.
    """

    def __init__(self, first: Backend, second: Backend, name: str) -> None:
        self.first = first
        self.second = second
        self._mark = f".{name}"
        self._outer_mark = f"@{name}"

    def marked(self, id: str) -> str:
        """A plan's id, on the second backend."""
        return id if self.is_marked(id) else f"{id}{self._mark}"

    def is_marked(self, id: str) -> bool:
        """Whether a plan's id says that it is the second backend's."""
        return id.endswith(self._mark)

    def ref_of(self, backend: Backend, id: str) -> str:
        """The text of the ref of a call."""
        if backend is self.first or self.is_marked(id):
            return id
        return f"{id}{self._outer_mark}"

    def candidates(self, ref: str) -> list[Place]:
        """Where the call of a ref may be, in the order in which to ask.

        The mark only says whom to ask first: the ref may be of before the bridge, or of another
        one, and the call may have moved.
        """
        if ref.endswith(self._outer_mark):
            return [Place(self.second, ref.removesuffix(self._outer_mark))]
        first, second = Place(self.first, ref), Place(self.second, ref)
        if self.is_marked(ref):
            return [second, first]
        return [first, second, Place(self.second, self.marked(ref))]

    async def locate(self, ref: str) -> Result[tuple[Place, Status], Fault]:
        """Finds the call of a ref, and its status; `Unknown` if neither backend knows it."""
        first: Result[tuple[Place, Status], Fault] | None = None
        for place in self.candidates(ref):
            status = await ask(place.backend.status, place.id)
            if isinstance(status, Success):
                return await self._followed(place, status.unwrap())
            if not isinstance(status.failure(), Unknown):
                return Failure(status.failure())
            first = first or Failure(status.failure())
        assert first is not None
        return first

    def status_of(self, place: Place, status: Status) -> BridgeStatus:
        """A call's status, with the engine that has it."""
        known: dict[str, Any] = asdict(status)
        known["engine"] = (
            known.get("engine")  # of a bridge within this one
            or additions_of(place.backend).address
            or repr(place.backend)
        )
        return BridgeStatus(**known)

    async def _followed(self, place: Place, status: Status) -> Result[tuple[Place, Status], Fault]:
        """A call, or the one that it goes on as on the other backend."""
        if status.state != "moved":
            return Success((place, status))
        outcome = await ask(place.backend.outcome, place.id, 0.0)
        if isinstance(outcome, Failure):
            return Failure(outcome.failure())
        there = await self.moved_to(place, outcome.unwrap())
        if isinstance(there, Failure):
            return Failure(there.failure())
        other = there.unwrap()
        if other is None:
            return Success((place, status))
        answer = await ask(other.backend.status, other.id)
        if isinstance(answer, Failure):
            is_unknown = isinstance(answer.failure(), Unknown)  # it has not arrived there
            return Success((place, status)) if is_unknown else Failure(answer.failure())
        return Success((other, answer.unwrap()))

    async def moved_to(self, place: Place, outcome: Outcome | None) -> Result[Place | None, Fault]:
        """Where a call is that has moved to the other backend; None if it has not.

        The other backend is asked whatever address the call moved to: a backend that was made
        without a URL has none, and a URL can be written in several ways. A claim whose client died
        before it submitted the call arrives by this.
        """
        moved = moved_by(outcome)
        if moved is None:
            return Success(None)
        other = self.second if place.backend is self.first else self.first
        is_there = moved.to in ("", additions_of(other).address)
        is_claim = _is_claim(place, moved, self)  # which may be submitted again, and need not wait
        found = await find(other, moved.id, _APPEARS if is_there and not is_claim else 0.0)
        if isinstance(found, Failure):
            return Failure(found.failure())
        id = found.unwrap()
        if id is None and is_claim:
            arrived = await arrive(place, moved, other)
            if isinstance(arrived, Failure):
                return Failure(arrived.failure())
            id = arrived.unwrap()
        return Success(None if id is None else Place(other, id))

    def by_backend(self, places: Sequence[Place]) -> list[tuple[Backend, list[Place]]]:
        """These calls by their backend."""
        groups = [(it, [place for place in places if place.backend is it]) for it in self.sides]
        return [(backend, some) for backend, some in groups if some]

    @property
    def sides(self) -> tuple[Backend, Backend]:
        """Both backends, the first one first."""
        return self.first, self.second


def _is_claim(place: Place, moved: Moved, pair: Pair) -> bool:
    """Whether a call on the first backend only says that its key went to the second one."""
    is_first = place.backend is pair.first and not pair.is_marked(place.id)
    return is_first and pair.is_marked(moved.id)


async def arrive(
    place: Place, moved: Moved, to: Backend, like: Submission | None = None
) -> Result[str | None, Fault]:
    """Submits a call that has left one backend to the one that it goes to.

    It may be repeated, by any process: the plan's id there is always the same.

    Args:
        place: The call where it was.
        moved: Where it goes.
        to: The backend that it goes to.
        like: The submission, in the process that has it; its flow runs on a backend in the process.

    Returns:
        The call's id there; None if it has another outcome than that it moved, or has no plan.
    """
    assert isinstance(place.backend, Histories)
    answer = await ask(place.backend.history, place.id)
    if isinstance(answer, Failure):
        return Failure(answer.failure())
    page = answer.unwrap()
    if page.plan is None or moved_by(page.outcome) is None:
        return Success(None)
    trace = {name: text for name, text in page.plan.trace.items() if name != CLAIM}
    plan = replace(page.plan, id=moved.id, trace=trace)
    delay = 0.0 if moved.starts is None else max(0.0, moved.starts - time.time())
    submission = replace(Submission(plan) if like is None else like, plan=plan, delay=delay)
    submitted = await ask(to.submit, submission)
    if isinstance(submitted, Failure):
        return Failure(submitted.failure())
    id = submitted.unwrap()
    for name, raw in page.signals.items():
        if isinstance(to, Signals):
            sent = await ask(to.send, id, name, raw)
            if isinstance(sent, Failure) and not isinstance(sent.failure(), Conflict):
                return Failure(sent.failure())
    return Success(id)
