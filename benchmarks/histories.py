"""What it costs to keep and list calls on SQLite: `python -m benchmarks.histories [CALLS]`.

It prints how many bytes of the file and how much processor time of a worker a step takes, and how
long pages of a long history and of a list of many calls take. Processor times need Linux.
"""

from __future__ import annotations

import logging
import sqlite3
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

from benchmarks.processor import used
from benchmarks.waits_served import GO, SQLITE, step
from onward import Call, Catalog, Constant, Retry, awaits, each, results, submit, submit_all, task
from onward.backend import CallQuery
from onward.backends.sqlite import SqliteBackend, sqlite
from tests.engines.process import until
from tests.engines.worker import WorkerProcess

PATIENCE = 600
STEPS, LONG, ATTEMPTS = 10, 10_000, 11
"""How many steps a chain has, and a long call; how many attempts a step that fails."""

TIMES = 5
"""How often each page is read; the median counts."""


@task(retry=Retry(attempts=ATTEMPTS, backoff=Constant(0.0)))
def fail(n: int) -> int:
    """Fails, with a traceback of two frames."""
    return _deeper(n)


def _deeper(n: int) -> int:
    raise ValueError(f"no {n}")


def main(calls: int = 100_000) -> None:
    """Measures one after the other."""
    logging.disable()
    chain = step >> step
    for _ in range(STEPS - 2):
        chain = chain >> step
    with tempfile.TemporaryDirectory() as folder:
        ones, chains = calls // 10, calls // 100
        steps_take(Path(folder, "one.db"), "a call of one task", [step(1)] * ones, 1)
        steps_take(Path(folder, "chain.db"), f"a chain of {STEPS}", [chain(1)] * chains, STEPS)
        attempts_take(Path(folder, "attempts.db"), calls // 100)
        long_history(Path(folder, "long.db"))
        many_calls(Path(folder, "many.db"), calls)


def steps_take(path: Path, what: str, calls: list[Call[Any, Any]], steps: int) -> None:
    """Prints what a step takes of the file, and of a worker's processor time."""
    with closing(sqlite(path)) as backend:
        backend.diagnose().unwrap()
        tables = _size(path)
        refs = submit_all(calls, on=backend).unwrap()
        empty = _size(path)
        print(f"{what}: {(empty - tables) / len(calls):,.0f} bytes while it waits", end=", ")
        with WorkerProcess.module(
            "benchmarks.waits_served", SQLITE, str(path), log=path.with_suffix(".log")
        ) as worker:
            until(lambda: bool(_workers(path)), within=PATIENCE, otherwise=worker.tail)
            before = used(worker.pid)
            for _ in results(refs, on=backend, timeout=PATIENCE):
                pass
            spent = used(worker.pid) - before
        size, count = _size(path) - empty, len(calls) * steps
    print(f"then {size / count:,.0f} bytes and {spent / count * 1e6:,.0f} us a step")


def attempts_take(path: Path, calls: int) -> None:
    """Prints what an attempt that failed takes of the file."""
    with closing(sqlite(path)) as backend:
        worker = backend.serve(Catalog(fail, step)).unwrap()
        tables = _size(path)
        refs = submit_all([(step >> fail)(1)] * calls, on=backend).unwrap()
        for _ in results(refs, on=backend, timeout=PATIENCE):
            pass
        worker.stop()
        with closing(sqlite3.connect(path)) as db:
            query = "select count(*), sum(length(outcome)) from onward_attempts"
            count, faults = db.execute(query).fetchone()
        print(f"{count:,} attempts that failed: faults of {faults / count:,.0f} bytes each, and")
        size = (_size(path) - tables) / count
        print(f"  {size:,.0f} bytes of the file for each, with all that is kept of their calls")


def long_history(path: Path) -> None:
    """Prints how long it takes to read a call of many steps."""
    with closing(sqlite(path)) as backend:
        worker = backend.serve(Catalog(step)).unwrap()
        ref = submit(each(step)(list(range(LONG))), on=backend).unwrap()
        for _ in results([ref], on=backend, timeout=PATIENCE):
            pass
        worker.stop()
        first = _milliseconds(lambda: backend.history(ref.id).unwrap())
        start, pages, page = perf_counter(), 1, backend.history(ref.id).unwrap()
        while page.next:
            pages, page = pages + 1, backend.history(ref.id, page.next).unwrap()
        seconds = perf_counter() - start
    print(
        f"a call of {LONG:,} steps: {first:.1f} ms for the first page, {seconds:.2f} s for {pages}"
    )


def many_calls(path: Path, calls: int) -> None:
    """Prints how long the first page of many calls takes, by what is asked for."""
    with closing(sqlite(path)) as backend:
        worker = backend.serve(Catalog(step, fail)).unwrap()
        some = calls // 1000
        parts: Iterable[tuple[list[Call[Any, Any]], str]] = (
            ([step(1)] * some, "old"),
            ([(step >> fail)(1)] * some, "failing"),
            ([(step >> awaits(GO)).named("rare")(1)] * some, "waiting"),
            ([step(1)] * (calls - 4 * some), "usual"),
            ([step(1)] * some, "new"),
        )
        for some_calls, tag in parts:
            submit_all(some_calls, on=backend, tags=[tag]).unwrap()
        until(partial(_has_settled, path, some), within=PATIENCE, otherwise=lambda: "some are open")
        worker.stop(0)
        halfway, cursor = _middle(path)
        queries: Mapping[str, CallQuery] = {
            "all": CallQuery(),
            "done": CallQuery(frozenset({"done"})),
            "failed": CallQuery(frozenset({"failed"})),
            "lost": CallQuery(frozenset({"lost"})),
            "waiting": CallQuery(frozenset({"waiting"})),
            "running, of which there are none": CallQuery(frozenset({"running"})),
            "of a flow that is rare": CallQuery(flow="rare"),
            "with a tag that is rare": CallQuery(tags=frozenset({"old"})),
            "with a tag that is not": CallQuery(tags=frozenset({"usual"})),
            "failed, with a tag": CallQuery(frozenset({"failed"}), tags=frozenset({"failing"})),
            "the older half": CallQuery(until=halfway),
        }
        for name, query in queries.items():
            took = _milliseconds(partial(_page, backend, query))
            print(f"{calls:,} calls, the first page of those {name}: {took:.1f} ms")
        took = _milliseconds(partial(_page, backend, CallQuery(), cursor))
        print(f"{calls:,} calls, a page in the middle: {took:.1f} ms")


def _page(backend: SqliteBackend, query: CallQuery, after: str = "") -> object:
    return backend.calls(query, after).unwrap()


def _milliseconds(work: Callable[[], object]) -> float:
    taken: list[float] = []
    for _ in range(TIMES):
        start = perf_counter()
        work()
        taken.append(perf_counter() - start)
    return median(taken) * 1000


def _size(path: Path) -> int:
    """How many bytes of the file are used."""
    with closing(sqlite3.connect(path)) as db:
        pages, free, size = (
            db.execute(f"pragma {name}").fetchone()[0]
            for name in ("page_count", "freelist_count", "page_size")
        )
        return int((pages - free) * size)


def _workers(path: Path) -> int:
    with closing(sqlite3.connect(path)) as db:
        return int(db.execute("select count(*) from onward_workers").fetchone()[0])


def _has_settled(path: Path, waiting: int) -> bool:
    with closing(sqlite3.connect(path)) as db:
        [left] = db.execute("select count(*) from onward_jobs").fetchone()
        [waits] = db.execute("select count(*) from onward_waits").fetchone()
        return bool(left == waits == waiting)


def _middle(path: Path) -> tuple[datetime, str]:
    """When half of the calls had been submitted, and the place of that in a list."""
    with closing(sqlite3.connect(path)) as db:
        half = "(select max(seq) / 2 from onward_calls)"
        query = f"select seq, submitted from onward_calls where seq = {half}"
        seq, submitted = db.execute(query).fetchone()
        return datetime.fromtimestamp(submitted, UTC), str(seq)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
