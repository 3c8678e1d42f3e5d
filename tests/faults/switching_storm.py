"""A system that changes from one engine to another while workers of both are killed."""

from __future__ import annotations

import itertools
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Protocol, runtime_checkable

from returns.result import Result, Success

from onward import (
    Call,
    Fault,
    ListedCall,
    Ref,
    Signal,
    awaits,
    calls,
    each,
    keep,
    move,
    result,
    schedule,
    schedules,
    send,
    sleep,
    submit,
    unschedule,
)
from onward.backend import Cancels, Lists, Moves, ReadsSchedules, Signals
from onward.bridges import drain, routed
from onward.fault import Conflict, TimedOut, Unknown
from tests.engines.process import until
from tests.faults.celery_storm import CELERY
from tests.faults.hatchet_storm import HATCHET
from tests.faults.served import add_up, chain, join, noted, step, undo
from tests.faults.storm import (
    PATIENCE,
    WIDTH,
    Disruption,
    Engine,
    OnwardClient,
    Target,
    stage,
    until_sent,
)
from tests.faults.temporal_storm import TEMPORAL
from tests.faults.waiting_storm import insist
from tests.faults.workers import every

ENGINES: Mapping[str, Engine] = {"Celery": CELERY, "Temporal": TEMPORAL, "Hatchet": HATCHET}
ROUTES = (("Celery", "Temporal"), ("Celery", "Hatchet"))
"""The old engine and the new one."""

DIAL = (0, 25, 50, 100, 50)
"""The percentages of calls that go to the new engine, one after the other."""
KILLED_AT = (25, 100)
"""The positions of the dial at which a worker of each engine is killed, in any case."""
KILL_ONE, KILL_ALL = "one of the workers is killed", "all workers are killed"
ENDED = ("done", "moved")
CLIENTS = 4
"""How many threads submit calls, each by a bridge of its own."""
APART = 100
"""How far apart the arguments of two calls are, so that a step's note tells whose it is."""
SCHEDULE = "ticks"
GO = Signal("go", int)

fans = each(step) >> add_up >> step
sleeps = (step >> sleep(1.0)).finally_(undo) >> step
is_told = (step >> keep(awaits(GO)) >> join).finally_(undo) >> step
ticks = (step >> step).named(SCHEDULE)


@runtime_checkable
class Switchable(Moves, Cancels, Signals, ReadsSchedules, Lists, Protocol):
    """What both engines can do, and so a bridge of them."""


@dataclass
class Switch:
    """What became of the calls.

    Args:
        calls: How many there were, each with a key.
        on_new: How many ended on the new engine.
        moved: How many were moved there while they waited.
        runs: How many runs of the schedule there were, on either engine.
        kills: How many times workers of both were killed.
        lost: How many have no outcome.
        twice: How many have two refs, or an outcome on both engines.
        wrong: How many have another outcome than they should have, or no cleanup.
        unlisted: How many have an outcome, and are not in their engine's list.
        is_drained: Whether nothing was left on the old engine in the end.
        seconds: How long all of it took.
        amiss: What there is to know of what is not right.
    """

    calls: int
    on_new: int = 0
    moved: int = 0
    runs: int = 0
    kills: int = 0
    lost: int = 0
    twice: int = 0
    wrong: int = 0
    unlisted: int = 0
    is_drained: bool = False
    seconds: float = 0.0
    amiss: list[str] = field(default_factory=list)

    @property
    def is_right(self) -> bool:
        """Whether each key has one outcome, and nothing is lost or left."""
        return self.is_drained and not (self.lost or self.twice or self.wrong or self.amiss)


def switching_storm(
    route: tuple[str, str],
    folder: Path,
    *,
    count: int,
    pace: float,
    interval: float,
    kills: int,
) -> Switch:
    """Submits calls while the dial turns and workers are killed, drains, and counts the outcomes.

    Of four calls, one sleeps and one waits for a signal. Each key is submitted again once the dial
    has been turned. Half of the signals come after that, the others when the old engine is drained:
    of calls that wait there for so long, each is moved first.

    Args:
        route: The names of the old engine and the new one.
        folder: Where the engines keep what they have.
        count: How many calls there are.
        pace: How long a step takes, in seconds.
        interval: How often the schedule runs, in seconds.
        kills: How often workers are killed, two seconds apart, besides twice at turns of the dial.
    """
    start = time.monotonic()
    found = Switch(count)
    with ExitStack() as stack:
        old, new = (
            stack.enter_context(stage(ENGINES[name], "Onward", Disruption(), pace, folder / name))
            for name in route
        )
        system = _System(route, (old, new), folder / "dial", found)
        turns = itertools.cycle([KILL_ONE, KILL_ONE, KILL_ALL])
        stack.enter_context(every(2.0, lambda: system.kill(next(turns)), kills))
        runs = schedule(ticks(-APART), on=system.bridge, name=SCHEDULE, every=interval)
        runs.unwrap()
        parts = [range(at, count, len(DIAL)) for at in range(len(DIAL))]
        before: Sequence[int] = ()
        for percent, part in zip(DIAL, parts, strict=True):
            system.turn(percent)
            if percent in KILLED_AT:
                system.kill(KILL_ONE)
            system.submit([*part, *before])
            system.tell(n for n in before if not _is_late(n))
            before = part
        system.turn(100)
        system.drain()
        system.await_outcomes()
        if interval < PATIENCE:
            system.await_run()
        unschedule(SCHEDULE, on=system.bridge).unwrap()
        system.look_at_both()
    found.seconds = time.monotonic() - start
    return found


class _System:
    """Two engines with workers, clients with a bridge each, and the calls that they submitted."""

    def __init__(
        self, route: tuple[str, str], targets: tuple[Target, Target], dial: Path, found: Switch
    ) -> None:
        self._route, self._targets, self._dial, self.found = route, targets, dial, found
        self._lock = threading.Lock()
        self.turn(0)
        self.old, self.new = map(_backend, targets)
        self.bridges = [_bridge(self.old, self.new, dial) for _ in range(CLIENTS)]
        self.bridge = self.bridges[0]
        self._refs: dict[int, Ref[int, Fault]] = {}
        self._told: set[int] = set()

    def turn(self, percent: int) -> None:
        """Turns the dial for all clients."""
        aside = self._dial.with_suffix(".new")
        aside.write_text(str(percent))
        aside.rename(self._dial)

    def kill(self, what: str) -> None:
        """Kills workers of each engine."""
        with self._lock:  # or two threads kill the same worker
            for name, target in zip(self._route, self._targets, strict=True):
                ENGINES[name].disruptions[what].do(target)
            self.found.kills += 1

    def submit(self, numbers: Sequence[int]) -> None:
        """Submits calls from all clients at once; a key that is known keeps its ref."""

        def by(client: int) -> list[tuple[int, Ref[int, Fault]]]:
            on, mine = self.bridges[client], numbers[client::CLIENTS]
            return [(n, until_sent(partial(_submitted, n, on))) for n in mine]

        with ThreadPoolExecutor(CLIENTS) as threads:
            for n, ref in itertools.chain.from_iterable(threads.map(by, range(CLIENTS))):
                if self._refs.setdefault(n, ref).id != ref.id:
                    self.found.twice += 1
                    self.found.amiss.append(f"call {n} has the refs {self._refs[n].id}, {ref.id}")

    def tell(self, numbers: Iterable[int]) -> None:
        """Sends the signal to those of the calls that wait for it."""
        for n in numbers:
            if _waits(n) and n not in self._told:
                self._told.add(n)
                on = self.bridges[n % CLIENTS]
                fault = insist(partial(send, self._refs[n], GO, 10, on=on))
                if fault is not None:
                    self.found.amiss.append(f"call {n} is not told: {fault}")

    def drain(self) -> None:
        """Drains the old engine; what waits there for long is moved, and signalled as before."""
        end, least = time.monotonic() + 3 * PATIENCE, len(self._refs)
        for look in drain(self.old, to=self.new, every=0.2):
            left = look.unwrap()
            for n in [n for n in self._refs if _waits(n) and n not in self._told]:
                if not self._refs[n].id.endswith("new"):
                    self._move(n)
                self.tell([n])
            self.found.is_drained = left.is_nothing
            if left.open < least:  # a slow machine must not count as a system that stands still
                end, least = time.monotonic() + 3 * PATIENCE, left.open
            if time.monotonic() > end:
                self.found.amiss.append(f"nothing has ended for {3 * PATIENCE} s: {left}")
                return

    def _move(self, n: int) -> None:
        def moving() -> Result[None, Fault]:
            return move(self._refs[n], on=self.old, to=self.new).map(lambda _: None)

        fault = insist(moving)
        if fault is None:
            self.found.moved += 1
        elif not isinstance(fault, Conflict):
            self.found.amiss.append(f"call {n} is not moved: {fault}")

    def await_outcomes(self) -> None:
        """Waits for all calls, and compares what they give and what they noted."""
        end = time.monotonic() + PATIENCE
        outcomes: dict[int, Result[int, Fault]] = {}
        for n, ref in self._refs.items():
            got = result(ref, on=self.bridge, timeout=max(end - time.monotonic(), 0.0))
            if isinstance(got.swap().value_or(None), TimedOut | Unknown):
                self.found.lost += 1
                self.found.amiss.append(f"call {n}, {ref.id}: {got}")
                continue
            outcomes[n] = got
            if not self.found.lost:  # a slow machine must not count as a loss
                end = time.monotonic() + PATIENCE
        notes = [_notes(target.workers.trace) for target in self._targets]
        for n, got in outcomes.items():
            ended = [f"step {_value(n) - 1}" in lines for lines in notes]
            is_undone = not _cleans(n) or any(f"undo {n * APART}" in lines for lines in notes)
            self.found.on_new += ended[1]
            if all(ended):
                self.found.twice += 1
                self.found.amiss.append(f"call {n}, {self._refs[n].id} ended on both engines")
            if got != Success(_value(n)) or not any(ended) or not is_undone:
                self.found.wrong += 1
                text = f"call {n}, {self._refs[n].id}: {got}, ended {ended}, undone {is_undone}"
                self.found.amiss.append(text)

    def await_run(self) -> None:
        """Waits until the schedule has run on the new engine."""
        until(
            lambda: any(call.state == "done" for call in _listed(self.new, SCHEDULE)),
            within=PATIENCE,
            otherwise=lambda: f"{schedules(on=self.new)}, {self._targets[1].workers.tail()}",
        )

    def look_at_both(self) -> None:
        """Compares what both list: one outcome of each key, and one owner of the schedule."""
        amiss = self.found.amiss
        ran_old, ran_new = (
            [call for call in _listed(on, SCHEDULE) if call.state != "moved"]
            for on in (self.old, self.new)
        )
        self.found.runs = len(ran_old) + len(ran_new)
        for on, runs in ((self.old, ran_old), (self.new, ran_new)):
            for run in runs:
                got = result(ticks.ref(run.ref.id), on=on, timeout=PATIENCE)
                if got != Success(2 - APART):
                    amiss.append(f"the run {run.ref.id}: {got}")
        times_old = [run.submitted for run in ran_old if run.submitted]
        times_new = [run.submitted for run in ran_new if run.submitted]
        if times_old and times_new and max(times_old) >= min(times_new):
            amiss.append(f"both run the schedule: {sorted(times_old)}, {sorted(times_new)}")

        def outcomes() -> int:
            return sum(
                call.state == "done" and call.flow != SCHEDULE
                for on in (self.old, self.new)
                for call in _listed(on)
            )

        expected = self.found.calls - self.found.lost
        with suppress(TimeoutError):  # a list may lag behind
            until(lambda: outcomes() >= expected, within=PATIENCE, otherwise=self._listed)
        if outcomes() > expected:
            self.found.twice += outcomes() - expected
            amiss.append(f"{outcomes()} outcomes are listed, of {self.found.calls} calls")
        elif outcomes() < expected:
            self.found.unlisted = expected - outcomes()
            print(self._listed(), file=sys.stderr)

    def _listed(self) -> str:
        """What both engines list, for a message."""
        lists = [list(_listed(on)) for on in (self.old, self.new)]
        states = [Counter(call.state for call in calls if call.flow != SCHEDULE) for calls in lists]
        known = {call.ref.id for calls in lists for call in calls}
        missing = [ref.id for ref in self._refs.values() if ref.id.partition("@")[0] not in known]
        open_ = [f"{call}" for calls in lists for call in calls if call.state not in ENDED]
        return f"{states}, not listed: {missing}, open: {open_}"


def _backend(target: Target) -> Switchable:
    assert isinstance(target.client, OnwardClient)
    backend = target.client.backend
    assert isinstance(backend, Switchable)
    return backend


def _bridge(old: Switchable, new: Switchable, dial: Path) -> Switchable:
    bridge = routed(old, new, by=dial)
    assert isinstance(bridge, Switchable)
    return bridge


def _call(n: int) -> Call[int, Fault]:
    n *= APART
    return (chain(n), fans([n] * WIDTH), sleeps(n), is_told(n))[n // APART % 4]


def _submitted(n: int, on: Switchable) -> Ref[int, Fault]:
    return submit(_call(n), on=on, key=f"{n}").unwrap()


def _waits(n: int) -> bool:
    return n % 4 == 3


def _is_late(n: int) -> bool:
    """Whether a call gets its signal only when the old engine is drained."""
    return n % 8 == 7


def _cleans(n: int) -> bool:
    return n % 4 >= 2


def _value(n: int) -> int:
    n, kind = n * APART, n % 4
    return (n + 3, WIDTH * (n + 1) + 1, n + 2, n + 12)[kind]


def _notes(folder: Path) -> frozenset[str]:
    return frozenset(line for file in folder.iterdir() for line in noted(folder, file.name))


def _listed(on: Switchable, flow: str | None = None) -> Iterator[ListedCall[object, object]]:
    for call in calls(on=on, flow=flow):
        yield call.unwrap()
