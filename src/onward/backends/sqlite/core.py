"""What clients and workers do with a file, written once for callers that block and that await."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextvars import copy_context
from functools import partial
from sqlite3 import Connection
from typing import TypeVar

from msgspec import Raw
from msgspec.structs import replace
from returns.result import Failure, Result, Success

from onward.backend import Diagnosis, Schedule, Scheduled, Status, Submission, Worker
from onward.backend.history import CallPage, CallQuery, HistoryPage
from onward.backend.loop import LoopThread
from onward.backend.support import Patience, queues_served, unknown
from onward.backends.sqlite import (
    diagnose,
    history,
    lease,
    listing,
    retention,
    schedules,
    settle,
    signals,
    submit,
    wait,
)
from onward.backends.sqlite.client import File
from onward.backends.sqlite.drive import Pending, answer
from onward.backends.sqlite.errors import LARGEST, Reply, too_large
from onward.backends.sqlite.outage import Outage
from onward.backends.sqlite.resources import Resources, Serving
from onward.backends.sqlite.submit import Call
from onward.backends.sqlite.threads import DatabaseThread
from onward.backends.sqlite.unique import put_unique
from onward.backends.sqlite.wakeup import Wakeup
from onward.backends.sqlite.worker import SLOTS, Server, SqliteWorker, name_of_worker
from onward.catalog import Catalog
from onward.fault import Fault, Misconfigured, Moved, Unknown
from onward.outcome import Outcome, one_of
from onward.plan import Plan

T = TypeVar("T")

_AT_ONCE = 1000
"""How many calls are submitted in one transaction."""

_LONGEST = 60.0
"""How long a wait goes on between two looks at the file, in seconds."""

_LONG = 0.003
_SHARE = 2.0
"""From when on a look is a long one, in seconds; and how many times longer the next one is off."""


class Core:
    """The awaitable side of the backend. It waits for nothing but `onward.backends.sqlite.drive`.

    Args:
        file: The file.
        queue: The queue of steps that name none.
        keep: How long the outcome of a finished call can be had, in seconds.
        lease: How long a worker may be silent, in seconds.
    """

    def __init__(self, file: File, queue: str, keep: float, lease: float) -> None:
        self.file = file
        self.queue = queue
        self._keep = keep
        self._lease = lease
        self._process = os.getpid()
        self._workers: list[SqliteWorker] = []
        self._begin()

    def _begin(self) -> None:
        self._resources = Resources(
            self.file,
            DatabaseThread(self.file, "onward-sqlite-commits", writes=True),
            DatabaseThread(self.file, "onward-sqlite-reads", writes=False),
            Wakeup(self.file),
            Outage(self.file.path),
            self.queue,
            self._lease,
            self._keep,
        )
        # A look at many calls is long, and must not hold up a worker of the same process.
        self._reads = DatabaseThread(self.file, "onward-sqlite-client-reads", writes=False)
        self._thread = LoopThread("onward-sqlite")

    @property
    def resources(self) -> Resources:
        """This process's own state. A forked process makes its own, because it has no threads."""
        if self._process != os.getpid():
            self._process = os.getpid()
            self._workers = []
            self._begin()
        return self._resources

    @property
    def thread(self) -> LoopThread:
        """The loop of this process's workers."""
        _ = self.resources  # after a fork, there is another one
        return self._thread

    def close(self) -> None:
        """Closes the connections, and returns the jobs of this process's workers."""
        resources = self.resources
        for worker in self._workers:
            worker.stop(grace=0)
        resources.wakeup.close()
        resources.commits.close()
        resources.reads.close()
        self._reads.close()
        self._thread.close()

    async def _write(self, work: Callable[[Connection], T]) -> T:
        return await answer(self.resources.commits.do(work))

    async def _read(self, work: Callable[[Connection], T]) -> T:
        _ = self.resources  # after a fork, there are others
        return await answer(self._reads.do(work))

    # -- calls ---------------------------------------------------------------------------------

    async def submit(self, submission: Submission, /) -> Result[str, Fault]:
        """See `AsyncBackend.submit`."""
        return (await self.submit_all([submission])).map(lambda ids: ids[0])

    async def submit_all(self, submissions: Iterable[Submission], /) -> Result[list[str], Fault]:
        """See `AsyncBackend.submit_all`."""
        ids: list[str] = []
        written: Future[None] | None = None
        for batch in _batches(submissions):
            calls = submit.calls_of(batch, self.queue)  # while the batch before is written
            if written is not None:
                await answer(written)
            written = self.resources.commits.do(partial(self._put, calls=calls))
            ids += [call.id for call in calls]
        if written is not None:
            await answer(written)
        self.resources.wakeup.hurry()
        return Success(ids)

    async def submit_unique(self, submission: Submission, /) -> Result[str, Fault]:
        """See `AsyncSubmitsUnique.submit_unique`."""

        def put(db: Connection) -> str:
            return put_unique(db, submission, self.queue, self.file.clock)

        id = await self._write(put)
        self.resources.wakeup.hurry()
        return Success(id)

    def _put(self, db: Connection, calls: Sequence[Call]) -> None:
        submit.put(db, calls, self.file.clock)

    async def outcome(
        self, id: str, /, timeout: float | None = None
    ) -> Result[Outcome | None, Fault]:
        """See `AsyncBackend.outcome`."""
        return one_of(await self.settled([id], timeout), id)

    async def settled(
        self, ids: Collection[str], /, timeout: float | None = None
    ) -> Result[Mapping[str, Outcome], Fault]:
        """See `AsyncBackend.settled`."""
        if not ids:
            return Success({})
        patience = Patience(timeout)
        look = partial(wait.look, ids=ids, where=str(self.file.path))
        began = time.monotonic()
        seen = await self._read(look)
        took = time.monotonic() - began
        while not (seen.found or patience.is_over):
            ended = self.resources.wakeup.ended(seen.open)
            try:
                seen = await self._read(look)  # one may have ended before
                if seen.found:
                    break
                left = min(patience.left, _LONGEST)
                if seen.due is not None:
                    left = min(left, max(0.0, seen.due - self.file.clock.now()))
                await Pending(ended, left)
                if took > _LONG:  # a look at many calls: the next one finds more that have ended
                    await Pending(Future(), min(_SHARE * took, patience.left))
            finally:
                ended.cancel()
            if seen.due is not None and seen.due <= self.file.clock.now():
                await self._write(lambda db: settle.expire(db, self.file.clock))
            seen = await self._read(look)
        return Success(seen.found)

    async def status(self, id: str, /) -> Result[Status, Fault]:
        """See `AsyncBackend.status`."""
        if not wait.is_id(id):
            return Failure(self._unknown(id))
        status = await self._read(lambda db: wait.status_of(db, id, self.file.clock))
        return Failure(self._unknown(id)) if status is None else Success(status)

    async def cancel(self, id: str, /) -> Result[None, Fault]:
        """See `AsyncCancels.cancel`."""
        if not wait.is_id(id):
            return Failure(self._unknown(id))
        is_known = await self._write(lambda db: settle.cancel(db, id, self.file.clock))
        return Success(None) if is_known else Failure(self._unknown(id))

    async def send(self, id: str, name: str, raw: Raw, /) -> Result[None, Fault]:
        """See `AsyncSignals.send`."""
        if not wait.is_id(id):
            return Failure(self._unknown(id))
        if memoryview(raw).nbytes > LARGEST:
            return Failure(too_large(name, "its value", memoryview(raw).nbytes))
        sent = await self._write(lambda db: signals.send(db, id, name, raw, self.file.clock))
        self.resources.wakeup.hurry()
        return self._answer(id, sent)

    # -- what is kept --------------------------------------------------------------------------

    async def history(
        self, id: str, /, after: str = "", limit: int = 1000
    ) -> Result[HistoryPage, Fault]:
        """See `AsyncHistories.history`."""
        if not wait.is_id(id):
            return Failure(self._unknown(id))
        try:
            place = history.place_of(after) if after else history.START
        except ValueError:
            return Failure(_no_page(after))

        def read(db: Connection) -> HistoryPage | None:
            return history.read(db, id, place, limit, self.file.clock)

        page = await self._read(read)
        return Failure(self._unknown(id)) if page is None else Success(page)

    async def calls(self, query: CallQuery, /, after: str = "") -> Result[CallPage, Fault]:
        """See `AsyncLists.calls`."""
        if after and not after.isdecimal():
            return Failure(_no_page(after))
        last = int(after) if after else None
        return Success(await self._read(lambda db: listing.listed(db, query, last)))

    async def give_up(self, id: str, moved: Moved, /) -> Result[None, Fault]:
        """See `AsyncMoves.give_up`."""
        if not wait.is_id(id):
            return Failure(self._unknown(id))
        given_up = await self._write(lambda db: settle.give_up(db, id, moved, self.file.clock))
        return self._answer(id, given_up)

    async def forget(self, id: str, /) -> Result[None, Fault]:
        """See `AsyncForgets.forget`."""
        if not wait.is_id(id):
            return Failure(self._unknown(id))
        forgotten = await self._write(lambda db: retention.forget(db, id))
        return self._answer(id, forgotten)

    def _answer(self, id: str, reply: Reply) -> Result[None, Fault]:
        if not reply.is_known:
            return Failure(self._unknown(id))
        return Success(None) if reply.fault is None else Failure(reply.fault)

    def _unknown(self, id: str) -> Unknown:
        return unknown(id, str(self.file.path))

    # -- schedules -----------------------------------------------------------------------------

    async def schedule(self, schedule: Schedule, plan: Plan, /) -> Result[Schedule, Fault]:
        """See `AsyncSchedules.schedule`."""
        # A worker may have another queue of its own.
        plan = replace(plan, queue=plan.queue or self.queue)
        try:
            return Success(await self._write(lambda db: schedules.declare(db, schedule, plan)))
        except ValueError as problem:
            return Failure(Misconfigured("cron", str(problem)))

    async def schedules(self) -> Result[list[Schedule], Fault]:
        """See `AsyncSchedules.schedules`."""
        return Success(await self._read(schedules.listed))

    async def scheduled(self, name: str, /) -> Result[Scheduled, Fault]:
        """See `AsyncReadsSchedules.scheduled`."""
        found = await self._read(partial(schedules.scheduled, name=name))
        if found is None:
            return Failure(self._no_schedule(name))
        plan = found.plan
        if plan.queue == self.queue:  # another backend has another default
            plan = replace(plan, queue=None)
        return Success(replace(found, plan=plan))

    async def pause_schedule(self, name: str, /) -> Result[None, Fault]:
        """See `AsyncSchedules.pause_schedule`."""
        pause = partial(schedules.pause, name=name, is_paused=True)
        return self._of_schedule(name, await self._write(pause))

    async def resume_schedule(self, name: str, /) -> Result[None, Fault]:
        """See `AsyncSchedules.resume_schedule`."""
        resume = partial(schedules.pause, name=name, is_paused=False)
        return self._of_schedule(name, await self._write(resume))

    async def unschedule(self, name: str, /) -> Result[None, Fault]:
        """See `AsyncSchedules.unschedule`."""
        remove = partial(schedules.remove, name=name)
        return self._of_schedule(name, await self._write(remove))

    def _of_schedule(self, name: str, is_known: bool) -> Result[None, Fault]:
        if is_known:
            return Success(None)
        return Failure(self._no_schedule(name))

    def _no_schedule(self, name: str) -> Unknown:
        return Unknown(name, f"no such schedule in {self.file.path}")

    # -- the rest ------------------------------------------------------------------------------

    async def diagnose(self, queues: Collection[str] = (), /) -> Result[Diagnosis, Fault]:
        """See `AsyncDiagnoses.diagnose`."""
        look = partial(
            diagnose.look, file=self.file, queue=self.queue, queues=queues, keeps=self._keep
        )
        return Success(await self._read(look))

    async def serve(
        self,
        catalog: Catalog,
        /,
        *,
        concurrency: int | None = None,
        queues: Collection[str] | None = None,
    ) -> Result[Worker, Fault]:
        """See `AsyncBackend.serve`."""
        resources, variables = self.resources, copy_context()
        served = tuple(queues_served(self.queue, catalog, queues))
        name, slots = name_of_worker(), concurrency or SLOTS
        id = await self._write(
            lambda db: lease.register(
                db,
                name,
                served,
                list(catalog.tasks),
                slots,
                self.file.clock.now() + self._lease,
            )
        )

        async def start() -> Server:
            return Server(resources, Serving(catalog, served, slots, name, id), variables)

        worker = SqliteWorker(await answer(self.thread.start(start)), self.thread)
        self._workers = [each for each in self._workers if not each.wait(0)]
        self._workers.append(worker)
        return Success(worker)


def _no_page(after: str) -> Misconfigured:
    return Misconfigured("after", f"{after!r} is no `next` of a page")


def _batches(submissions: Iterable[Submission]) -> Iterator[list[Submission]]:
    rest = iter(submissions)
    while batch := list(itertools.islice(rest, _AT_ONCE)):
        yield batch
