"""What 10,000 calls that sleep cost on Celery and SQLite: `python -m benchmarks.sleepers [CALLS]`.

For each it prints how many bytes of the ledger or the file a call takes that sleeps between two
steps, and the processor time while all of them sleep, beside the same without any.
"""

from __future__ import annotations

import os
import sqlite3
import sys
import tempfile
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from time import perf_counter, sleep

from redis import Redis

from benchmarks.processor import idle
from benchmarks.waits_served import CELERY, step
from onward import Catalog, run, submit_all, unwrap
from onward import sleep as nap
from onward.backend import Backend
from onward.backends.celery import celery
from onward.backends.sqlite import sqlite
from tests.engines.process import until
from tests.engines.valkey import Valkey
from tests.engines.worker import WorkerProcess

SETTLES, LOOKS = 20.0, 10.0
"""How long all is left alone, and how long processor time is then measured, in seconds."""

PATIENCE = 600
SLEEPING = step >> nap(3600) >> step
PARKED = "select count(*) from onward_waits join onward_jobs using (call) where owner is null"


def main(calls: int = 10_000) -> None:
    """Measures one after the other."""
    with tempfile.TemporaryDirectory() as folder:
        on_celery(calls, Path(folder))
        on_sqlite(calls, Path(folder, "onward.db"))


def on_celery(calls: int, folder: Path) -> None:
    """Measures on a Valkey and a worker of its own."""
    with (
        Valkey.start(folder) as server,
        WorkerProcess.module(
            "benchmarks.waits_served", CELERY, server.url, log=folder / "worker.log"
        ) as worker,
        Redis.from_url(server.url) as redis,
        closing(celery(server.url)) as backend,
    ):

        def held() -> int:
            sleep(1.0)  # not to disturb the worker
            return sum(1 for _ in redis.scan_iter("onward:*:held", 10_000))

        def size() -> int:
            return int(redis.info("memory")["used_memory"])

        pids = {"worker": worker.pid, "Valkey": server.pid}
        compare("Celery", backend, calls, pids, held, size)


def on_sqlite(calls: int, path: Path) -> None:
    """Measures with a worker in this process."""
    with closing(sqlite(path)) as backend, closing(sqlite3.connect(path)) as db:

        def parked() -> int:
            return int(db.execute(PARKED).fetchone()[0])

        def size() -> int:
            db.execute("pragma wal_checkpoint(truncate)")
            return path.stat().st_size

        worker = unwrap(backend.serve(Catalog(step)))
        compare("SQLite", backend, calls, {"worker": os.getpid()}, parked, size)
        worker.stop(0)


def compare(
    engine: str,
    backend: Backend,
    calls: int,
    pids: Mapping[str, int],
    waiting: Callable[[], int],
    size: Callable[[], int],
) -> None:
    """Measures without and with calls that sleep, and prints what it found."""
    unwrap(run(step(1), on=backend))
    sleep(SETTLES)
    empty, alone = size(), idle(pids, LOOKS)
    start = perf_counter()
    unwrap(submit_all([SLEEPING(n) for n in range(calls)], on=backend))
    until(lambda: waiting() >= calls, within=PATIENCE, otherwise=lambda: "they do not sleep")
    seconds = perf_counter() - start
    sleep(SETTLES)
    full, beside = size(), idle(pids, LOOKS)
    print(f"{engine}: {calls:,} calls sleep after {seconds:.0f} s", end=", ")
    print(f"and take {(full - empty) / calls:,.0f} bytes each")
    for name in pids:
        print(f"  {name}: {alone[name]:.1%} of one processor, and {beside[name]:.1%} beside them")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
