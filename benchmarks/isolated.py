"""What an isolated step costs, beside one on a thread and one of Celery's prefork workers.

Each contender has a database of one Valkey to itself, and a worker with two slots. They go in turn,
round after round.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from celery import group

from benchmarks.isolated_served import CELERY, ISOLATED, SLOTS, THREADS, app, busy, idle
from benchmarks.report import bar
from benchmarks.rounds import Work, measured, medians, shown, timed
from onward import each, run, unwrap
from onward.backends.celery import celery
from tests.engines.valkey import Valkey
from tests.engines.worker import WorkerProcess

PACKAGES = ("onward", "celery", "kombu", "redis")

ONE = "A step that does nothing, submitted and waited for"
COMPUTING = "Four steps that compute for 100 ms each, side by side"
SECONDS = 0.1


class Row(NamedTuple):
    """A row of a table: a contender and its work."""

    table: str
    name: str
    work: Work

    def time(self, share: int) -> list[float]:
        """The seconds that a share of the work takes."""
        times = max((100 if self.table == ONE else 4) // share, 1)
        return [timed(self.work, 1) for _ in range(times)]


def _celery(url: str) -> Mapping[str, Work]:
    tasks = app(url).tasks
    nothing, compute = tasks["raw.nothing"], tasks["raw.compute"]
    return {
        ONE: lambda n: nothing.delay(n).get(interval=0.001),
        COMPUTING: lambda _: group(compute.s(SECONDS) for _ in range(4))().get(interval=0.001),
    }


def _onward(url: str) -> Mapping[str, Work]:
    on = celery(url)
    return {
        ONE: lambda n: unwrap(run(idle(n), on=on)),
        COMPUTING: lambda _: unwrap(run(each(busy)([SECONDS] * 4), on=on)),
    }


CONTENDERS: Mapping[str, Callable[[str], Mapping[str, Work]]] = {
    CELERY: _celery,
    THREADS: _onward,
    ISOLATED: _onward,
}


def measure(*, fast: bool) -> Any:
    """Measures, prints the tables and the bars, and gives all values."""
    rounds, share = (2, 4) if fast else (5, 1)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server = stack.enter_context(Valkey.start(folder / "valkey")).url.removesuffix("/0")
        rows: list[Row] = []
        for number, (name, contender) in enumerate(CONTENDERS.items()):
            url = f"{server}/{number}"
            start = partial(WorkerProcess.module, "benchmarks.isolated_served")
            stack.enter_context(start(name, url, log=folder / f"{number}.log"))
            rows += [Row(table, name, work) for table, work in contender(url).items()]
        rows.sort(key=lambda row: row.table != ONE)
        values = measured(rows, rounds, share)
    about = f"medians of {rounds} rounds; each worker has {SLOTS} slots."
    suite = shown(values, PACKAGES, about, rates=False)
    print(*_bars(medians(values)), sep="\n")
    return suite


def _bars(took: Mapping[tuple[str, str], float]) -> Iterator[str]:
    """Whether the bars hold in this run."""
    cost = (took[ONE, ISOLATED] - took[ONE, THREADS]) * 1e3
    yield bar(
        cost < 5, f"an isolated step costs {cost:.2f} ms more than one on a thread; at most 5"
    )
    ratio = took[COMPUTING, THREADS] / took[COMPUTING, ISOLATED]
    yield bar(
        ratio >= 1.5, f"on two processors, isolated steps compute {ratio:.2f} times as fast; 1.5"
    )
