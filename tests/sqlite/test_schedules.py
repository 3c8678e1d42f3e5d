"""Which runs of a schedule are made, when workers come and go."""

import sqlite3
from contextlib import closing
from pathlib import Path

from onward import schedule
from onward.backends.sqlite import SqliteBackend
from tests.engines.process import until
from tests.sqlite.kept import CATALOG, inc

PATIENCE = 120.0

twice = (inc >> inc).named("twice")


def test_two_workers_make_each_missed_run_once_and_leave_out_what_is_long_past(
    backend: SqliteBackend, path: Path
) -> None:
    schedule(inc(1), on=backend, name="default", every=60).unwrap()
    schedule(twice(1), on=backend, name="patient", every=60, catch_up=3600).unwrap()
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        # No worker was there for an hour and ten seconds, before the last half minute.
        db.execute("update onward_schedules set next = next - 3690")
        workers = [backend.serve(CATALOG).unwrap() for _ in range(2)]
        query = "select min(next) > cast(strftime('%s') as real) from onward_schedules"
        until(lambda: db.execute(query).fetchone()[0] == 1, within=PATIENCE, otherwise=lambda: "?")
        for worker in workers:
            worker.stop()
        made = db.execute("select flow, count(*) from onward_calls group by flow").fetchall()
    assert made == [("inc", 1), ("twice", 60)]
