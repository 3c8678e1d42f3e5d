"""When a cron comes true, and which runs of a schedule are made."""

import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given as each_of
from hypothesis import strategies as st

from onward import Misconfigured, schedule, schedules
from onward.backends.sqlite import SqliteBackend
from onward.backends.sqlite.cron import Cron
from tests.engines.process import until
from tests.sqlite.kept import CATALOG, inc

PATIENCE = 30.0


@pytest.mark.parametrize(
    ("cron", "after", "zone", "expected"),
    [
        ("* * * * *", "2026-01-01 00:00:30", "UTC", "2026-01-01 00:01"),
        ("*/15 * * * *", "2026-01-01 00:45", "UTC", "2026-01-01 01:00"),
        ("5/20 * * * *", "2026-01-01 00:25", "UTC", "2026-01-01 00:45"),
        ("0 0 1 1 *", "2026-01-01 00:00", "UTC", "2027-01-01 00:00"),
        ("0 0 29 2 *", "2026-01-01 00:00", "UTC", "2028-02-29 00:00"),
        ("30 2 28 2 *", "2026-01-01 00:00", "Asia/Tokyo", "2026-02-27 17:30"),
        ("0 9 * * MON-FRI", "2026-01-02 12:00", "UTC", "2026-01-05 09:00"),
        ("0 9 * * 0", "2026-01-02 12:00", "UTC", "2026-01-04 09:00"),
        ("0 9 * * 7", "2026-01-02 12:00", "UTC", "2026-01-04 09:00"),
        ("0 9 * JAN,dec *", "2026-02-02 12:00", "UTC", "2026-12-01 09:00"),
        ("0 0 31 * *", "2026-01-31 00:00", "UTC", "2026-03-31 00:00"),
        # The clocks there go from 2:00 to 3:00 on 29 March, and from 3:00 to 2:00 on 25 October.
        ("30 2 * * *", "2026-03-28 12:00", "Europe/Berlin", "2026-03-29 01:30"),
        ("30 2 * * *", "2026-10-24 12:00", "Europe/Berlin", "2026-10-25 00:30"),
        ("30 2 * * *", "2026-10-25 00:30", "Europe/Berlin", "2026-10-26 01:30"),
    ],
)
def test_a_cron_comes_true(cron: str, after: str, zone: str, expected: str) -> None:
    found = Cron(cron).after(datetime.fromisoformat(after).replace(tzinfo=UTC), ZoneInfo(zone))
    assert found == datetime.fromisoformat(expected).replace(tzinfo=UTC)


def test_a_cron_that_never_comes_true_ends() -> None:
    assert Cron("0 0 31 2 *").after(datetime(2026, 1, 1, tzinfo=UTC), UTC) is None


@each_of(st.integers(1_577_836_800, 1_893_456_000))
def test_a_cron_is_always_later(seconds: int) -> None:
    moment = datetime.fromtimestamp(seconds, UTC)
    for zone in ("UTC", "Europe/Berlin", "Australia/Lord_Howe"):
        found = Cron("*/7 */5 * * *").after(moment, ZoneInfo(zone))
        assert found is not None
        assert found > moment


@pytest.mark.parametrize("cron", ["60 * * * *", "* * 0 * *", "*/0 * * * *", "5-1 * * * *"])
def test_what_is_no_cron_is_refused(cron: str, backend: SqliteBackend) -> None:
    fault = schedule(inc(1), on=backend, name="wrong", cron=cron).failure()
    assert isinstance(fault, Misconfigured)


def test_two_workers_make_each_run_once_and_leave_out_what_is_long_past(
    backend: SqliteBackend, path: Path
) -> None:
    schedule(inc(1), on=backend, name="minutely", every=60).unwrap()
    [made] = schedules(on=backend).unwrap()
    assert made.next_at is not None
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        # No worker was there for an hour and ten seconds.
        db.execute("update onward_schedules set next = next - 3670")
        workers = [backend.serve(CATALOG).unwrap() for _ in range(2)]
        query = "select next > strftime('%s') from onward_schedules"
        until(lambda: db.execute(query).fetchone()[0] == 1, within=PATIENCE, otherwise=lambda: "?")
        assert db.execute("select count(*) from onward_calls").fetchone() == (0,)
        db.execute("update onward_schedules set next = next - 70")
        until(lambda: db.execute(query).fetchone()[0] == 1, within=PATIENCE, otherwise=lambda: "?")
        for worker in workers:
            worker.stop()
        assert db.execute("select count(*) from onward_calls").fetchone() == (1,)
