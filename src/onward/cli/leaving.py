"""A worker that says when it is ready, and at its end what became of what it was running."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Collection, Generator
from contextlib import AbstractContextManager, contextmanager, nullcontext

from msgspec.structs import replace
from returns.result import Result

from onward.backend import Backend, Worker
from onward.backend.additions import additions_of, with_additions
from onward.catalog import Catalog
from onward.cli.console import say
from onward.fault import Cancelled, Fault
from onward.observer import Attempt, Sending


def announced(backend: Backend, stop: threading.Event) -> Announced:
    """A backend whose worker says how it fares, with what was added to the backend."""
    added = additions_of(backend)
    made = Announced(backend, stop)
    return with_additions(made, replace(added, observers=(*added.observers, made.attempts)))


class Announced:
    """A backend, of which a worker needs no more than `serve`, whose worker says how it fares.

    Args:
        backend: The backend.
        stop: Is set once the worker leaves, whoever told it to.
    """

    def __init__(self, backend: Backend, stop: threading.Event) -> None:
        self._stop = stop
        self.attempts: _Attempts = _Attempts()
        self._backend = backend

    @property
    def was_told_again(self) -> bool:
        """Whether a second signal came while it was stopping."""
        return self.attempts.times_told > 1

    def serve(
        self, catalog: Catalog, /, *, concurrency: int | None, queues: Collection[str] | None
    ) -> Result[Worker, Fault]:
        """See `Backend.serve`."""
        served = self._backend.serve(catalog, concurrency=concurrency, queues=queues)
        return served.map(lambda worker: _AnnouncedWorker(worker, self.attempts, self._stop))


class _AnnouncedWorker:
    def __init__(self, worker: Worker, attempts: _Attempts, stop: threading.Event) -> None:
        self._worker = worker
        self._stop = stop
        self._attempts = attempts
        say("ready: Ctrl-C or SIGTERM stops it", "green")

    def stop(self, grace: float = 30.0) -> None:
        self._stop.set()
        running = self._attempts.leave(grace)
        time_told = self._attempts.times_told
        if time_told > 1:
            say(f"told again: {_tasks(running)} given back at once", "yellow")
        else:
            what = f"{_tasks(running)} running, with {grace:g} s to end"
            say(f"stopping: {what if running else 'nothing is running'}", "yellow")
        self._worker.stop(grace)
        if time_told == self._attempts.times_told:  # else it is told by who came later
            ended, given_back = self._attempts.left()
            if ended or given_back:
                say(f"{_tasks(ended)} finished, {_tasks(given_back)} given back", "yellow")

    def wait(self, timeout: float | None = None) -> bool:
        return self._worker.wait(timeout)


class _Attempts:
    """Counts the steps that go on, as an observer, and what becomes of them at the end."""

    def __init__(self) -> None:
        self.times_told: int = 0
        """How often it was to leave."""
        self._lock = threading.Lock()
        self._running = 0
        self._ended: set[tuple[str, str]] = set()
        self._cut_off = 0
        self._until = math.inf

    def sending(self, _: Sending, /) -> AbstractContextManager[object]:
        """See `Observer.sending`."""
        return nullcontext()

    @contextmanager
    def attempt(self, attempt: Attempt, /) -> Generator[None]:
        """See `Observer.attempt`."""
        step = attempt.context.id, attempt.context.step
        with self._lock:
            self._running += 1
            self._ended.discard(step)  # for it is tried again
        yield
        is_cut_off = self._is_over() and isinstance(attempt.error, Cancelled)
        with self._lock:
            self._running -= 1
            self._cut_off += is_cut_off
            if self.times_told and not is_cut_off:
                self._ended.add(step)

    def leave(self, grace: float) -> int:
        """Takes note that what is running has so many seconds to end; gives how much that is."""
        with self._lock:
            self.times_told += 1
            self._until = min(self._until, time.monotonic() + grace)
            return self._running

    def left(self) -> tuple[int, int]:
        """How many have ended since then, and how many have not."""
        with self._lock:
            # What runs on where there was time is a thread that nobody waits for any more, for
            # its step has timed out.
            return len(self._ended), self._running + self._cut_off if self._is_over() else 0

    def _is_over(self) -> bool:
        return time.monotonic() >= self._until


def _tasks(count: int) -> str:
    return "1 task" if count == 1 else f"{count} tasks"
