"""Schedules: what is refused first, what reaches a backend, and that the suite sees to the rest."""

import asyncio
import zoneinfo
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import timedelta
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from returns.result import Failure, Success

from onward import (
    BadPayload,
    Cancels,
    Catalog,
    Misconfigured,
    Schedule,
    Schedules,
    Unknown,
    Unsupported,
    aio,
    pause_schedule,
    result,
    resume_schedule,
    schedule,
    schedules,
    status,
    task,
    unschedule,
)
from onward.observe import observed
from onward.otel import OpenTelemetry
from onward.plan import VERSION, Args, Plan, StepNode
from tests.unit import clockwork
from tests.unit.clockwork import Clockwork, RunsOverAnother
from tests.unit.third_party import Postal


@task
def inc(n: int) -> int:
    return n + 1


FLOW = (inc >> inc).named("twice")


@pytest.fixture
def clock() -> Iterator[Clockwork]:
    clock = Clockwork()
    yield clock
    clock.close()


# -- what a backend is handed -----------------------------------------------------------------


def test_a_schedule_is_no_submission_and_observers_leave_its_plan_as_it_is(
    clock: Clockwork,
) -> None:
    """Else each deploy would change it."""
    spans = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(spans))
    on = observed(clock, OpenTelemetry(provider))
    schedule(inc(1), on=on, name="n", cron="30 2 * * *").unwrap()
    assert clock.plans["n"].trace == {}
    assert spans.get_finished_spans() == ()


def test_a_cron_reaches_the_backend_with_its_time_zone(clock: Clockwork) -> None:
    made = schedule(inc(1), on=clock, name="n", cron=" 30 2 * *  MON ", timezone="Europe/Berlin")
    assert made == Success(Schedule("n", "inc", "30 2 * * MON", timezone="Europe/Berlin"))
    assert schedules(clock) == Success([made.unwrap()])


@pytest.mark.parametrize("every", [60, 60.0, timedelta(minutes=1)])
def test_an_interval_reaches_the_backend_in_seconds(
    clock: Clockwork, every: float | timedelta
) -> None:
    made = schedule(FLOW(1), on=clock, name="n", every=every).unwrap()
    assert (made.flow, made.cron, made.every) == ("twice", None, 60)
    assert type(made.every) is int


def test_overlap_and_catch_up_reach_the_backend() -> None:
    with closing(RunsOverAnother()) as clock:
        made = schedule(
            inc(1), on=clock, name="n", every=60, overlap="queue", catch_up=timedelta(hours=6)
        )
        assert made.map(lambda it: (it.overlap, it.catch_up)) == Success(("queue", 21600))
        plain = schedule(inc(1), on=clock, name="n", every=60).unwrap()
        assert (plain.overlap, plain.catch_up) == ("allow", None)


def test_the_plan_has_no_id_for_each_run_gets_its_own(clock: Clockwork) -> None:
    schedule(inc(1), on=clock, name="n", cron="0 0 1 1 *", queue="slow", priority=3).unwrap()
    plan = clock.plans["n"]
    assert (plan.id, plan.key, plan.deadline) == ("", None, None)
    assert (plan.queue, plan.priority) == ("slow", 3)
    worker = clock.serve(Catalog(inc)).unwrap()
    first, second = inc.ref(clock.strike("n")), inc.ref(clock.strike("n"))
    assert first != second
    for ref in (first, second):
        assert result(ref, on=clock) == Success(2)
        assert status(ref, on=clock).unwrap().state == "done"
    worker.stop()


def test_awaiting_does_the_same(clock: Clockwork) -> None:
    async def main() -> None:
        made = (await aio.schedule(inc(1), on=clock, name="n", cron="0 0 1 1 *")).unwrap()
        assert made == Schedule("n", "inc", "0 0 1 1 *")
        assert await aio.pause_schedule("n", on=clock) == Success(None)
        [paused] = (await aio.schedules(on=clock)).unwrap()
        assert paused.paused
        assert await aio.resume_schedule("n", on=clock) == Success(None)
        assert await aio.schedules(on=clock) == Success([made])
        assert await aio.unschedule("n", on=clock) == Success(None)
        assert isinstance((await aio.unschedule("n", on=clock)).failure(), Unknown)
        refused = await aio.schedule(inc(1), on=clock, name="n")
        assert isinstance(refused.failure(), Misconfigured)

    asyncio.run(main())
    assert schedules(clock) == Success([])


# -- what is refused before that --------------------------------------------------------------

WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "neither": ({}, "cron='30 2 * * *' or every=60: write one"),
    "both": ({"cron": "* * * * *", "every": 60}, "write one"),
    "a name with spaces": ({"name": "a b", "every": 60}, "write 'a_b'"),
    "no name": ({"name": "", "every": 60}, "a schedule's name is 1 to 200"),
    "a name that is no text": ({"name": 1, "every": 60}, "a schedule's name is a text"),
    "no interval": ({"every": 0}, "a whole number of seconds from 1 up, not 0"),
    "less than a second": ({"every": 0.5}, "a whole number of seconds"),
    "half seconds": ({"every": timedelta(seconds=1.5)}, "a whole number of seconds"),
    "backwards": ({"every": -60}, "every is from 0 seconds to ten years"),
    "for ever": ({"every": float("inf")}, "every is from 0 seconds to ten years"),
    "not a number": ({"every": float("nan")}, "every is from 0 seconds to ten years"),
    "an interval as a text": ({"every": "60"}, "every is a number of seconds"),
    "an interval of truth": ({"every": True}, "every is a number of seconds"),
    "an interval in a time zone": (
        {"every": 60, "timezone": "Europe/Berlin"},
        "only a schedule with cron",
    ),
    "a cron that is no text": ({"cron": 5}, "cron is a text"),
    "four fields": ({"cron": "* * * *"}, "five fields"),
    "six fields": ({"cron": "0 * * * * *"}, "five fields"),
    "a word": ({"cron": "@daily"}, "five fields"),
    "no cron at all": ({"cron": ""}, "five fields"),
    "a step without a number": ({"cron": "*/ * * * *"}, "five fields"),
    "an open range": ({"cron": "1- * * * *"}, "five fields"),
    "an open list": ({"cron": "1, * * * *"}, "five fields"),
    "Quartz's question mark": ({"cron": "0 0 1 * ?"}, "five fields"),
    "two lines": ({"cron": "0 0 1 *\n* 1"}, "five fields"),
    "other digits": ({"cron": "٣ * * * *"}, "five fields"),
    "days of both kinds": ({"cron": "0 0 13 * FRI"}, "some engines require both"),
    "no such time zone": ({"cron": "* * * * *", "timezone": "Mars/Olympus"}, "no time zone"),
    "a continent": ({"cron": "* * * * *", "timezone": "Europe"}, "no time zone"),
    "a path": ({"cron": "* * * * *", "timezone": "../../etc/passwd"}, "no time zone"),
    "a minute out of bounds": ({"cron": "60 * * * *"}, "Bad minute"),
    "a day that never comes": ({"cron": "0 0 31 2 *"}, "Bad day-of-month"),
    "tags as text": ({"every": 60, "tags": "nightly"}, "tags is a list of short texts"),
    "another overlap": ({"every": 60, "overlap": "drop"}, "one of 'allow', 'skip', 'queue', not"),
    "an overlap of a list": ({"every": 60, "overlap": ["skip"]}, "one of 'allow', 'skip'"),
    "no time to catch up": ({"every": 60, "catch_up": 0}, "a whole number of seconds from 10 up"),
    "half seconds to catch up": ({"every": 60, "catch_up": 10.5}, "a whole number of seconds"),
    "for ever to catch up": ({"every": 60, "catch_up": float("inf")}, "catch_up is from 0"),
    "an empty time zone": ({"cron": "* * * * *", "timezone": ""}, "no time zone"),
    "a time zone that is no text": ({"cron": "* * * * *", "timezone": None}, "timezone is a name"),
    "a priority out of bounds": ({"every": 60, "priority": 10}, "priority is from 0"),
    "an empty queue": ({"every": 60, "queue": ""}, "a queue's name"),
}


@pytest.mark.parametrize(("options", "said"), WRONG.values(), ids=WRONG)
def test_invalid_schedules_are_misconfigured(
    clock: Clockwork, options: dict[str, Any], said: str
) -> None:
    given: dict[str, Any] = {"name": "n", **options}
    fault = schedule(inc(1), on=clock, **given).failure()
    assert isinstance(fault, Misconfigured)
    assert fault.task == "inc"
    assert said in fault.message
    assert schedules(clock) == Success([])


@pytest.mark.parametrize(
    "cron", ["* * * * *", "*/15 9-17 * * 1-5", "0,30 0-12/2 1,15 JAN-MAR,12 *", "5 4 * * sun"]
)
def test_a_cron_of_the_usual_shape_is_taken(clock: Clockwork, cron: str) -> None:
    assert schedule(inc(1), on=clock, name="n", cron=cron).unwrap().cron == cron


def test_a_schedule_in_utc_takes_no_time_zone_database(
    clock: Clockwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(zoneinfo, "ZoneInfo", zoneinfo.ZoneInfoNotFoundError)
    assert schedule(inc(1), on=clock, name="n", cron="0 0 * * *").unwrap().timezone == "UTC"


def test_a_bad_argument_is_refused_before_anything_is_scheduled(clock: Clockwork) -> None:
    wrong: Any = "three"
    fault = schedule(inc(wrong), on=clock, name="n", every=60).failure()
    assert isinstance(fault, BadPayload)
    assert schedules(clock) == Success([])


def test_a_flow_is_no_call(clock: Clockwork) -> None:
    with pytest.raises(TypeError, match=r"inc is a flow, not a call: write inc\(\.\.\.\)"):
        schedule(inc, on=clock, name="n", every=60)  # type: ignore[arg-type]  # which is the point


BY_NAME = {"pause": pause_schedule, "resume": resume_schedule, "unschedule": unschedule}


@pytest.mark.parametrize("act", BY_NAME.values(), ids=BY_NAME)
def test_a_name_that_no_schedule_can_have_is_misconfigured(
    clock: Clockwork, act: Callable[[Any, Schedules], Any]
) -> None:
    for name in ("", "a b", 1):
        assert isinstance(act(name, clock).failure(), Misconfigured)
    assert isinstance(act("n", clock).failure(), Unknown)


# -- who can ----------------------------------------------------------------------------------

NEEDS: dict[str, Callable[[Any], object]] = {
    "schedule": lambda on: schedule(inc(1), on=on, name="n", every=60),
    "schedules": schedules,
    "pause_schedule": lambda on: pause_schedule("n", on),
    "resume_schedule": lambda on: resume_schedule("n", on),
    "unschedule": lambda on: unschedule("n", on),
    "aio.schedule": lambda on: asyncio.run(aio.schedule(inc(1), on=on, name="n", every=60)),
    "aio.schedules": lambda on: asyncio.run(aio.schedules(on)),
    "aio.pause_schedule": lambda on: asyncio.run(aio.pause_schedule("n", on)),
    "aio.resume_schedule": lambda on: asyncio.run(aio.resume_schedule("n", on)),
    "aio.unschedule": lambda on: asyncio.run(aio.unschedule("n", on)),
}


@pytest.mark.parametrize("needs", NEEDS.values(), ids=NEEDS)
def test_a_backend_without_a_clock_is_refused(needs: Callable[[Any], object]) -> None:
    backend = Postal()
    refused = needs(backend)
    assert isinstance(refused, Failure)
    fault = refused.failure()
    assert isinstance(fault, Unsupported)
    assert repr(backend) in fault.message
    with pytest.raises(TypeError, match=r"not a backend that can submit: write on=local\(\)"):
        needs("redis://localhost")


def test_a_backend_tells_what_it_can_by_isinstance(clock: Clockwork) -> None:
    assert isinstance(clock, Schedules)
    assert isinstance(clock, Cancels)
    post: object = Postal()
    assert isinstance(post, Cancels)
    assert not isinstance(post, Schedules)


# -- the wire ---------------------------------------------------------------------------------


def test_a_schedule_s_plan_is_a_plan_like_another(clock: Clockwork) -> None:
    schedule(inc(1), on=clock, name="n", every=60).unwrap()
    args = Args(inc(1).args.positional)  # type: ignore[union-attr]  # they were encoded
    assert clock.plans["n"] == Plan(v=VERSION, flow="inc", root=StepNode("inc"), args=args)


# -- the suite --------------------------------------------------------------------------------

SUBJECT = """
import pytest
from onward.testing import BackendSuite
from tests.unit import clockwork


class TestSubject(BackendSuite):
    patience = 2

    @pytest.fixture(scope="class")
    @classmethod
    def backend(cls, traces):
        subject = clockwork.{name}()
        worker = subject.serve(cls.catalog).unwrap()
        yield subject
        worker.stop()
        subject.close()
"""

ON_OVERLAPS = {
    "test_a_schedule_is_listed_as_it_was_declared",
    "test_the_runs_of_a_schedule_overlap_are_left_out_or_wait",
}

# Each broken backend, and the tests of the suite that must see it.
CAUGHT = {
    "Clockwork": set(),
    "KeepsTheFirst": {
        "test_declaring_a_schedule_again_replaces_it",
        "test_a_paused_schedule_stays_paused",
    },
    "WakesWhenDeclared": {"test_a_paused_schedule_stays_paused"},
    "RunsWhilePaused": {"test_a_paused_or_removed_schedule_runs_nothing"},
    "RunsOnWhenTakenAway": {"test_a_paused_or_removed_schedule_runs_nothing"},
    "RunsOverAnother": {"test_the_runs_of_a_schedule_overlap_are_left_out_or_wait"},
    "ForgetsTheOverlap": ON_OVERLAPS,
    "GivesOneId": {
        "test_each_run_of_a_schedule_is_a_call_of_its_own",
        "test_a_paused_or_removed_schedule_runs_nothing",
    },
}


@pytest.mark.parametrize("name", CAUGHT)
def test_the_suite_catches_a_broken_clock_and_passes_a_sound_one(
    pytester: pytest.Pytester, name: str
) -> None:
    pytester.makepyfile(SUBJECT.format(name=name))
    ended = pytester.runpytest_inprocess("-q", "-p", "no:cacheprovider", "-k", "schedule")
    reports = ended.reprec.getreports("pytest_runtest_logreport")  # type: ignore[attr-defined]  # in-process runs have it
    assert all(report.passed for report in reports if report.when != "call")
    called = [report for report in reports if report.when == "call"]
    assert len(called) == 8
    skipped = {each.nodeid.rpartition("::")[2] for each in called if each.skipped}
    overlaps = ON_OVERLAPS if getattr(clockwork, name).takes_all_runs else set()
    assert skipped == {"test_a_schedule_can_be_read_with_its_plan", *overlaps}
    assert {each.nodeid.rpartition("::")[2] for each in called if each.failed} == CAUGHT[name]
