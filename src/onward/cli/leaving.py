"""Prints when a worker is ready, and at its end what became of its running tasks."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Collection, Generator
from contextlib import AbstractContextManager, contextmanager, nullcontext

from msgspec.structs import replace
from returns.result import Result

from onward.backend import Backend, Hearing, StopsRemotely, Worker
from onward.backend.additions import additions_of, with_additions
from onward.backend.support import hearing_of
from onward.catalog import Catalog
from onward.cli.console import say
from onward.fault import Cancelled, Fault
from onward.interpret.serving import DRAIN
from onward.observer import Attempt, Sending


def announced(backend: Backend, stop: threading.Event) -> Announced:
    """A backend whose worker prints its state, with the observers of the original backend."""
    added = additions_of(backend)
    made = Announced(backend, stop)
    return with_additions(made, replace(added, observers=(*added.observers, made.attempts)))


class Announced:
    """A backend with only `serve`, whose worker prints its state.

    Args:
        backend: The backend.
        stop: An event that is set when the worker stops for any reason.
    """

    def __init__(self, backend: Backend, stop: threading.Event) -> None:
        self._stop = stop
        self.attempts: _Attempts = _Attempts()
        self._backend = backend

    @property
    def was_stopped_again(self) -> bool:
        """Whether a second signal arrived while it was stopping."""
        return self.attempts.stops > 1

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
        running = self._attempts.stop_within(grace)
        count = self._attempts.stops
        if grace >= DRAIN:  # nobody has told it to stop, and a signal may still come
            self._attempts.stops = count = 0
            say(f"enough: {_tasks(running)} running, and no more are taken", "yellow")
        else:
            self._stop.set()
        if count > 1:
            say(f"second signal: {_tasks(running)} given back at once", "yellow")
        elif count == 1:
            what = f"{_tasks(running)} running, with {grace:g} s to end"
            say(f"stopping: {what if running else 'nothing is running'}", "yellow")
        self._worker.stop(grace)
        if count == self._attempts.stops:  # otherwise the later stop prints it
            ended, given_back = self._attempts.ended()
            if ended or given_back:
                say(f"{_tasks(ended)} finished, {_tasks(given_back)} given back", "yellow")

    def wait(self, timeout: float | None = None) -> bool:
        return self._worker.wait(timeout)

    @property
    def is_stopping(self) -> bool:
        return isinstance(self._worker, StopsRemotely) and self._worker.is_stopping

    def hearing(self) -> Hearing | None:
        return hearing_of(self._worker)


class _Attempts:
    """An observer that counts the running steps, and what becomes of them after the stop."""

    def __init__(self) -> None:
        self.stops: int = 0
        """How often the worker was told to stop."""
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
            self._ended.discard(step)  # it is being retried
        yield
        is_cut_off = self._is_over() and isinstance(attempt.error, Cancelled)
        with self._lock:
            self._running -= 1
            self._cut_off += is_cut_off
            if self.stops and not is_cut_off:
                self._ended.add(step)

    def stop_within(self, grace: float) -> int:
        """Starts the grace time, in seconds, and gives the number of running steps."""
        with self._lock:
            self.stops += 1
            self._until = min(self._until, time.monotonic() + grace)
            return self._running

    def ended(self) -> tuple[int, int]:
        """How many steps have ended since the stop, and how many have not."""
        with self._lock:
            # Within the grace time, a function that still runs belongs to a step that timed out.
            return len(self._ended), self._running + self._cut_off if self._is_over() else 0

    def _is_over(self) -> bool:
        return time.monotonic() >= self._until


def _tasks(count: int) -> str:
    return "1 task" if count == 1 else f"{count} tasks"
