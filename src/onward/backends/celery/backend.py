"""The client's side: calls go to the ledger, and then to the broker."""

from __future__ import annotations

import contextlib
import logging
import math
import time
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import compress, groupby
from typing import Any, cast, get_args

from celery import Celery
from celery import chain as chain_of
from celery import chord as chord_of
from celery.canvas import Signature
from kombu.connection import ConnectionPool
from kombu.exceptions import ConnectionLimitExceeded
from msgspec.structs import replace
from redis import exceptions as redis_errors
from redis.exceptions import RedisError
from returns.result import Failure, Result, Success

from onward import plan as plans
from onward.backend import Diagnosis, State, Status, Submission, Worker
from onward.backends.celery import native
from onward.backends.celery.app import priority_on
from onward.backends.celery.clock import there
from onward.backends.celery.connections import Patience, Timeouts
from onward.backends.celery.ledger import Entry, Ledger, Message, RedisLedger
from onward.backends.celery.message import Now, Started, Ticket, discreet, write
from onward.backends.celery.post import Letter, letter, post
from onward.backends.celery.reach import LEDGER, NOT_REACHED, broker_of, reached_for, unavailable
from onward.backends.celery.refused import DeadLetters
from onward.backends.celery.signing import Signer, sealed
from onward.backends.celery.waits import damaged
from onward.catalog import Catalog
from onward.context import Progress
from onward.fault import Cancelled, Expired, Fault, Unavailable, Unknown
from onward.outcome import Outcome, faulted, one_of
from onward.plan import FusedNode, Plan, StepNode
from onward.sealing import Sealer, opening

_FIRST = 9
"""The priority of what was lost and is sent again: it has waited in its queue once."""

_AT_ONCE = 500
_BYTES_AT_ONCE = 4_000_000
"""How many calls, and how many bytes of them, a client holds ready to send."""

_SLICE = 1.0
_LONG_SLICE = 5.0
_DEADLINES = 100_000
_STATES = frozenset(get_args(State))
_PAUSE = 0.2
_OUTAGE = 60.0
"""How long who waits for an outcome puts up with a ledger that is away, in seconds."""

_TIMEOUTS = Timeouts()

_LOGGER = logging.getLogger("onward.celery")

_AWAY = (redis_errors.ConnectionError, redis_errors.TimeoutError, OSError)


class Canvas:
    """Makes Celery's signatures of a line of parts."""

    def __init__(
        self, app: Celery, queue: str, now: Callable[[], float], signer: Signer | None = None
    ) -> None:
        self._app = app
        self._now = now
        self._queue = queue
        self._signer = signer

    def signature(
        self,
        parts: Iterable[native.Part],
        now: Now | None = None,
        *,
        source: str = "",
        delay: float = 0.0,
    ) -> Signature[Any]:
        """A line as one signature; the arguments are those of `line`."""
        line = self.line(parts, now, source=source, delay=delay)
        return line[0] if len(line) == 1 else chain_of(*line)

    def line(
        self,
        parts: Iterable[native.Part],
        now: Now | None = None,
        *,
        source: str = "",
        delay: float = 0.0,
    ) -> list[Signature[Any]]:
        """A line as the signatures of its tasks and chords.

        Args:
            parts: The line.
            now: Where its first task starts from, if that is known.
            source: The place that this comes from otherwise.
            delay: How many seconds from now it begins.
        """
        signatures: list[Signature[Any]] = []
        for part in parts:
            if isinstance(part, native.Fan):
                branches = [
                    self.signature(branch, now, source=source, delay=delay)
                    for branch in part.branches
                ]
                signatures.append(self._chord(branches, part, delay))
            else:
                signatures.append(self._one(part, now, (source,), delay))
            now, source = None, native.source(part)
        return signatures

    def fan(self, fan: native.Fan, nows: Iterable[Now]) -> Signature[Any]:
        """Branches side by side, each from where it starts, and what gathers where they end."""
        branches = [
            self.signature(branch, now) for branch, now in zip(fan.branches, nows, strict=True)
        ]
        return self._chord(branches, fan, 0.0)

    def kwargs(self, name: str, ticket: Ticket, delay: float = 0.0) -> dict[str, str]:
        """What a task of this name is sent beside where the call stands."""
        if self._signer is not None:
            ticket = replace(ticket, until=self._now() + delay + self._signer.lifetime)
        return {"ticket": sealed(self._signer, write(ticket), "ticket", name).decode()}

    def now(self, now: Now, call: str, source: str) -> str:
        """Where a call stands, as it comes from a place in it."""
        return discreet(sealed(self._signer, write(now), "now", call, source).decode())

    def _chord(
        self, branches: list[Signature[Any]], fan: native.Fan, delay: float
    ) -> Signature[Any]:
        sources = tuple(native.source(branch[-1]) for branch in fan.branches)
        return chord_of(branches, self._one(fan.gather, None, sources, delay))

    def _one(
        self, one: native.One, now: Now | None, sources: tuple[str, ...], delay: float
    ) -> Signature[Any]:
        ticket = one.ticket
        step = ticket.do
        queue, priority = ticket.queue, ticket.priority
        if isinstance(step, StepNode | FusedNode):
            queue = step.queue or queue
            priority = step.priority if step.priority is not None else priority
        if ticket.is_again:
            priority = _FIRST
        options = {
            "queue": queue or self._queue,
            "priority": priority_on(self._app.conf.broker_url, priority),
            # What people see of it, who would else see all of the ticket.
            "kwargsrepr": repr({"call": ticket.call, "at": ticket.at}),
        }
        args: tuple[str, ...] = ()
        if now is not None:
            sources = (f"@{ticket.at}",)  # no other task of the call can do with it
            args = (self.now(now, ticket.call, *sources),)
        if self._signer is not None:
            ticket = replace(ticket, takes=sources)
        kwargs = self.kwargs(one.name, ticket, delay)
        return self._app.signature(one.name, args=args, kwargs=kwargs, options=options)


class CeleryBackend:
    """What `celery()` gives."""

    def __init__(
        self,
        app: Celery,
        ledger: Ledger,
        queue: str,
        lease: float,
        text: str,
        signer: Signer | None = None,
        timeouts: Timeouts = _TIMEOUTS,
        patience: Patience | None = None,
    ) -> None:
        self.app = app
        self.patience = patience or Patience()
        self.timeouts = timeouts
        self.ledger = ledger
        self.queue = queue
        self.queues = {queue}
        self._deadlines: dict[str, float] = {}
        """Those of calls that are waited for, infinite for most."""
        self.lease = lease
        self.signer = signer
        self.sealer: Sealer | None = None
        self.dead_letters: DeadLetters | None = None
        self.canvas = Canvas(app, queue, ledger.now, signer)
        self._text = text
        self.is_in_memory = app.conf.broker_url.startswith("memory:")
        """Whether the broker is in this process, and so is every worker."""
        sending: Any = app.amqp
        sending.note = self._note_sent
        clocked: Any = app
        clocked.now = self._now  # by which Celery makes a moment of a countdown

    def __repr__(self) -> str:
        return self._text

    def submit(self, submission: Submission, /) -> Result[str, Fault]:
        """See `Backend.submit`."""
        return self.submit_all([submission]).map(lambda ids: ids[0])

    def submit_all(self, submissions: Iterable[Submission], /) -> Result[list[str], Fault]:
        """See `Backend.submit_all`."""
        ids: list[str] = []
        for batch in _batches(map(self._addressed, submissions)):
            some = [submission.plan.id for submission, _ in batch]
            try:
                is_new = self.ledger.open([(it.plan.id, raw, it.delay) for it, raw in batch])
            except (RedisError, OSError) as problem:
                return Failure(unavailable(LEDGER, problem, batch[0][0].plan.flow))
            # Once it is written down it will be sent, if not by us then by the reconciler; and
            # others may have submitted it with the same key meanwhile, and count on it.
            try:
                with self.patience.of(self.timeouts.connect):
                    self.publish(submission for submission, _ in compress(batch, is_new))
            except NOT_REACHED as problem:
                why = self._unavailable(problem).message
                _LOGGER.warning("calls wait in the ledger until a worker sends them: %s", why)
            ids += some
        return Success(ids)

    def _addressed(self, submission: Submission) -> Submission:
        """The same call, whose plan names our queue, and its deadline by the ledger's clock.

        A reconciler may be of a worker on another queue, and a worker's clock another one.
        """
        plan = submission.plan
        if plan.deadline is not None:
            plan = replace(plan, deadline=there(plan.deadline, self.ledger.now()))
        return replace(submission, plan=replace(plan, queue=plan.queue or self.queue))

    def publish(self, submissions: Iterable[Submission], *, is_again: bool = False) -> None:
        """Sends the first tasks of calls to the broker, in the order of the calls.

        Args:
            submissions: The calls.
            is_again: Whether they had been sent, and now go before all others.
        """
        lines = [(each, native.compiled(each.plan, is_again=is_again)) for each in submissions]
        for is_plain, some in groupby(lines, lambda line: all(map(_is_plain, line[1]))):
            if is_plain:
                letters = [self._letter(each, parts) for each, parts in some]
                self._note_sent([each.message for each in letters])
                post(self.app, self.timeouts, letters)
                continue
            for each, parts in some:
                now = Started(each.plan.args)
                signature = self.canvas.signature(parts, now, delay=each.delay)
                # The call's id stands in every message of it.
                signature.apply_async(countdown=each.delay, root_id=each.plan.id)

    def _now(self) -> datetime:
        zone: Any = self.app.timezone
        return datetime.fromtimestamp(self.ledger.now(), zone)

    def _note_sent(self, messages: Sequence[Message]) -> None:
        # Of what is not noted, one more may be sent once nothing is heard of it.
        with contextlib.suppress(RedisError, OSError):
            self.ledger.sent(messages)

    def _letter(self, submission: Submission, parts: Sequence[native.Part]) -> Letter:
        plan, delay = submission.plan, submission.delay
        line = self.canvas.line(parts, Started(plan.args), delay=delay)
        return letter(line, plan.id, self.ledger.now() + delay if delay else None)

    def outcome(self, id: str, /, timeout: float | None = None) -> Result[Outcome | None, Fault]:
        """See `Backend.outcome`."""
        return one_of(self.settled([id], timeout), id)

    def settled(
        self, ids: Collection[str], /, timeout: float | None = None
    ) -> Result[Mapping[str, Outcome], Fault]:
        """See `Backend.settled`."""
        if not ids:
            return Success({})
        end = math.inf if timeout is None else time.monotonic() + timeout
        given_up = min(end, time.monotonic() + _OUTAGE)
        while True:
            left = max(min(self._until_due(ids), end - time.monotonic()), 0.0)
            try:
                found = self.ledger.wait(ids, left)
                if not found and self._has_expired(ids):
                    found = self.ledger.wait(ids, 0.0)
                if found or time.monotonic() >= end:
                    return Success(
                        {id: outcome or faulted(_unknown(id)) for id, outcome in found.items()}
                    )
                given_up = min(end, time.monotonic() + _OUTAGE)
            except (RedisError, OSError) as problem:
                if time.monotonic() >= given_up or not isinstance(problem, _AWAY):
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
            with contextlib.suppress(RedisError, OSError):  # who looks is told why
                stack.enter_context(self.ledger.watched(ids, notify))
                is_watched = True
            yield is_watched

    def _has_expired(self, ids: Collection[str]) -> bool:
        """Whether one of these ends here, as its deadline has passed."""
        due = [id for id in ids if self._deadlines.get(id, 0.0) <= self.ledger.now()]
        looked = [self._looked(id) for id in due]
        return any(entry is None or entry.end for entry in looked)

    def _until_due(self, ids: Collection[str]) -> float:
        """How long it is until a deadline may pass, in seconds; a while at most."""
        if not all(id in self._deadlines for id in ids):
            return _SLICE
        due = min((self._deadlines[id] for id in ids), default=math.inf)
        return min(max(due - self.ledger.now(), _PAUSE), _LONG_SLICE)

    def _looked(self, id: str) -> Entry | None:
        """What the ledger has of a call, which ends here if its deadline has passed."""
        entry = self.ledger.look(id)
        if entry is None or entry.end:
            return entry
        plan = plans.decode(entry.plan).value_or(None)
        if len(self._deadlines) >= _DEADLINES:
            self._deadlines.clear()
        deadline = math.inf if plan is None or plan.deadline is None else plan.deadline
        self._deadlines[id] = deadline
        if plan is None or deadline > self.ledger.now():
            return entry
        self.ledger.settle(id, faulted(expired(plan.flow)), "expired")
        return self.ledger.look(id)

    def status(self, id: str, /) -> Result[Status, Fault]:
        """See `Backend.status`."""
        try:
            entry = self._looked(id)
        except (RedisError, OSError) as problem:
            return Failure(unavailable(LEDGER, problem))
        if entry is None:
            return Failure(_unknown(id))
        return _status(id, entry)

    def cancel(self, id: str, /) -> Result[None, Fault]:
        """See `Cancels.cancel`."""
        try:
            entry = self.ledger.look(id)
            if entry is None:
                return Failure(_unknown(id))
            flow = plans.decode(entry.plan).map(lambda plan: plan.flow).value_or("")
            self.ledger.settle(id, faulted(Cancelled(flow, "it was cancelled")), "cancelled")
        except (RedisError, OSError) as problem:
            return Failure(unavailable(LEDGER, problem))
        return Success(None)

    def explain(self, plan: Plan, /) -> str:
        """See `Explains.explain`."""
        return native.shown(native.compiled(plan))

    def diagnose(self, queues: Collection[str] = (), /) -> Result[Diagnosis, Fault]:
        """See `Diagnoses.diagnose`."""
        from onward.backends.celery.diagnose import look

        try:
            return Success(look(self, queues))
        except NOT_REACHED as problem:
            return Failure(self._unavailable(problem))

    def serve(
        self,
        catalog: Catalog,
        /,
        *,
        concurrency: int | None = None,
        queues: Collection[str] | None = None,
    ) -> Result[Worker, Fault]:
        """See `Backend.serve`."""
        from onward.backends.celery.worker import start

        try:
            self.ledger.look("")
            with broker_of(self.app):
                pass
        except NOT_REACHED as problem:
            return Failure(self._unavailable(problem))
        worker = start(self, opening(self, catalog), concurrency, queues)
        if worker.is_ready(timeout=10):
            return Success(worker)
        worker.stop(grace=1)
        return Failure(Unavailable("", "the broker let no worker take up messages within 10 s"))

    def _unavailable(self, problem: Exception) -> Unavailable:
        return unavailable(reached_for(self.app, problem), problem)

    def close(self) -> None:
        """Ends the connections. What was submitted stays with the broker."""
        results: Any = self.app.backend
        client = vars(results).get("client")  # where one was made
        if hasattr(client, "close"):
            client.close()
        pool: Any = self.app.pool  # of connections, and not of what its type says
        _hang_up(pool)
        self.app.close()
        self.ledger.close()


def _hang_up(pool: ConnectionPool) -> None:
    """Ends the connections to the broker that nobody uses just now.

    The pool is kombu's, and shared by all in the process who have the same broker.
    """
    idle: list[Any] = []
    with contextlib.suppress(ConnectionLimitExceeded):  # the others are in use
        while len(idle) < (pool.limit or 0):
            idle.append(pool.acquire())
    for connection in idle:
        connection.collect()  # at once, where a broker that is away would not answer a goodbye
        connection.release()


def _batches(submissions: Iterable[Submission]) -> Iterator[list[tuple[Submission, bytes]]]:
    """Submissions with their plans' bytes, as many as are sent at once."""
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


def _is_plain(part: native.Part) -> bool:
    return isinstance(part, native.One)


def expired(flow: str) -> Expired:
    """The fault of a call whose deadline passed."""
    return Expired(flow, "its deadline passed before it had an outcome")


def _unknown(id: str) -> Unknown:
    return Unknown(id, "no such call in the ledger, or its outcome was kept no longer")


def _status(id: str, entry: Entry) -> Result[Status, Fault]:
    fields = entry.fields
    state: str = entry.end or ("running" if "task" in fields else "queued")
    if state not in _STATES or (entry.end and entry.outcome is None):
        return Failure(damaged(id))
    progress = None
    said = "" if entry.end else fields.get("progress", "")
    with contextlib.suppress(ValueError):  # somebody else may have written it
        done, total, note = said.split(" ", 2)
        progress = Progress(float(done), float(total) if total != "-" else None, note)
    attempt = fields.get("attempt", "")
    return Success(
        Status(
            cast(State, state),
            fields.get("task", ""),
            fields.get("step", ""),
            int(attempt) if attempt.isascii() and attempt.isdigit() else 0,
            progress,
        )
    )
