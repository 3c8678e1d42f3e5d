"""When a schedule runs, on a clock that the tests give: cron, missed runs, overlaps."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given as each_of
from hypothesis import strategies as st
from msgspec.structs import replace

from onward import Schedule
from onward.backend.schedules import (
    CATCH_UP,
    MOST_WAITING,
    Timing,
    advance,
    begin,
    change,
    next_after,
)

BERLIN = "Europe/Berlin"


def at(text: str, zone: str = "UTC") -> float:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp()


def cron(text: str, zone: str = "UTC") -> Schedule:
    return Schedule("n", "report", cron=text, timezone=zone)


def times(schedule: Schedule, after: str, before: str) -> list[str]:
    """The times between two moments of a schedule's time zone, with the offset from UTC."""
    zone = ZoneInfo(schedule.timezone)
    moment, end = at(after, schedule.timezone), at(before, schedule.timezone)
    found: list[str] = []
    while (due := next_after(schedule, moment)) is not None and due < end:
        found.append(datetime.fromtimestamp(due, zone).strftime("%d %H:%M %z"))
        moment = due
    return found


# -- cron -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "after", "zone", "expected"),
    [
        ("* * * * *", "2026-01-01 00:00:30", "UTC", "2026-01-01 00:01"),
        ("* * * * *", "2026-01-01 00:01:00", "UTC", "2026-01-01 00:02"),
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
    ],
)
def test_a_cron_comes_true(text: str, after: str, zone: str, expected: str) -> None:
    assert next_after(cron(text, zone), at(after)) == at(expected)


@pytest.mark.parametrize(
    "text", ["60 * * * *", "* * 0 * *", "*/0 * * * *", "5-1 * * * *", "0 0 31 2 *"]
)
def test_an_invalid_cron_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="cron"):
        next_after(cron(text), 0.0)


@each_of(st.floats(1_577_836_800, 1_893_456_000))
def test_a_schedule_s_next_time_is_later(moment: float) -> None:
    for zone in ("UTC", BERLIN, "Australia/Lord_Howe"):
        for text in ("*/7 */5 * * *", "30 2 * * *", "59 1,2 * * *"):
            found = next_after(cron(text, zone), moment)
            assert found is not None
            assert found > moment


# -- the nights when the clocks change ----------------------------------------------------------
# In Berlin they go from 2:00 to 3:00 on 29 March 2026, and from 3:00 to 2:00 on 25 October 2026.


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("30 2 * * *", ["28 02:30 +0100", "29 03:00 +0200", "30 02:30 +0200"]),
        (
            "0,30 2 * * *",
            [
                "28 02:00 +0100",
                "28 02:30 +0100",
                "29 03:00 +0200",
                "30 02:00 +0200",
                "30 02:30 +0200",
            ],
        ),
        ("30 1,3 29 * *", ["29 01:30 +0100", "29 03:30 +0200"]),
        ("*/30 2 29 * *", []),
        (
            "30 * 29 3 *",
            [f"29 {hour:02}:30 +0{1 if hour < 2 else 2}00" for hour in range(24) if hour != 2],
        ),
    ],
)
def test_a_time_in_the_skipped_hour_counts_as_the_end_of_that_hour(
    text: str, expected: list[str]
) -> None:
    """A cron that begins with * in the minute or hour goes by the time that passes."""
    assert times(cron(text, BERLIN), "2026-03-28 00:00", "2026-03-31 00:00") == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("30 2 * * *", ["24 02:30 +0200", "25 02:30 +0200", "26 02:30 +0100"]),
        ("0 2,3 25 * *", ["25 02:00 +0200", "25 03:00 +0100"]),
        ("*/30 2 25 * *", ["25 02:00 +0200", "25 02:30 +0200", "25 02:00 +0100", "25 02:30 +0100"]),
    ],
)
def test_a_time_in_the_repeated_hour_counts_once(text: str, expected: list[str]) -> None:
    assert times(cron(text, BERLIN), "2026-10-24 00:00", "2026-10-27 00:00") == expected


def test_a_schedule_that_begins_in_the_second_pass_of_an_hour_waits_for_the_next_day() -> None:
    second = datetime(2026, 10, 25, 2, 10, fold=1, tzinfo=ZoneInfo(BERLIN)).timestamp()
    assert next_after(cron("30 2 * * *", BERLIN), second) == at("2026-10-26 02:30", BERLIN)


def test_an_interval_takes_no_notice_of_the_clocks() -> None:
    hourly = Schedule("n", "report", every=3600)
    assert next_after(hourly, at("2026-03-29 01:30", BERLIN)) == at("2026-03-29 03:30", BERLIN)


# -- missed runs ------------------------------------------------------------------------------


def never_open(id: str) -> bool:
    return False


@pytest.mark.parametrize("catch_up", [None, 60, 3600])
def test_a_run_is_made_up_for_as_long_as_the_schedule_says(catch_up: int | None) -> None:
    schedule = Schedule("n", "report", every=60, catch_up=catch_up)
    latest = catch_up or CATCH_UP
    calls, timing = advance(schedule, Timing(60.0), 60.0 + latest, never_open)
    assert len(calls) == latest / 60 + 1
    assert timing.next_at == 60.0 + latest + 60
    assert timing.last == calls[-1]
    calls, timing = advance(schedule, Timing(60.0), 61.0 + latest, never_open)
    assert len(calls) == latest / 60
    assert timing.next_at == 60.0 + latest + 60


def test_missed_runs_of_a_cron_are_made_up_too() -> None:
    """Also over the night when an hour is skipped."""
    nightly = Schedule("n", "report", cron="30 2 * * *", timezone=BERLIN, catch_up=3 * 86400)
    timing = Timing(at("2026-03-20 02:30", BERLIN))
    calls, timing = advance(nightly, timing, at("2026-03-31 00:00", BERLIN), never_open)
    assert len(calls) == 3
    assert timing.next_at == at("2026-03-31 02:30", BERLIN)


def test_of_very_many_missed_runs_each_look_makes_a_part() -> None:
    schedule = Schedule("n", "report", every=1, catch_up=86400)
    timing, made, looks = Timing(1.0), set[str](), 0
    while timing.next_at is not None and timing.next_at <= 3000.0:
        calls, timing = advance(schedule, timing, 3000.0, never_open)
        made.update(calls)
        looks += 1
    assert (len(made), looks) == (3000, 3)


def test_the_time_of_a_run_says_its_id() -> None:
    schedule = Schedule("n", "report", every=60)
    once, _ = advance(schedule, Timing(60.0), 60.0, never_open)
    again, _ = advance(schedule, Timing(60.0), 75.0, never_open)
    other, _ = advance(Schedule("m", "report", every=60), Timing(60.0), 60.0, never_open)
    later, _ = advance(schedule, Timing(120.0), 120.0, never_open)
    assert once == again
    assert len({*once, *other, *later}) == 3


def test_a_schedule_that_is_not_due_makes_nothing() -> None:
    schedule = Schedule("n", "report", every=60)
    timing = begin(schedule, 1000.0, "before")
    assert timing == Timing(1060.0, (), "before")
    assert advance(schedule, timing, 1059.9, never_open) == ([], timing)


# -- overlaps -----------------------------------------------------------------------------------


def run_for(schedule: Schedule, seconds: int, length: int) -> list[int]:
    """When the calls of a schedule start that begins at 0 and whose runs take `length` seconds."""
    began: dict[str, int] = {}
    timing = begin(schedule, 0.0)
    for now in range(seconds + 1):

        def is_open(id: str, now: int = now) -> bool:
            return now < began[id] + length

        calls, timing = advance(schedule, timing, float(now), is_open)
        began.update(dict.fromkeys(calls, now))
    return sorted(began.values())


def test_runs_overlap_are_left_out_or_wait() -> None:
    """In 60 seconds six runs are due, and each takes 25."""
    schedule = Schedule("n", "report", every=10)
    assert run_for(schedule, 60, 25) == [10, 20, 30, 40, 50, 60]
    skipping = Schedule("n", "report", every=10, overlap="skip")
    assert run_for(skipping, 60, 25) == [10, 40]
    queueing = Schedule("n", "report", every=10, overlap="queue")
    assert run_for(queueing, 60, 25) == [10, 35, 60]
    assert run_for(queueing, 60, 5) == [10, 20, 30, 40, 50, 60]


def test_a_queue_of_runs_has_an_end() -> None:
    schedule = Schedule("n", "report", every=1, overlap="queue", catch_up=86400)
    _, timing = advance(schedule, Timing(1.0, (), "running"), 1e4, lambda id: True)
    _, timing = advance(schedule, timing, 1e4, lambda id: True)
    assert len(timing.waiting) == MOST_WAITING


def test_of_missed_runs_a_schedule_that_skips_makes_one() -> None:
    schedule = Schedule("n", "report", every=60, overlap="skip", catch_up=3600)
    calls, timing = advance(schedule, Timing(60.0), 1800.0, never_open)
    assert len(calls) == 1
    assert timing.waiting == ()
    assert timing.next_at == 1860.0


def test_a_schedule_that_begins_again_forgets_the_runs_that_wait() -> None:
    """When it was paused, for example. It still waits for the run that has not ended."""
    schedule = Schedule("n", "report", every=60, overlap="queue")
    _, timing = advance(schedule, Timing(60.0, (), "running"), 61.0, lambda id: True)
    assert timing.waiting == (60.0,)
    begun = begin(schedule, 100.0, timing.last)
    assert begun == Timing(160.0, (), "running")
    assert advance(schedule, begun, 160.0, lambda id: id == "running")[0] == []


def test_a_schedule_that_is_declared_again_begins_anew_only_if_its_times_are_others() -> None:
    before = Schedule("n", "report", every=3600, overlap="queue")
    timing = Timing(5000.0, (1400.0,), "running")
    again = replace(before, flow="report_v2", catch_up=7200)
    assert change(again, before, timing, 2000.0) == timing
    assert change(replace(before, overlap="skip"), before, timing, 2000.0) == Timing(
        5000.0, (), "running"
    )
    assert change(replace(before, every=60), before, timing, 2000.0) == Timing(
        2060.0, (), "running"
    )
    nightly = cron("30 2 * * *", BERLIN)
    moved = replace(nightly, timezone="UTC")
    due = begin(nightly, at("2026-01-01 00:00"))
    assert change(moved, nightly, due, at("2026-01-01 00:00")).next_at == at("2026-01-01 02:30")


def test_a_cron_s_time_is_the_same_wherever_one_looks_from() -> None:
    schedule = cron("*/5 * * * *", BERLIN)
    start = datetime(2026, 10, 25, 0, 0, tzinfo=UTC)
    found = {
        next_after(schedule, (start + timedelta(seconds=seconds)).timestamp())
        for seconds in range(0, 3 * 3600, 20)
    }
    assert len(found) == 36
