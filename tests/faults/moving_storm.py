"""Storms over calls that change from one engine to the next while workers are killed."""

from __future__ import annotations

import itertools
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Protocol, runtime_checkable

from returns.result import Failure, Success

from onward import (
    Conflict,
    Fault,
    Ref,
    Signal,
    awaits,
    keep,
    move,
    result,
    send,
    sleep,
    status,
    submit,
)
from onward.backend import Cancels, Moves, Signals
from onward.fault import TimedOut, Unavailable, Unknown
from tests.faults.celery_storm import CELERY
from tests.faults.hatchet_storm import HATCHET
from tests.faults.served import join, noted, step, undo
from tests.faults.sqlite_storm import SQLITE
from tests.faults.storm import (
    KILL_ALL,
    KILL_ONE,
    KILL_SERVER,
    PATIENCE,
    Closable,
    Engine,
    OnwardClient,
    Size,
    Tally,
    Target,
    stage,
)
from tests.faults.temporal_storm import TEMPORAL
from tests.faults.workers import every

ENGINES: Mapping[str, Engine] = {
    "SQLite": SQLITE,
    "Celery": CELERY,
    "Temporal": TEMPORAL,
    "Hatchet": HATCHET,
}
ROUTES = (
    ("SQLite", "Celery", "Temporal", "Celery"),
    ("SQLite", "Celery", "Temporal", "Hatchet", "Celery"),
)
"""Engines on which calls are one after the other."""

GO = Signal("go", int)

sleeps = (step >> step >> sleep(1.0) >> step).finally_(undo) >> step
is_told = (step >> keep(awaits(GO)) >> join).finally_(undo) >> step
KINDS = (sleeps, is_told)

_ALWAYS = 1_000_000
_KILLED = ("Celery", "Temporal")
"""The engines whose server is killed too. Hatchet's does nothing for a minute then."""


@runtime_checkable
class Movable(Moves, Cancels, Signals, Protocol):
    """A backend from which calls can be moved."""


def moving_storm(route: Sequence[str], size: Size, folder: Path) -> Tally:
    """Moves as many calls as the size has chains along a route, and counts their outcomes.

    Until the last one has arrived, every two seconds a worker of each engine is killed, or all of
    them, or the servers. Wrong is also a call whose cleanup did not run, and one whose steps saw
    another id after a move.
    """
    start, count = time.monotonic(), size.chains
    with ExitStack() as stack:
        targets = {
            name: stack.enter_context(
                stage(ENGINES[name], "Onward", KILL_ONE, size.pace, folder / name)
            )
            for name in dict.fromkeys(route)
        }
        backends = [_backend(targets[name]) for name in route]
        first = {n: _submitted(n, backends[0]) for n in range(count)}
        refs, places = dict(first), dict.fromkeys(first, 0)
        problems: dict[int, Fault] = {}
        turns = itertools.count()

        def kill() -> None:
            harm = (KILL_ONE, KILL_ONE, KILL_SERVER, KILL_ALL)[next(turns) % 4]
            for name, target in targets.items():
                if harm is not KILL_SERVER or name in _KILLED:
                    harm.do(target)

        with every(2.0, kill, _ALWAYS):
            for place in range(1, len(route)):
                for n in [n for n, at in places.items() if at == place - 1]:
                    moved = _moved(refs[n], backends[place - 1], backends[place])
                    if isinstance(moved, Ref):
                        refs[n], places[n] = moved, place
                    elif not isinstance(moved, Conflict):  # it has ended where it was
                        problems[n] = moved
        for n in [n for n in refs if n % 2]:
            if (fault := _sent(n, refs[n], backends[places[n]])) is not None:
                problems[n] = fault
        end = time.monotonic() + PATIENCE
        hung = lost = wrong = again = 0
        amiss: list[str] = []
        for n, ref in refs.items():
            on = backends[places[n]]
            found = result(ref, on=on, timeout=max(end - time.monotonic(), 0.0))
            notes = [
                line for each in targets.values() for line in noted(each.workers.trace, first[n].id)
            ]
            again += len(notes) - len(set(notes))
            if not hung:  # a slow machine must not count as a hang
                end = time.monotonic() + PATIENCE
            if isinstance(found.swap().value_or(None), TimedOut | Unknown):
                amiss.append(f"call {n}, {ref.id}: {found}, {notes}, {status(ref, on=on)}")
                hung += 1
            elif n in problems or found != Success(_value(n)) or not _is_complete(n, notes):
                amiss.append(f"call {n}, {ref.id}: {found}, {notes}, {problems.get(n)}")
                wrong += 1
        return Tally(count, lost, hung, wrong, again, time.monotonic() - start, amiss)


def _backend(target: Target) -> Closable:
    assert isinstance(target.client, OnwardClient)
    return target.client.backend


def _submitted(n: int, on: Closable) -> Ref[int, Fault]:
    return submit(KINDS[n % 2](n), on=on, key=f"{n}").unwrap()


def _moved(ref: Ref[int, Fault], on: Closable, to: Closable) -> Ref[int, Fault] | Fault:
    """Moves a call, and again until the engines have answered."""
    assert isinstance(on, Movable)
    end = time.monotonic() + PATIENCE
    while True:
        answer = move(ref, on=on, to=to)
        if isinstance(answer, Success):
            moved: Ref[int, Fault] = answer.unwrap()
            return moved
        fault = answer.failure()
        if not isinstance(fault, Unavailable) or time.monotonic() > end:
            return fault
        time.sleep(0.1)


def _sent(n: int, ref: Ref[int, Fault], on: Closable) -> Fault | None:
    answer = send(ref, GO, 10 * n, on=on)
    return answer.failure() if isinstance(answer, Failure) else None


def _value(n: int) -> int:
    return n + 4 if n % 2 == 0 else n + 1 + 10 * n + 1


def _is_complete(n: int, notes: Sequence[str]) -> bool:
    last = f"step {_value(n) - 1}"
    return {f"step {n}", f"undo {n}", last} <= set(notes)
