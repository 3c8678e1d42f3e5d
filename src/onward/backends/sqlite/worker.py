"""Serving a catalog, and stopping."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import secrets
import socket
import threading
from contextvars import Context as Variables

from onward.backend import Hearing
from onward.backend.loop import Closed, LoopThread
from onward.backends.sqlite import lease
from onward.backends.sqlite.claimer import Claimer
from onward.backends.sqlite.errors import PROBLEMS, Refused
from onward.backends.sqlite.jobs import Runtime
from onward.backends.sqlite.maintenance import Maintenance, Report
from onward.backends.sqlite.resources import Resources, Serving
from onward.backends.sqlite.runner import JobRunner
from onward.backends.sqlite.wakeup import Changes
from onward.context import Context
from onward.execute import report_outcome

SLOTS = 16
"""How many steps a worker runs at a time, by default."""

_LEASES = 3.0
"""After how many leases without a look at the file a worker counts as deaf."""

_LEAVING = 5.0
"""How long giving back may take, in seconds, where the file cannot be written just now."""

_LOGGER = logging.getLogger("onward.sqlite")


def name_of_worker() -> str:
    """What a new worker goes by, for people."""
    return f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(2)}"


class Server:
    """A worker's side that lives on its event loop.

    Args:
        resources: What it works with.
        serving: What it serves.
        variables: The context variables that steps begin with.
    """

    def __init__(self, resources: Resources, serving: Serving, variables: Variables) -> None:
        self.ended: threading.Event = threading.Event()
        self._resources = resources
        self._serving = serving
        self._loop = asyncio.get_running_loop()
        self._runtime = Runtime(serving.catalog.tasks, serving.slots, variables)
        self._runner = JobRunner(resources, serving, self._runtime)
        self._claimer = Claimer(resources, serving, self._runtime, self._runner.begin)
        self._maintenance = Maintenance(resources, serving.id, self._hear_maintenance)
        self._end_by = float("inf")
        self._hurry = asyncio.Event()
        self._leaving: asyncio.Task[None] | None = None
        resources.wakeup.listen(self._hear)

    def _hear(self, changes: Changes) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(self._on_changes, changes)

    def _on_changes(self, changes: Changes) -> None:
        self._runner.hear(changes)
        self._claimer.wake()

    def _hear_maintenance(self, report: Report) -> None:
        for lost in report.lost:
            context = Context(lost.id, lost.flow)
            report_outcome(self._serving.catalog.tasks, context, lost.outcome)
        with contextlib.suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(self._on_maintenance, report)

    def _on_maintenance(self, report: Report) -> None:
        self._runner.others = report.others
        if not report.has_lease:
            _LOGGER.warning("others have taken over from this worker, of which nothing was heard")
            self._renew()
            self._claimer.wake()  # it took nothing meanwhile
            self._runner.look_over()
        if report.is_old and self._leaving is None:
            _LOGGER.error(
                "a later release of Onward has changed %s: this worker stops; upgrade Onward here",
                self._resources.file.path,
            )
            self._leaving = self._loop.create_task(self._leave())

    def _renew(self) -> None:
        """Is a worker again, by the same number: what it still has, others have not taken."""
        serving, clock = self._serving, self._resources.file.clock
        with contextlib.suppress(*PROBLEMS):
            self._resources.commits.do(
                lambda db: lease.register(
                    db,
                    serving.name,
                    serving.queues,
                    list(serving.catalog.tasks),
                    serving.slots,
                    clock.now() + self._resources.lease,
                    serving.id,
                )
            )

    def hearing(self) -> Hearing:
        """See `Hears.hearing`. It hears from the file as long as it can look for jobs there."""
        silent = max(self._claimer.silent(), self._maintenance.silent())
        return Hearing(silent, _LEASES * self._resources.lease, self._serving.slots)

    async def leave(self, grace: float) -> None:
        """Takes up no more, and gives back what has not ended after so many seconds."""
        self._end_by = min(self._end_by, self._loop.time() + grace)
        self._hurry.set()
        if self._leaving is None:
            self._leaving = self._loop.create_task(self._leave())
        await asyncio.wait([self._leaving])

    async def _leave(self) -> None:
        self._runner.is_stopping = True
        await self._claimer.close()
        self._runtime.freed = self._hurry.set
        while self._runtime.load > 0 and (left := self._end_by - self._loop.time()) > 0:
            self._hurry.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(left, 3600.0)):
                    await self._hurry.wait()
        self._maintenance.close()
        self._resources.wakeup.leave(self._hear)
        self._runner.cancel_all()
        with contextlib.suppress(*PROBLEMS, Refused, TimeoutError):  # the lease will run out
            async with asyncio.timeout(_LEAVING):
                id, clock = self._serving.id, self._resources.file.clock
                await self._resources.commits.on_loop(lambda db: lease.leave(db, id, clock))
        self.ended.set()


class SqliteWorker:
    """A catalog that is being served.

    Args:
        server: What serves it.
        thread: The loop that it lives on.
    """

    def __init__(self, server: Server, thread: LoopThread) -> None:
        self._server = server
        self._thread = thread

    def stop(self, grace: float = 30.0) -> None:
        """See `Worker.stop`."""
        server = self._server
        if not server.ended.is_set():
            with contextlib.suppress(Closed):  # the backend was closed, and the loop with it
                self._thread.call(lambda: server.leave(grace))
            server.ended.set()

    def wait(self, timeout: float | None = None) -> bool:
        """See `Worker.wait`."""
        return self._server.ended.wait(timeout)

    def hearing(self) -> Hearing:
        """See `Hears.hearing`."""
        return self._server.hearing()
