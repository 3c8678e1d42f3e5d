"""What waits in the engine, by task; and how to have it go on where the engine forgot it.

The engine (0.104) puts aside what has to wait for its rate. It looks there again only for tasks of
which one has waited in the queue itself since it was started, and not been put aside or handed out
at once. So after a restart, what was put aside may wait for ever.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from datetime import datetime

import msgspec
from msgspec import Raw, Struct
from returns.result import Failure

from onward.backends.hatchet import names
from onward.backends.hatchet.message import order
from onward.backends.hatchet.problem import Problem
from onward.backends.hatchet.rest import Rest
from onward.backends.hatchet.runs import Runs
from onward.backends.hatchet.settings import Settings
from onward.backends.hatchet.wire import Wire
from onward.catalog import Catalog
from onward.plan import VERSION, Args, ChainNode, FusedNode, Plan

RUN = ":run"
"""What the name of an action has after that of its workflow."""

_PATIENCE = 60.0
_PAUSES = (15.0, 30.0, 60.0)
_WINDOWS = {
    "second": 5.0,
    "minute": 60.0,
    "hour": 3_600.0,
    "day": 86_400.0,
    "week": 604_800.0,
    "month": 2_678_400.0,
    "year": 31_622_400.0,
}
"""How long it is from one try to wake a task to the next, in seconds; the last are for its rate."""

_SETTLES = 2.0
_LOOKS = 20.0
"""How soon the engine puts a run aside, and how often it looks at its queue, in seconds."""

_SHARED = 10.0
"""How long it is before another worker wakes the same task by another run, in seconds."""

_NOWHERE = "onward.nowhere"
"""The queue of such runs, from which no worker takes steps."""


class Waiting(Struct, frozen=True):
    """How many steps of one action wait.

    Args:
        count: All that wait.
        aside: Those of them that the engine has put aside for their rate or their concurrency.
        oldest: Since when the first of them waits, in seconds since 1970.
    """

    count: int
    aside: int = 0
    oldest: float | None = None


class _Queued(Struct, frozen=True):
    queues: dict[str, int] | None = None
    oldest: datetime | None = None


class _Stat(Struct, frozen=True):
    queued: _Queued | None = None


class _Ready(Struct, frozen=True):
    queues: dict[str, object] = {}


_STATS = msgspec.json.Decoder(dict[str, _Stat])
_READY = msgspec.json.Decoder(_Ready)


async def waiting(rest: Rest, tenant: str) -> dict[str, Waiting]:
    """What waits, by action; nothing where the HTTP API does not tell."""
    ready: dict[str, object] = {}
    answer = await rest.ask("GET", f"tenants/{tenant}/step-run-queue-metrics")
    with contextlib.suppress(msgspec.MsgspecError):
        ready = _READY.decode(answer.value_or(b"{}")).queues
    counts = {name: count for name, count in ready.items() if isinstance(count, int)}
    found = {name: Waiting(count) for name, count in counts.items()}
    answer = await rest.ask("GET", f"tenants/{tenant}/task-stats")
    with contextlib.suppress(msgspec.MsgspecError):
        for stat in _STATS.decode(answer.value_or(b"{}")).values():
            for name, count in ((stat.queued and stat.queued.queues) or {}).items():
                before = found.get(name, Waiting(0))
                since = stat.queued.oldest if stat.queued is not None else None
                found[name] = Waiting(
                    max(before.count, count),
                    max(before.aside, count - counts.get(name, 0)),
                    None if since is None else since.timestamp(),
                )
    return {name: each for name, each in found.items() if each.count}


async def wake(wire: Wire, runs: Runs, rest: Rest, settings: Settings, catalog: Catalog) -> None:
    """Has the engine look again for what it has put aside of a catalog's tasks with a rate.

    Args:
        wire: The connection.
        runs: Starts runs.
        rest: The HTTP API, without which nothing is done.
        settings: What the backend was told.
        catalog: The tasks.
    """
    rated = [
        name
        for name, limit in settings.limits.items()
        if limit.rate is not None and name in catalog.tasks
    ]
    await asyncio.gather(*(_wake(wire, runs, rest, settings, name) for name in rated))


async def _wake(wire: Wire, runs: Runs, rest: Rest, settings: Settings, name: str) -> None:
    action = f"{names.workflow(name, settings.prefix)}{RUN}"
    for pause in (*_PAUSES, *[_WINDOWS[settings.limits[name].per]] * 2):
        now = (await waiting(rest, settings.tenant)).get(action)
        if now is None or not now.aside or now.count > now.aside:
            return  # what waits in the queue itself has the engine look aside
        is_seen = await _look_aside(wire, runs, rest, settings, name, action)
        if is_seen:
            return
        await asyncio.sleep(pause)


async def _look_aside(
    wire: Wire, runs: Runs, rest: Rest, settings: Settings, name: str, action: str
) -> bool:
    """Starts a run that no worker takes; whether the rate had room for it.

    Then it waits in the queue itself, where the engine sees that the task has a rate. It takes the
    room from all others as long as it is there.
    """
    root = FusedNode(ChainNode(()), queue=_NOWHERE)
    plan = Plan(v=VERSION, flow=f"wake {name}", root=root, args=Args((Raw(b"null"),)))
    key = f"wake {name} {time.time() // _SHARED:.0f}"
    started = await runs.start(plan, order(plan), key, workflow=name, patience=_PATIENCE)
    if isinstance(started, Failure):
        return False
    try:
        await asyncio.sleep(_SETTLES)
        now = (await waiting(rest, settings.tenant)).get(action)
        is_seen = now is not None and now.count > now.aside
        if is_seen:
            await asyncio.sleep(_LOOKS)
        return is_seen
    finally:
        with contextlib.suppress(Problem):
            await wire.cancel([started.unwrap()])
