"""Makes a bridge a backend that has the capabilities which both of its backends have."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

from msgspec.structs import replace
from returns.result import Result

from onward.backend import (
    Backend,
    Cancels,
    Checks,
    Diagnoses,
    Explains,
    Forgets,
    Histories,
    Lists,
    Moves,
    ReadsSchedules,
    Schedules,
    SchedulesHere,
    Signals,
    SubmitsUnique,
)
from onward.backend.adapters import (
    Blocking,
    BlockingCancels,
    BlockingDiagnoses,
    BlockingFinds,
    BlockingForgets,
    BlockingHistories,
    BlockingLists,
    BlockingMoves,
    BlockingReadsSchedules,
    BlockingSchedules,
    BlockingSignals,
    BlockingSubmits,
    BlockingSubmitsUnique,
)
from onward.backend.additions import Additions, additions_of, set_additions
from onward.backend.features import LACKED_BY_DEFAULT, Feature
from onward.bridges.asking import CALLER
from onward.bridges.core import Bridge
from onward.coroutines import drive
from onward.fault import Fault
from onward.interpret.callers import AWAITS, BLOCKS, Caller
from onward.plan import Plan

if TYPE_CHECKING:
    from collections.abc import Collection, Generator, Mapping

    from onward.backend import Schedule, Submission, Worker
    from onward.catalog import Catalog
    from onward.served import Surrounds

T = TypeVar("T")


class BridgeBackend(BlockingFinds[Bridge]):
    """A bridge, for callers that block and for callers that await.

    It has no thread: its backends have theirs.

    Args:
        core: What the bridge does.
        text: Its `repr`.
    """

    def __init__(self, core: Bridge, text: str) -> None:
        BlockingSubmits.__init__(self, core)
        self._text = text
        self.lacks: Mapping[Feature, str] = {
            feature: why
            for backend in core.pair.sides
            for feature, why in getattr(backend, "lacks", LACKED_BY_DEFAULT).items()
        }

    def __repr__(self) -> str:
        return self._text

    def close(self) -> None:
        """Closes both backends. Submitted calls stay with the engines."""
        for backend in (*self._core.pair.sides, *self._core.others):
            backend.close()

    def serve(
        self,
        catalog: Catalog,
        /,
        *,
        concurrency: int | None = None,
        queues: Collection[str] | None = None,
    ) -> Result[Worker, Fault]:
        """See `Backend.serve`. It serves both backends, with this concurrency each."""
        return self._wait(lambda: self._core.serve(catalog, concurrency=concurrency, queues=queues))

    def _wait(self, start: Callable[[], Coroutine[Any, Any, Result[T, Fault]]]) -> Result[T, Fault]:
        with _asked_by(BLOCKS):
            return drive(start())

    async def _await(
        self, start: Callable[[], Coroutine[Any, Any, Result[T, Fault]]]
    ) -> Result[T, Fault]:
        with _asked_by(AWAITS):
            return await start()


@contextmanager
def _asked_by(caller: Caller) -> Generator[None]:
    token = CALLER.set(caller)
    try:
        yield
    finally:
        CALLER.reset(token)


class _Checks(Blocking[Bridge]):
    def check(self, plan: Plan, /) -> list[Fault]:
        """See `Checks.check`: what either engine cannot run."""
        found = [
            fault
            for backend in self._core.pair.sides
            if isinstance(backend, Checks)
            for fault in backend.check(plan)
        ]
        return list(dict.fromkeys(found))


class _Explains(Blocking[Bridge]):
    def explain(self, plan: Plan, /) -> str:
        """See `Explains.explain`: what each engine would run."""
        return "\n\n".join(
            f"on {backend!r}:\n{backend.explain(plan)}"
            for backend in self._core.pair.sides
            if isinstance(backend, Explains)
        )


class _SchedulesHere(Blocking[Bridge]):
    def schedule_here(
        self, schedule: Schedule, submission: Submission, /
    ) -> Result[Schedule, Fault]:
        """See `SchedulesHere.schedule_here`."""
        return self._wait(lambda: self._core.schedule_here(schedule, submission))


_OF_BOTH: dict[type, type] = {
    Cancels: BlockingCancels,
    Diagnoses: BlockingDiagnoses,
    Explains: _Explains,
    Forgets: BlockingForgets,
    Moves: BlockingMoves,
    Histories: BlockingHistories,
    Lists: BlockingLists,
    ReadsSchedules: BlockingReadsSchedules,
    Schedules: BlockingSchedules,
    Signals: BlockingSignals,
    SubmitsUnique: BlockingSubmitsUnique,
}
"""The capabilities that a bridge has if both of its backends have them, and what adapts them.

One that includes another stands before it.
"""


def composed(core: Bridge, text: str) -> Backend:
    """The backend of a bridge, with the observers, middleware and keys of its backends.

    Args:
        core: What the bridge does.
        text: Its `repr`.
    """
    first, second = core.pair.sides
    adapters = [
        adapter
        for capability, adapter in _OF_BOTH.items()
        if isinstance(first, capability) and isinstance(second, capability)
    ]
    if isinstance(first, Checks) or isinstance(second, Checks):
        adapters.append(_Checks)
    is_scheduling = BlockingSchedules in adapters
    if is_scheduling and (isinstance(first, SchedulesHere) or isinstance(second, SchedulesHere)):
        adapters.append(_SchedulesHere)
    backend: Backend = _class_of(tuple(adapters))(core, text)
    one, other = additions_of(first), additions_of(second)
    observers = tuple(dict.fromkeys((*one.observers, *other.observers)))
    sealer, reach = one.sealer or other.sealer, one.reach or other.reach
    set_additions(
        backend,
        replace(
            one,
            observers=observers,
            sealer=sealer,
            address="",
            reach=reach,
            middleware=_middleware(one, other),
        ),
    )
    return backend


def _middleware(one: Additions, other: Additions) -> Surrounds | None:
    """The middleware of both backends, each once."""
    if one.middleware is None or other.middleware is None or one.middleware is other.middleware:
        return one.middleware or other.middleware
    from onward.middleware import Joined

    return Joined(one.middleware, other.middleware)


@cache
def _class_of(adapters: tuple[type, ...]) -> type[BridgeBackend]:
    return type("BridgeBackend", (BridgeBackend, *adapters), {"__doc__": BridgeBackend.__doc__})
