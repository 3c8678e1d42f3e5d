"""The Celery backend. It writes calls to the ledger first, and then sends them to the broker."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping, Sequence
from itertools import compress
from typing import TypeVar

from msgspec.structs import replace
from redis import exceptions as redis_errors
from redis.exceptions import RedisError
from returns.result import Failure, Result, Success

from onward import plan as plans
from onward.backend import (
    CallPage,
    CallQuery,
    Diagnosis,
    HistoryPage,
    Schedule,
    Scheduled,
    Status,
    Submission,
    Worker,
)
from onward.backend.features import NOTHING
from onward.backend.support import Patience, not_ended, unknown
from onward.backends.celery import lower
from onward.backends.celery.clock import to_remote
from onward.backends.celery.core import Core
from onward.backends.celery.errors import LEDGER, NOT_REACHED, broker_of, unavailable
from onward.backends.celery.history import call_page, history_page
from onward.backends.celery.ledger import NewCall
from onward.backends.celery.records import About, encode_about
from onward.backends.celery.redis_ledger import RedisLedger
from onward.backends.celery.schedules import ScheduleStore
from onward.backends.celery.status import status_of
from onward.backends.celery.submit import TaskMessage, send_all
from onward.backends.celery.unique import UniqueCall, add_unique
from onward.catalog import Catalog
from onward.fault import Fault, Misconfigured, Unavailable, Unknown
from onward.outcome import Outcome, faulted, one_of
from onward.plan import Plan
from onward.sealing import opening

T = TypeVar("T")

_AT_ONCE = 500
_BYTES_AT_ONCE = 4_000_000
"""How many calls, and how many bytes, a client sends in one batch."""

_STARTS = 30.0
"""How long a worker may take until it receives messages, in seconds."""

_PAUSE = 0.2
"""The pause before a ledger that does not answer is asked again, in seconds."""

_LOGGER = logging.getLogger("onward.celery")

_AWAY = (redis_errors.ConnectionError, redis_errors.TimeoutError, OSError)

_SOON = 1e-6
"""The delay of a call that a worker is to start at once, in seconds."""


class CeleryBackend(Core):
    """The backend that `celery()` returns."""

    lacks = NOTHING

    def submit(self, submission: Submission, /) -> Result[str, Fault]:
        """See `Backend.submit`."""
        return self.submit_all([submission]).map(lambda ids: ids[0])

    def submit_unique(self, submission: Submission, /) -> Result[str, Fault]:
        """See `SubmitsUnique.submit_unique`."""
        submission, unique = self._addressed(submission), submission.unique
        assert unique is not None  # see `SubmitsUnique`
        plan = submission.plan
        call = UniqueCall(
            unique.slot,
            plan.id,
            plans.encode(plan),
            self._due_in(submission),
            unique.replaces,
            plan.deadline,
            _about(plan),
        )
        try:
            added = add_unique(
                self.ledger.unique, call, lambda id: plans.encode(replace(plan, id=id))
            )
        except (RedisError, OSError) as problem:
            return Failure(unavailable(LEDGER, problem, plan.flow))
        if added.is_new and not (submission.delay or unique.replaces):
            self._publish_or_leave([submission])
        return Success(added.id)

    def submit_all(self, submissions: Iterable[Submission], /) -> Result[list[str], Fault]:
        """See `Backend.submit_all`."""
        ids: list[str] = []
        for batch in _batches(map(self._addressed, submissions)):
            firsts = self._first_messages(submission for submission, _ in batch)
            calls = [
                self._new_call(*each, first) for each, first in zip(batch, firsts, strict=True)
            ]
            try:
                is_new = self.ledger.add(calls)
            except (RedisError, OSError) as problem:
                return Failure(unavailable(LEDGER, problem, batch[0][0].plan.flow))
            # From here on a call must not be withdrawn: others may have submitted it with the same
            # key. If this client cannot send it, the reconciler will.
            added = list(compress(zip(batch, firsts, strict=True), is_new))
            self._publish_or_leave(
                [it for (it, _), first in added if first is None and not it.delay],
                [] if self.ledger.sends else [first for _, first in added if first is not None],
            )
            ids += [call.id for call in calls]
        return Success(ids)

    def _first_messages(self, submissions: Iterable[Submission]) -> list[TaskMessage | None]:
        """The first messages of calls; None from the first call on that Celery has to send."""
        found: list[TaskMessage | None] = []
        is_left_to_celery = False
        for each in submissions:
            is_sent_now = not (each.delay or is_left_to_celery)
            found.append(self.first_message(each.plan) if is_sent_now else None)
            is_left_to_celery |= is_sent_now and found[-1] is None
        return found

    def _new_call(self, submission: Submission, raw: bytes, first: TaskMessage | None) -> NewCall:
        plan = submission.plan
        sent = None if first is None else self.outgoing(first)
        return NewCall(plan.id, raw, self._due_in(submission), _about(plan), plan.past, sent)

    def _publish_or_leave(
        self, submissions: Iterable[Submission], messages: Sequence[TaskMessage] = ()
    ) -> None:
        """Sends calls to the broker, or leaves them to the reconciler if it is not reached.

        Args:
            submissions: The calls.
            messages: Messages of other calls, which the ledger has stored as sent.
        """
        if not (submissions or messages):
            return
        try:
            with self.publish_deadline.of(self.timeouts.connect):
                if messages:
                    send_all(self.app, self.timeouts, messages)
                self.publish(submissions)
        except NOT_REACHED as problem:
            why = self.unavailable(problem).message
            _LOGGER.warning("calls wait in the ledger until a worker sends them: %s", why)

    def _addressed(self, submission: Submission) -> Submission:
        """Writes this backend's queue into the plan, and its times by the ledger's clock.

        The worker that sends a call again may serve another queue, and its clock may differ.
        """
        plan = submission.plan
        if plan.deadline is not None:
            plan = replace(plan, deadline=to_remote(plan.deadline, self.ledger.now()))
        if plan.past is not None and plan.past.due:
            now = self.ledger.now()
            due = {at: to_remote(time, now) for at, time in plan.past.due.items()}
            plan = replace(plan, past=replace(plan.past, due=due))
        delay = submission.delay
        if not delay and plan.call_limit is not None:
            delay = _SOON  # a worker starts it when its limit has a place
        return replace(submission, plan=replace(plan, queue=plan.queue or self.queue), delay=delay)

    def _due_in(self, submission: Submission) -> float:
        """In how many seconds a worker sends or expires a call; 0 if it is sent now."""
        deadline = submission.plan.deadline
        if not submission.delay or deadline is None:
            return submission.delay
        return max(min(submission.delay, deadline - self.ledger.now()), 0.001)

    def outcome(self, id: str, /, timeout: float | None = None) -> Result[Outcome | None, Fault]:
        """See `Backend.outcome`."""
        return one_of(self.settled([id], timeout), id)

    def settled(
        self, ids: Collection[str], /, timeout: float | None = None
    ) -> Result[Mapping[str, Outcome], Fault]:
        """See `Backend.settled`."""
        if not ids:
            return Success({})
        patience = Patience(timeout)
        while True:
            left = max(min(self.deadlines.time_to_next(ids), patience.left), 0.0)
            try:
                found = self.ledger.wait(ids, left)
                if not found and self.deadlines.expire_due(ids):
                    found = self.ledger.wait(ids, 0.0)
                if found or patience.is_over:
                    return Success(
                        {
                            id: outcome or faulted(unknown(id, "the ledger"))
                            for id, outcome in found.items()
                        }
                    )
                patience.answered()
            except (RedisError, OSError) as problem:
                if patience.is_exhausted or not isinstance(problem, _AWAY):
                    return Failure(unavailable(LEDGER, problem))
                time.sleep(min(_PAUSE, left))

    @contextlib.contextmanager
    def watched(self, ids: Collection[str], notify: Callable[[], object], /) -> Generator[bool]:
        """See `Watches.watched`."""
        if not isinstance(self.ledger, RedisLedger):
            yield False
            return
        with contextlib.ExitStack() as stack:
            is_watched = False
            # If this fails, the caller polls instead, and then gets the fault.
            with contextlib.suppress(RedisError, OSError):
                stack.enter_context(self.ledger.watched(ids, notify))
                is_watched = True
            yield is_watched

    def status(self, id: str, /) -> Result[Status, Fault]:
        """See `Backend.status`."""
        try:
            entry = self.deadlines.read_entry(id)
        except (RedisError, OSError) as problem:
            return Failure(unavailable(LEDGER, problem))
        if entry is None:
            return Failure(unknown(id, "the ledger"))
        return status_of(id, entry, self.ledger.now)

    def history(self, id: str, /, after: str = "", limit: int = 1000) -> Result[HistoryPage, Fault]:
        """See `Histories.history`."""
        try:
            page = self.ledger.records.page(id, after, limit)
            if page is not None and page.outcome is None and self.deadlines.expire_due([id]):
                page = self.ledger.records.page(id, after, limit)
        except ValueError:
            return Failure(_no_page(after))
        except (RedisError, OSError) as problem:
            return Failure(unavailable(LEDGER, problem))
        if page is None:
            return Failure(unknown(id, "the ledger"))
        return history_page(page, self.queue, self.ledger.now)

    def calls(self, query: CallQuery, /, after: str = "") -> Result[CallPage, Fault]:
        """See `Lists.calls`."""
        try:
            return Success(call_page(self.ledger.records, query, after))
        except ValueError:
            return Failure(_no_page(after))
        except (RedisError, OSError) as problem:
            return Failure(unavailable(LEDGER, problem))

    def forget(self, id: str, /) -> Result[None, Fault]:
        """See `Forgets.forget`."""
        try:
            forgotten = self.ledger.records.forget(id)
            if forgotten == "open" and self.deadlines.expire_due([id]):
                forgotten = self.ledger.records.forget(id)
        except (RedisError, OSError) as problem:
            return Failure(unavailable(LEDGER, problem))
        match forgotten:
            case "forgotten":
                return Success(None)
            case "unknown":
                return Failure(unknown(id, "the ledger"))
            case "open":
                return Failure(not_ended(id))

    def schedule(self, schedule: Schedule, plan: Plan, /) -> Result[Schedule, Fault]:
        """See `Schedules.schedule`."""
        plan = replace(plan, queue=plan.queue or self.queue)  # a worker may have another one
        return self._of_schedules(lambda kept, now: kept.declare(schedule, plan, now))

    def schedules(self) -> Result[list[Schedule], Fault]:
        """See `Schedules.schedules`."""
        return self._of_schedules(lambda kept, _: kept.listed())

    def scheduled(self, name: str, /) -> Result[Scheduled, Fault]:
        """See `ReadsSchedules.scheduled`."""
        found = self._of_schedules(lambda kept, _: kept.scheduled(name))
        if isinstance(found, Failure):
            return Failure(found.failure())
        read = found.unwrap()
        if read is None:
            return Failure(_no_schedule(name))
        plan = read.plan
        if plan.queue == self.queue:  # another backend has another default
            plan = replace(plan, queue=None)
        return Success(replace(read, plan=plan))

    def pause_schedule(self, name: str, /) -> Result[None, Fault]:
        """See `Schedules.pause_schedule`."""
        return self._of_schedule(name, lambda kept, now: kept.pause(name, now, is_paused=True))

    def resume_schedule(self, name: str, /) -> Result[None, Fault]:
        """See `Schedules.resume_schedule`."""
        return self._of_schedule(name, lambda kept, now: kept.pause(name, now, is_paused=False))

    def unschedule(self, name: str, /) -> Result[None, Fault]:
        """See `Schedules.unschedule`."""
        return self._of_schedule(name, lambda kept, _: kept.remove(name))

    def _of_schedule(
        self, name: str, act: Callable[[ScheduleStore, float], bool]
    ) -> Result[None, Fault]:
        """Changes a schedule; `Unknown` if there is none of this name."""
        answer = self._of_schedules(act)
        if isinstance(answer, Failure):
            return answer
        if not answer.unwrap():
            return Failure(_no_schedule(name))
        return Success(None)

    def _of_schedules(self, act: Callable[[ScheduleStore, float], T]) -> Result[T, Fault]:
        """Reads or changes schedules, at the ledger's time."""
        try:
            return Success(act(ScheduleStore(self.ledger.cells, self.signer), self.ledger.now()))
        except ValueError as problem:
            return Failure(Misconfigured("cron", str(problem)))
        except (RedisError, OSError) as problem:
            return Failure(unavailable(LEDGER, problem))

    def explain(self, plan: Plan, /) -> str:
        """See `Explains.explain`."""
        return lower.render(lower.to_parts(plan))

    def diagnose(self, queues: Collection[str] = (), /) -> Result[Diagnosis, Fault]:
        """See `Diagnoses.diagnose`."""
        from onward.backends.celery import diagnose

        try:
            return Success(diagnose.make_diagnosis(self, queues))
        except NOT_REACHED as problem:
            return Failure(self.unavailable(problem))

    def serve(
        self,
        catalog: Catalog,
        /,
        *,
        concurrency: int | None = None,
        queues: Collection[str] | None = None,
    ) -> Result[Worker, Fault]:
        """See `Backend.serve`."""
        from onward.backends.celery.worker import CeleryWorker

        try:
            self.ledger.read("")
            with broker_of(self.app):
                pass
        except NOT_REACHED as problem:
            return Failure(self.unavailable(problem))
        worker = CeleryWorker(self, opening(self, catalog), concurrency, queues, self.submit_all)
        if worker.is_ready(_STARTS):
            return Success(worker)
        worker.stop(grace=1)
        message = f"the worker could not receive messages within {_STARTS:.0f} s"
        return Failure(Unavailable("", message))


def _no_schedule(name: str) -> Unknown:
    return Unknown(name, "no such schedule in the ledger")


def _no_page(after: str) -> Misconfigured:
    return Misconfigured("after", f"no page of this ledger ends with {after!r}")


def _about(plan: Plan) -> bytes:
    return encode_about(About(plan.flow, plan.tags))


def _batches(submissions: Iterable[Submission]) -> Iterator[list[tuple[Submission, bytes]]]:
    """Groups submissions, with their encoded plans, into batches."""
    batch: list[tuple[Submission, bytes]] = []
    size = 0
    for submission in submissions:
        raw = plans.encode(submission.plan)
        batch.append((submission, raw))
        size += len(raw)
        if len(batch) == _AT_ONCE or size >= _BYTES_AT_ONCE:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
