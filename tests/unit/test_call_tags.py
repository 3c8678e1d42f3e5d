"""A call's tags travel in its plan, each one once and in their order."""

import pytest
from msgspec.structs import replace
from returns.result import Success

from onward import BadPayload, task
from onward.backend import Schedule, Submission
from onward.interpret.prepare import prepare, prepare_all
from onward.interpret.scheduling import prepare_schedule
from onward.plan import Plan, decode, encode


@task
def inc(n: int) -> int:
    return n + 1


@pytest.fixture
def plan() -> Plan:
    made = prepare(inc(1), None, 0.0, None, {}, ["customer 7", "über", "customer 7"])
    assert isinstance(made, Submission)
    return made.plan


def test_they_are_in_the_plan_that_travels(plan: Plan) -> None:
    assert plan.tags == ("customer 7", "über")
    assert decode(encode(plan)) == Success(plan)


def test_workers_of_the_first_release_read_a_plan_with_tags(plan: Plan) -> None:
    assert plan.v == 1


def test_many_calls_and_the_runs_of_a_schedule_have_them_too() -> None:
    many = prepare_all([inc(1), inc(2)], 0.0, None, {}, {"nightly"})
    assert isinstance(many, tuple)
    assert [each.plan.tags for each in many[1]] == [("nightly",), ("nightly",)]
    made = prepare_schedule(inc(1), "n", None, 60, "UTC", "allow", None, {}, ("nightly",))
    assert isinstance(made, tuple)
    assert isinstance(made[0], Schedule)
    assert made[1].plan.tags == ("nightly",)


@pytest.mark.parametrize("tags", [("",), ("a" * 101,), tuple(map(str, range(21)))])
def test_a_plan_with_tags_that_cannot_be_is_refused(plan: Plan, tags: tuple[str, ...]) -> None:
    fault = decode(encode(replace(plan, tags=tags))).failure()
    assert isinstance(fault, BadPayload)
    assert "not a valid plan" in fault.message
