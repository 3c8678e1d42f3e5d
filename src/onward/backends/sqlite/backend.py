"""`SqliteBackend`, which implements the port."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from returns.result import Failure, Result

from onward.backend.adapters import BlockingCancels, BlockingDiagnoses, BlockingSchedules
from onward.backends.sqlite import lower
from onward.backends.sqlite.core import Core
from onward.backends.sqlite.drive import drive, drive_async
from onward.backends.sqlite.errors import PROBLEMS, Refused, fault_of
from onward.fault import Fault
from onward.plan import Plan

T = TypeVar("T")


class SqliteBackend(BlockingCancels[Core], BlockingSchedules[Core], BlockingDiagnoses[Core]):
    """What `sqlite()` gives.

    A caller that blocks does so in its own thread, and one that awaits on its own event loop.
    """

    def __init__(self, core: Core) -> None:
        super().__init__(core, core.thread)
        self._core = core

    def __repr__(self) -> str:
        return f"sqlite({str(self._core.file.path)!r})"

    def close(self) -> None:
        """Ends the connections. What was submitted stays in the file."""
        self._core.close()

    def explain(self, plan: Plan, /) -> str:
        """See `Explains.explain`."""
        return lower.explained(plan, self._core.queue)

    def _wait(self, start: Callable[[], Coroutine[Any, Any, Result[T, Fault]]]) -> Result[T, Fault]:
        self._thread = self._core.thread
        if self._thread.is_this_thread():
            return super()._wait(start)  # which says why that cannot be
        try:
            return drive(start)
        except (*PROBLEMS, Refused) as problem:
            return Failure(fault_of(problem, str(self._core.file.path)))

    async def _await(
        self, start: Callable[[], Coroutine[Any, Any, Result[T, Fault]]]
    ) -> Result[T, Fault]:
        try:
            return await drive_async(start)
        except (*PROBLEMS, Refused) as problem:
            return Failure(fault_of(problem, str(self._core.file.path)))
