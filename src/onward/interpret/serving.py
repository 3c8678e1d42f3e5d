"""What `work` and its awaitable twin share: what is served, and when the worker is worn."""

from __future__ import annotations

import os
import time
from collections.abc import Generator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Protocol

from onward.backend import Backend
from onward.fault import Fault, Misconfigured
from onward.interpret import core
from onward.isolation import Isolation, isolation_of

if TYPE_CHECKING:
    from onward.catalog import Catalog
    from onward.observer import Attempt, Observer, Sending

DRAIN = 86_400.0
"""How long running steps may take to finish before a worn worker ends, in seconds."""

_LEAST_PROCESSES = 8
_WEIGH_EVERY = 1.0


class _Closes(Protocol):
    def close(self) -> None: ...


class Serving:
    """A catalog as a worker serves it.

    Args:
        catalog: The catalog.
        on: The backend, whose observers and keys the tasks get.
        isolate: Whether all steps run in child processes.
        concurrency: How many steps run at a time; None if the backend decides.
        max_tasks: After how many steps the worker is worn; None for no limit.
        max_memory: With how much memory it is worn, in megabytes; None for no limit.
        observers: They follow its attempts, besides the backend's own observers.
    """

    def __init__(
        self,
        catalog: Catalog,
        on: Backend,
        isolate: bool | Isolation,
        concurrency: int | None,
        max_tasks: int | None,
        max_memory: float | None,
        observers: tuple[Observer, ...] = (),
    ) -> None:
        self._children: _Closes | None = None
        self._max_tasks, self._max_memory = max_tasks, max_memory
        self._counter = _Counter()
        self._weighs = time.monotonic()
        isolated = isolate is not False or any(
            task.policy.isolate is not False for task in catalog.tasks.values()
        )
        counters = [] if max_tasks is None else [self._counter]
        self.catalog: Catalog = core.served_catalog(catalog, on, *observers, *counters)
        if isolated:
            self._isolate(isolation_of(isolate), concurrency)

    def _isolate(self, isolation: Isolation | None, concurrency: int | None) -> None:
        from onward.processes.children import Children
        from onward.served import ServedTasks

        tasks = self.catalog.tasks
        served = tasks if isinstance(tasks, ServedTasks) else ServedTasks(tasks)
        self._children = children = Children(
            concurrency or max(_LEAST_PROCESSES, os.cpu_count() or 1)
        )
        served.isolation, served.children = isolation, children
        self.catalog = self.catalog.with_tasks(served)

    def is_worn(self) -> bool:
        """Whether the worker has run as many steps, or has as much memory, as it may."""
        if self._max_tasks is not None and self._counter.ended >= self._max_tasks:
            return True
        if self._max_memory is None or time.monotonic() < self._weighs:
            return False
        from onward.processes.memory import memory

        self._weighs = time.monotonic() + _WEIGH_EVERY
        return memory() > self._max_memory * 1e6

    def close(self) -> None:
        """Ends the child processes."""
        if self._children is not None:
            self._children.close()


def limits_fault(max_tasks: int | None, max_memory: float | None) -> Fault | None:
    """The fault of invalid limits of a worker."""
    try:
        Isolation(max_tasks, max_memory)
    except (TypeError, ValueError) as problem:
        message = str(problem)
        return Misconfigured(message.partition(" ")[0], message)
    return None


class _Counter:
    """An observer that counts the attempts that have ended."""

    def __init__(self) -> None:
        self.ended = 0

    def sending(self, _: Sending, /) -> AbstractContextManager[object]:
        """See `Observer.sending`."""
        return nullcontext()

    @contextmanager
    def attempt(self, _: Attempt, /) -> Generator[None]:
        """See `Observer.attempt`."""
        yield
        self.ended += 1  # a step more or less does not matter
