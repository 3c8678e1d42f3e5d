"""The resources of a worker, from before it takes a step until it has stopped."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import wait
from typing import TYPE_CHECKING, Any

from onward.backend import Backend
from onward.catalog import Catalog
from onward.fault import Fault
from onward.isolation import Isolation

if TYPE_CHECKING:  # only workers whose tasks use resources pay for it
    from onward.opened import OpenResources
    from onward.resource import Resource


class WorkerResources:
    """Opens and closes what the tasks of a worker use.

    Args:
        catalog: The catalog that it will serve.
        on: The backend. One that runs calls in this process has resources of its own.
        instead: What tasks get in place of resources.
        isolate: Whether all steps run in child processes.
    """

    def __init__(
        self,
        catalog: Catalog,
        on: Backend,
        instead: Mapping[Resource[Any], object] | None,
        isolate: bool | Isolation = False,
    ) -> None:
        using = [task for task in catalog.tasks.values() if task.resources]
        # The child processes that run isolated steps open their own.
        apart = [task for task in using if isolate is not False or task.policy.isolate is not False]
        self._tasks = [task for task in using if isolate is False and task.policy.isolate is False]
        self._refused: Fault | None = None
        self._opens: OpenResources | None = None
        self.is_stopped: bool = False
        """Whether the worker was told to stop while it opened them."""
        if using or instead is not None:
            from onward.opened import NOTHING, OpenResources, with_resources

            its = getattr(on, "resources", None)
            if instead is not None or not isinstance(its, OpenResources):
                its = OpenResources(NOTHING if instead is None else instead)
            self._opens = its
            self._refused = next(filter(None, map(its.isolated_fault, apart)), None)
            catalog = with_resources(catalog, its)
        self.catalog: Catalog = catalog
        """The catalog, whose tasks get their resources."""

    def open(self, queues: Collection[str] | None, is_told: Callable[[], bool]) -> Fault | None:
        """Opens what tasks use for the whole process, and says why one did not open.

        Args:
            queues: The queues that the worker serves; None for all.
            is_told: Whether the worker was told to stop.
        """
        if self._refused is not None:
            return self._refused
        if self._opens is None or not self._tasks:
            return None
        opening = self._opens.start(self._tasks, queues)
        while not wait([opening], 0.1).done:
            if is_told():
                self.is_stopped = True
                self._opens.abandon()
                self._opens = None
                return None
        return opening.result()

    def close(self, is_told: Callable[[], bool] = lambda: False) -> None:
        """Closes what is open, unless the worker is told to stop at once."""
        opens, self._opens = self._opens, None
        if opens is None:
            return
        # A sync resource that does not close would hold up this thread.
        closing = threading.Thread(target=opens.close, name="onward-closing", daemon=True)
        closing.start()
        while closing.is_alive() and not is_told():
            closing.join(0.1)
