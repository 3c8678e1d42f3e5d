"""The client's side: calls go to the ledger, and then to the broker."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping
from itertools import compress

from msgspec.structs import replace
from redis import exceptions as redis_errors
from redis.exceptions import RedisError
from returns.result import Failure, Result, Success

from onward import plan as plans
from onward.backend import Diagnosis, Status, Submission, Worker
from onward.backend.support import Patience, unknown
from onward.backends.celery import lower
from onward.backends.celery.clock import there
from onward.backends.celery.core import Core
from onward.backends.celery.errors import LEDGER, NOT_REACHED, broker_of, unavailable
from onward.backends.celery.ledger import RedisLedger
from onward.backends.celery.status import status_of
from onward.catalog import Catalog
from onward.fault import Fault, Unavailable
from onward.outcome import Outcome, faulted, one_of
from onward.plan import Plan
from onward.sealing import opening

_AT_ONCE = 500
_BYTES_AT_ONCE = 4_000_000
"""How many calls, and how many bytes of them, a client holds ready to send."""

_PAUSE = 0.2
"""How long it is until a ledger that is away is asked again, in seconds."""

_LOGGER = logging.getLogger("onward.celery")

_AWAY = (redis_errors.ConnectionError, redis_errors.TimeoutError, OSError)


class CeleryBackend(Core):
    """What `celery()` gives."""

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
                with self.publish_deadline.of(self.timeouts.connect):
                    self.publish(submission for submission, _ in compress(batch, is_new))
            except NOT_REACHED as problem:
                why = self.unavailable(problem).message
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
            left = max(min(self._deadlines.until_due(ids), patience.left), 0.0)
            try:
                found = self.ledger.wait(ids, left)
                if not found and self._deadlines.has_expired(ids):
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
            with contextlib.suppress(RedisError, OSError):  # who looks is told why
                stack.enter_context(self.ledger.watched(ids, notify))
                is_watched = True
            yield is_watched

    def status(self, id: str, /) -> Result[Status, Fault]:
        """See `Backend.status`."""
        try:
            entry = self._deadlines.look(id)
        except (RedisError, OSError) as problem:
            return Failure(unavailable(LEDGER, problem))
        if entry is None:
            return Failure(unknown(id, "the ledger"))
        return status_of(id, entry)

    def explain(self, plan: Plan, /) -> str:
        """See `Explains.explain`."""
        return lower.shown(lower.compiled(plan))

    def diagnose(self, queues: Collection[str] = (), /) -> Result[Diagnosis, Fault]:
        """See `Diagnoses.diagnose`."""
        from onward.backends.celery import diagnose

        try:
            return Success(diagnose.look(self, queues))
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
            self.ledger.look("")
            with broker_of(self.app):
                pass
        except NOT_REACHED as problem:
            return Failure(self.unavailable(problem))
        worker = CeleryWorker(self, opening(self, catalog), concurrency, queues)
        if worker.is_ready(timeout=10):
            return Success(worker)
        worker.stop(grace=1)
        return Failure(Unavailable("", "the broker let no worker take up messages within 10 s"))


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
