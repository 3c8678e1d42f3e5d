"""How the command writes states and times, and checks a signal's name, without any engine."""

from datetime import UTC, datetime

import pytest

from onward import Signal, Status, awaits, task, together
from onward.cli.shown import text_of_status
from onward.fault import Fault
from onward.interpret.prepare import prepare
from onward.interpret.signals import unknown_signal
from onward.plan import Plan

UNTIL = datetime(2027, 3, 1, 9, 30, tzinfo=UTC)


@task
def inc(n: int) -> int:
    return n + 1


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (Status("queued"), "queued"),
        (Status("running", "fetch", "0", 2), "running   fetch at 0, attempt 2"),
        (
            Status("waiting", "fetch", "0", 1, limit="openai"),
            "waiting   fetch at 0: for its limit openai",
        ),
        (
            Status("waiting", "fetch", "0", 1, signal="approved"),
            "waiting   after fetch at 0: for the signal approved",
        ),
        (
            Status("waiting", "fetch", "0", 1, until=UNTIL),
            "waiting   after fetch at 0: until 2027-03-01 09:30:00 UTC",
        ),
        (Status("waiting", until=UNTIL), "waiting   until 2027-03-01 09:30:00 UTC"),
    ],
)
def test_a_status_is_one_line(status: Status, text: str) -> None:
    assert text_of_status(status) == text


def plan_of(flow: object) -> Plan:
    prepared = prepare(flow(1), None, 0.0, None, {})  # type: ignore[operator]  # any flow
    assert not isinstance(prepared, Fault)
    return prepared.plan


def test_a_plan_tells_which_signals_its_flow_waits_for() -> None:
    plan = plan_of(inc >> together(awaits(Signal("yes", int)), awaits(Signal("no", int))))
    assert unknown_signal(plan, "yes") is None
    assert unknown_signal(plan, "no") is None
    fault = unknown_signal(plan, "maybe")
    assert fault is not None
    assert fault.message == "the flow waits for no signal 'maybe': it waits for 'no', 'yes'"
    none = unknown_signal(plan_of(inc >> inc), "yes")
    assert none is not None
    assert none.message == "the flow waits for no signal 'yes': it has none"
