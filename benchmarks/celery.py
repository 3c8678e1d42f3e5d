"""Onward on Celery beside Celery itself: the same work, on the same broker, in the same run.

Each contender has a database of the one Valkey to itself, and a worker process. They go in turn,
round after round, and where it is not a worker's turn, it is halted.
"""

from __future__ import annotations

import tempfile
import tracemalloc
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from signal import SIGCONT, SIGSTOP
from typing import Any, NamedTuple, Self

from celery import chain, group
from celery import exceptions as celery_errors
from redis import Redis

from benchmarks.report import bar
from benchmarks.rounds import Work, measured, medians, shown, timed
from benchmarks.served import BELL, SETUPS, THREADS, Setup, flow, last, step
from onward import Call, each, fused, results, run, submit, submit_all, unwrap
from onward.backend import Backend, Submission
from onward.backends.celery import celery
from onward.fault import Fault
from onward.interpret.prepare import prepare
from tests.engines.valkey import Valkey
from tests.engines.worker import WorkerProcess

PACKAGES = ("onward", "celery", "kombu", "redis")
ONWARD = "Onward"
MANY = 10_000
CHUNK = 50
PATIENCE = 120
"""How long a worker may take for all of its calls, in seconds."""


class Lane:
    """A contender's database, and its worker."""

    def __init__(self, name: str, url: str, folder: Path) -> None:
        self.url = url
        self._redis = Redis.from_url(url, socket_timeout=None)
        log = folder / f"{name}.log"
        self._worker = WorkerProcess.module("benchmarks.served", name, url, log=log)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._worker.close()
        self._redis.close()

    def in_turn(self, call: Work, times: int) -> list[float]:
        """Times one call after the other, with a wait for each."""
        with self._working():
            return [timed(call, 1) for _ in range(times)]

    def at_once(self, calls: Work, times: int) -> list[float]:
        """Times all calls at once, with a wait for all; gives the time for one."""
        with self._working():
            return [timed(calls, times) / times]

    def worker_alone(self, put: Work, times: int) -> list[float]:
        """Times the worker on calls that are already queued; gives the time for one."""
        put(times)
        with self._working():
            return [timed(self._heard, times) / times]

    def client_alone(self, put: Work, times: int) -> list[float]:
        """Times the client, and drops the calls; gives the time for one."""
        seconds = timed(put, times)
        self._redis.flushdb()
        return [seconds / times]

    def _heard(self, _: int) -> None:
        if self._redis.blpop([BELL], PATIENCE) is None:
            raise TimeoutError(f"not done after {PATIENCE} s:\n{self._worker.tail()}")

    @contextmanager
    def _working(self) -> Iterator[None]:
        self._worker.send(SIGCONT)
        yield
        self._worker.send(SIGSTOP)


ONE = "One task, submitted and waited for"
CHAIN = "A chain of three, submitted and waited for"
ONES = "One task, of many that are in the queue"
CHAINS = "A chain of three, of many that are in the queue"
SUBMITS = "Submitting one task, of many"
FAN_OUT = "One task, of many side by side, submitted and waited for"

TABLES: Mapping[str, tuple[Callable[[Lane, Work, int], list[float]], int]] = {
    ONE: (Lane.in_turn, 100),
    CHAIN: (Lane.in_turn, 50),
    ONES: (Lane.worker_alone, 1_000),
    CHAINS: (Lane.worker_alone, 300),
    SUBMITS: (Lane.client_alone, MANY),
    FAN_OUT: (Lane.at_once, 1_000),
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


def _celery(name: str, lane: Lane, setup: Setup) -> Iterator[Row]:
    """What users of Celery write."""
    app = setup.app(lane.url)
    one, end = app.tasks["raw.pass_on"], app.tasks["raw.finish"]

    def get(result: Any) -> object:
        while True:
            with suppress(
                celery_errors.TimeoutError
            ):  # now and then it does not hear that there is a result
                return result.get(timeout=2, interval=setup.interval)

    def chained(n: int, end: Any) -> Any:
        first, second = one.s(n), one.s()
        for made in (first, second) if setup.is_terse else ():
            made.options["ignore_result"] = True
        return chain(first, second, end.s()).apply_async()

    def batched(n: int) -> object:
        with app.producer_pool.acquire(block=True) as producer:
            batch = producer.batch()  # type: ignore[attr-defined]  # the stubs are older than it
            with batch:
                return [one.apply_async((n,), producer=producer) for _ in range(n)]

    def grouped(n: int) -> object:
        return get(group(one.s(n) for _ in range(n)).apply_async())

    yield Row(ONE, name, lane, lambda n: get(one.delay(n)))
    yield Row(CHAIN, name, lane, lambda n: get(chained(n, one)))
    yield Row(ONES, name, lane, lambda n: [end.delay(n) for _ in range(n)])
    yield Row(CHAINS, name, lane, lambda n: [chained(n, end) for _ in range(n)])
    yield Row(SUBMITS, f"{name}: apply_async", lane, lambda n: [one.delay(n) for _ in range(n)])
    yield Row(SUBMITS, f"{name}: apply_async in a batch", lane, batched)
    yield Row(FAN_OUT, f"{name}: group", lane, grouped)


def _onward(lane: Lane) -> Iterator[Row]:
    """What users of Onward write."""
    backend = celery(lane.url)
    steps, fused_steps, fused_flow = step >> step >> step, fused(step >> step >> step), fused(flow)

    def put(call: Call[int], n: int) -> object:
        return unwrap(submit_all([call] * n, on=backend))

    def gathered(n: int) -> object:
        refs = unwrap(submit_all([step(n)] * n, on=backend))
        return [unwrap(result) for _, result in results(refs, on=backend)]

    def mapped(n: int, chunk: int | None = None) -> object:
        return unwrap(run(each(step, chunk=chunk)([n] * n), on=backend))

    yield Row(ONE, ONWARD, lane, lambda n: unwrap(run(step(n), on=backend)))
    yield Row(CHAIN, ONWARD, lane, lambda n: unwrap(run(steps(n), on=backend)))
    yield Row(CHAIN, f"{ONWARD}: fused", lane, lambda n: unwrap(run(fused_steps(n), on=backend)))
    yield Row(ONES, ONWARD, lane, lambda n: put(last(n), n))
    yield Row(CHAINS, ONWARD, lane, lambda n: put(flow(n), n))
    yield Row(CHAINS, f"{ONWARD}: fused", lane, lambda n: put(fused_flow(n), n))
    yield Row(
        SUBMITS,
        f"{ONWARD}: submit",
        lane,
        lambda n: [unwrap(submit(step(n), on=backend)) for _ in range(n)],
    )
    yield Row(SUBMITS, f"{ONWARD}: submit_all", lane, lambda n: put(step(n), n))
    yield Row(FAN_OUT, f"{ONWARD}: submit_all, results", lane, gathered)
    yield Row(FAN_OUT, f"{ONWARD}: each", lane, mapped)
    yield Row(FAN_OUT, f"{ONWARD}: each, {CHUNK} in one go", lane, partial(mapped, chunk=CHUNK))


def measure(*, fast: bool) -> Any:
    """Measures, prints the tables and the bars, and gives all values."""
    rounds, share = (1, 5) if fast else (7, 1)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server = stack.enter_context(Valkey.start(folder / "valkey")).url.removesuffix("/0")
        rows: list[Row] = []
        for number, name in enumerate([*SETUPS, ONWARD]):
            lane = stack.enter_context(Lane(name, f"{server}/{number}", folder))
            rows += _celery(name, lane, SETUPS[name]) if name in SETUPS else _onward(lane)
        rows.sort(key=lambda row: list(TABLES).index(row.table))
        values = measured(rows, rounds, share)
        held = [_held(celery(f"{server}/{len(SETUPS) + 1}"), calls) for calls in (MANY // 10, MANY)]

    about = f"medians of {rounds} rounds; each worker has {THREADS} threads."
    suite = shown(values, PACKAGES, about)
    print(*_bars(medians(values)), _bounded(*held), sep="\n")
    return suite


def _held(backend: Backend, calls: int) -> int:
    """The peak memory of `submit_all` for so many calls from a generator, in bytes."""

    def submissions() -> Iterator[Submission]:
        for _ in range(calls):
            prepared = prepare(step(1), None, 0.0, None, {})
            assert not isinstance(prepared, Fault)
            yield prepared

    unwrap(backend.submit_all(submissions()))  # which opens the connections
    tracemalloc.start()
    ids = unwrap(backend.submit_all(submissions()))
    now, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    del ids
    return peak - now


def _bars(took: Mapping[tuple[str, str], float]) -> Iterator[str]:
    """Whether the bars hold in this run, against each of Celery's setups."""
    for table, ours, theirs, least in (
        (ONE, "", "", 0.95),
        (CHAIN, "", "", 0.95),
        (ONES, "", "", 0.95),
        (CHAINS, "", "", 0.95),
        (CHAINS, ": fused", "", 2.2),
        (SUBMITS, ": submit_all", ": apply_async", 5),
        (FAN_OUT, ": submit_all, results", ": group", 3),
    ):
        onward = took[table, f"{ONWARD}{ours}"]
        ratios = [took[table, f"{name}{theirs}"] / onward for name in SETUPS]
        shown = ", ".join(f"{ratio:.2f}" for ratio in ratios)
        yield bar(
            min(ratios) >= least,
            f"{table}: {ONWARD}{ours} is {shown} times as fast as Celery{theirs}; at least {least}",
        )


def _bounded(few: int, many: int) -> str:
    return bar(
        many < 2 * few,
        f"submit_all holds {few / 1e6:.1f} MB for {MANY // 10:,} calls, "
        f"and {many / 1e6:.1f} MB for {MANY:,}; less than twice as much",
    )
