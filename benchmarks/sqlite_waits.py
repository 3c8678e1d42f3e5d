"""What calls that sleep cost on SQLite: `python -m benchmarks.sqlite_waits [SLEEPERS]`.

It prints the processor time of a worker while all of them sleep, beside the same without any, and
how many bytes the file takes for each.
"""

from __future__ import annotations

import sqlite3
import sys
import tempfile
from contextlib import closing
from pathlib import Path
from time import process_time, sleep

from benchmarks.served import step
from onward import Catalog, run, submit_all
from onward import sleep as nap
from onward.backends.sqlite import SqliteBackend, sqlite
from tests.engines.process import until

IDLE = 10.0
"""For how long processor time is measured, in seconds."""

PARKED = "select count(*) from onward_waits join onward_jobs using (call) where owner is null"


def main(sleepers: int) -> None:
    """Measures, and prints what it found."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "onward.db")
        with closing(sqlite(path)) as backend:
            worker = backend.serve(Catalog(step)).unwrap()
            run(step(1), on=backend)
            before, empty = idle(), size(path)
            fall_asleep(backend, path, sleepers)
            during, full = idle(), size(path)
            worker.stop(0)
    print(f"{sleepers:,} sleepers, {(full - empty) / sleepers:.0f} bytes of the file each")
    print(f"processor time of the worker's process in {IDLE:.0f} s")
    print(f"  without any   {before:.3f} s")
    print(f"  while they sleep {during:.3f} s")


def fall_asleep(backend: SqliteBackend, path: Path, sleepers: int) -> None:
    flow = step >> nap(3600)
    submit_all([flow(n) for n in range(sleepers)], on=backend).unwrap()
    with closing(sqlite3.connect(path)) as db:
        until(
            lambda: db.execute(PARKED).fetchone() == (sleepers,),
            within=600,
            otherwise=lambda: "they do not sleep",
        )


def idle() -> float:
    """The processor time of this process, in which the worker is, while it has nothing to do."""
    sleep(6)  # so long it looks often for what may follow
    began = process_time()
    sleep(IDLE)
    return process_time() - began


def size(path: Path) -> int:
    with closing(sqlite3.connect(path)) as db:
        db.execute("pragma wal_checkpoint(truncate)")
    return path.stat().st_size


if __name__ == "__main__":
    main(int(sys.argv[1]) if sys.argv[1:] else 10_000)
