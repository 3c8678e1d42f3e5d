"""What a bridge does with the calls of its two backends, whichever of them has a call."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Mapping
from typing import cast

from msgspec import Raw
from msgspec.structs import replace
from returns.result import Failure, Result, Success

from onward.backend import (
    Backend,
    CallPage,
    CallQuery,
    Cancels,
    Diagnoses,
    Diagnosis,
    Forgets,
    Histories,
    HistoryPage,
    Lists,
    Moves,
    Schedule,
    Scheduled,
    Signals,
    Status,
    Submission,
    SubmitsUnique,
    Worker,
)
from onward.bridges import owning
from onward.bridges.asking import CALLER, ask, find
from onward.bridges.diagnosing import merged
from onward.bridges.listing import merged_page
from onward.bridges.placing import Pair, Place
from onward.bridges.serving import BothWorkers
from onward.catalog import Catalog
from onward.fault import Fault, Moved, Unknown
from onward.outcome import Outcome, faulted, is_unknown, one_of
from onward.plan import Plan

_SHORTEST, _LONGEST = 0.02, 0.5
"""How long a wait for calls of both backends stays with one of them, in seconds."""


class Bridge:
    """The async backend behind a bridge. A subclass says where submissions go.

    Args:
        pair: The two backends.
    """

    others: tuple[Backend, ...] = ()
    """Further backends that it closes."""

    is_one_enough: bool = False
    """Whether its workers are worth keeping while they hear one of the two engines."""

    def __init__(self, pair: Pair) -> None:
        self.pair = pair

    # -- submissions --------------------------------------------------------------------------

    async def submit(self, submission: Submission, /) -> Result[str, Fault]:
        raise NotImplementedError

    async def submit_unique(self, submission: Submission, /) -> Result[str, Fault]:
        """Unique keys are held by the first backend, so that one call of each is open."""
        return await ask(cast(SubmitsUnique, self.pair.first).submit_unique, submission)

    async def submit_all(self, submissions: Iterable[Submission], /) -> Result[list[str], Fault]:
        ids: list[str] = []
        for submission in submissions:
            submitted = await self.submit(submission)
            if isinstance(submitted, Failure):
                return Failure(submitted.failure())
            ids.append(submitted.unwrap())
        return Success(ids)

    async def put(self, submission: Submission, backend: Backend) -> Result[str, Fault]:
        """Submits a call to one of the backends, and gives the text of its ref."""
        put = await ask(backend.submit, self.addressed(submission, backend))
        return put.map(lambda id: self.pair.ref_of(backend, id))

    def addressed(self, submission: Submission, backend: Backend) -> Submission:
        """A submission as it goes to one of the backends."""
        if backend is self.pair.first:
            return submission
        plan = submission.plan
        return replace(submission, plan=replace(plan, id=self.pair.marked(plan.id)))

    async def put_all(
        self, submissions: list[Submission], backend: Backend
    ) -> Result[list[str], Fault]:
        """Like `put`, for many."""
        ready = [self.addressed(each, backend) for each in submissions]
        put = await ask(backend.submit_all, ready)
        return put.map(lambda ids: [self.pair.ref_of(backend, id) for id in ids])

    # -- outcomes -----------------------------------------------------------------------------

    async def outcome(
        self, id: str, /, timeout: float | None = None
    ) -> Result[Outcome | None, Fault]:
        return one_of(await self.settled([id], timeout), id)

    async def settled(
        self, ids: Collection[str], /, timeout: float | None = None
    ) -> Result[Mapping[str, Outcome], Fault]:
        if not ids:
            return Success({})
        waiting = {id: _Waited(self.pair.candidates(id)) for id in ids}
        end = None if timeout is None else time.monotonic() + timeout
        turn = 0.0
        while True:
            left = None if end is None else max(0.0, end - time.monotonic())
            groups = self.pair.by_backend([each.place for each in waiting.values()])
            found: dict[str, Outcome] = {}
            has_changed = False
            for backend, places in groups:
                wait = left if len(groups) == 1 else min(turn, turn if left is None else left)
                here = {place.id for place in places}
                answer = await CALLER.get().wait(backend.settled, list(here), wait)
                if isinstance(answer, Failure):
                    return Failure(answer.failure())
                outcomes = answer.unwrap()
                for id, waited in waiting.items():
                    if waited.place.backend is not backend or waited.place.id not in outcomes:
                        continue
                    ended = await self._ended(id, waited, outcomes[waited.place.id])
                    if isinstance(ended, Failure):
                        return Failure(ended.failure())
                    outcome = ended.unwrap()
                    has_changed = has_changed or outcome is None
                    if outcome is not None:
                        found[id] = outcome
            if found or (left == 0 and not has_changed):
                return Success(found)
            turn = min(max(_SHORTEST, 2 * turn), _LONGEST)

    async def _ended(
        self, id: str, waited: _Waited, outcome: Outcome
    ) -> Result[Outcome | None, Fault]:
        """The outcome of a call; None if it is to be asked for at another place."""
        place = waited.place
        if is_unknown(outcome, place.id):
            if waited.others:
                waited.place = waited.others.pop(0)
                return Success(None)
            return Success(faulted(replace(cast(Unknown, outcome.fault), task=id)))
        there = await self.pair.moved_to(place, outcome)
        if isinstance(there, Failure):
            return Failure(there.failure())
        other = there.unwrap()
        if other is None or other in waited.been:
            return Success(outcome)
        waited.been.append(place)
        waited.place, waited.others = other, []
        return Success(None)

    async def status(self, id: str, /) -> Result[Status, Fault]:
        return (await self.pair.locate(id)).map(lambda found: self.pair.status_of(*found))

    # -- one call -----------------------------------------------------------------------------

    async def cancel(self, id: str, /) -> Result[None, Fault]:
        place = await self._place(id)
        if isinstance(place, Failure):
            return Failure(place.failure())
        backend, there = place.unwrap()
        return await ask(cast(Cancels, backend).cancel, there)

    async def send(self, id: str, name: str, raw: Raw, /) -> Result[None, Fault]:
        place = await self._place(id)
        if isinstance(place, Failure):
            return Failure(place.failure())
        backend, there = place.unwrap()
        return await ask(cast(Signals, backend).send, there, name, raw)

    async def history(
        self, id: str, /, after: str = "", limit: int = 1000
    ) -> Result[HistoryPage, Fault]:
        place = await self._place(id)
        if isinstance(place, Failure):
            return Failure(place.failure())
        backend, there = place.unwrap()
        page = await ask(cast(Histories, backend).history, there, after, limit)
        return page.map(
            lambda page: replace(
                page, call=replace(page.call, id=self.pair.ref_of(backend, page.call.id))
            )
        )

    async def give_up(self, id: str, moved: Moved, /) -> Result[None, Fault]:
        place = await self._place(id)
        if isinstance(place, Failure):
            return Failure(place.failure())
        backend, there = place.unwrap()
        return await ask(cast(Moves, backend).give_up, there, moved)

    async def forget(self, id: str, /) -> Result[None, Fault]:
        place = await self._place(id)
        if isinstance(place, Failure):
            return Failure(place.failure())
        backend, there = place.unwrap()
        forgotten = await ask(cast(Forgets, backend).forget, there)
        if isinstance(forgotten, Success):
            for other in self.pair.candidates(id):  # what is left of a call that has moved
                if other != place.unwrap():
                    await ask(cast(Forgets, other.backend).forget, other.id)
        return forgotten

    async def find(self, id: str, /, timeout: float = 0.0) -> Result[str, Fault]:
        """Finds the call of a plan's id, with a mark or without."""
        for backend, name, wait in (
            (self.pair.first, id, 0.0),
            (self.pair.second, self.pair.marked(id), timeout),
            (self.pair.second, id, 0.0),
        ):
            found = await find(backend, name, wait)
            if isinstance(found, Failure):
                return Failure(found.failure())
            there = found.unwrap()
            if there is not None:
                return Success(self.pair.ref_of(backend, there))
        return Failure(Unknown(id, "neither backend of the bridge knows it"))

    async def _place(self, id: str) -> Result[Place, Fault]:
        return (await self.pair.locate(id)).map(lambda found: found[0])

    # -- both backends ------------------------------------------------------------------------

    async def calls(self, query: CallQuery, /, after: str = "") -> Result[CallPage, Fault]:
        first, second = cast(Lists, self.pair.first), cast(Lists, self.pair.second)
        return await merged_page(
            query, after, first, second, lambda id: self.pair.ref_of(self.pair.second, id)
        )

    async def diagnose(self, queues: Collection[str] = (), /) -> Result[Diagnosis, Fault]:
        first = await ask(cast(Diagnoses, self.pair.first).diagnose, queues)
        second = await ask(cast(Diagnoses, self.pair.second).diagnose, queues)
        return first.bind(lambda one: second.map(lambda other: merged(one, other)))

    async def serve(
        self,
        catalog: Catalog,
        /,
        *,
        concurrency: int | None = None,
        queues: Collection[str] | None = None,
    ) -> Result[Worker, Fault]:
        """Starts a worker of each backend; both run what they always would."""
        workers: list[Worker] = []
        for backend in self.pair.sides:
            served = await ask(backend.serve, catalog, concurrency=concurrency, queues=queues)
            if isinstance(served, Failure):
                BothWorkers(workers).stop(grace=0)
                return Failure(served.failure())
            workers.append(served.unwrap())
        return Success(BothWorkers(workers, is_one_enough=self.is_one_enough))

    # -- schedules ----------------------------------------------------------------------------

    async def schedule(self, schedule: Schedule, plan: Plan, /) -> Result[Schedule, Fault]:
        return await owning.declare(self.pair, schedule, Submission(plan))

    async def schedule_here(
        self, schedule: Schedule, submission: Submission, /
    ) -> Result[Schedule, Fault]:
        return await owning.declare(self.pair, schedule, submission)

    async def schedules(self) -> Result[list[Schedule], Fault]:
        return await owning.listed(self.pair)

    async def scheduled(self, name: str, /) -> Result[Scheduled, Fault]:
        return await owning.read(self.pair, name)

    async def pause_schedule(self, name: str, /) -> Result[None, Fault]:
        return await owning.change(self.pair, lambda owner: owner.pause_schedule, name)

    async def resume_schedule(self, name: str, /) -> Result[None, Fault]:
        return await owning.change(self.pair, lambda owner: owner.resume_schedule, name)

    async def unschedule(self, name: str, /) -> Result[None, Fault]:
        return await owning.remove(self.pair, name)


class _Waited:
    """A call that `settled` waits for: where it may be."""

    def __init__(self, candidates: list[Place]) -> None:
        self.place, *self.others = candidates
        self.been: list[Place] = []
