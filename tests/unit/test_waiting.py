"""`sleep`, `awaits` and `send`: how they are defined, and what they do in this process."""

import copy
import pickle  # noqa: TID251  # our own bytes
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from queue import Queue
from typing import Any

import pytest
from returns.result import Failure, Success

from onward import (
    BadPayload,
    Cancelled,
    Conflict,
    Expired,
    Fault,
    Flow,
    Misconfigured,
    Signal,
    Signals,
    Unanswered,
    Unknown,
    Unsupported,
    awaits,
    cancel,
    check,
    current,
    each,
    fused,
    identity,
    keep,
    local,
    result,
    run,
    send,
    sleep,
    spread,
    status,
    submit,
    submit_all,
    task,
    together,
)
from onward.backend.features import lacking
from onward.plan import AwaitsNode, ChainNode, Plan, SleepNode
from tests.unit.third_party import Postal


@dataclass(frozen=True)
class Decision:
    approved: bool
    by: str


DECISION = Signal("decision", Decision)
YES = Decision(True, "ann")


@dataclass(frozen=True)
class Order:
    amount: int


@task
def order(amount: int) -> Order:
    return Order(amount)


@task
def book(booked: Order, decision: Decision) -> str:
    return f"{booked.amount} {decision.approved}"


@task
def give_up(error: Unanswered | Fault) -> Decision:
    assert isinstance(error, Unanswered)
    return Decision(False, f"nobody in {error.seconds:g} s")


APPROVAL = order >> keep(awaits(DECISION)) >> spread(book)


# -- definition ------------------------------------------------------------------------------------


@pytest.mark.parametrize("delay", [-1, float("nan"), float("inf"), timedelta(days=4000)])
def test_a_wait_is_neither_negative_nor_endless(delay: Any) -> None:
    with pytest.raises(ValueError, match="ten years"):
        sleep(delay)
    with pytest.raises(ValueError, match="ten years"):
        awaits(DECISION, timeout=delay)


@pytest.mark.parametrize("delay", ["soon", None, True])
def test_a_wait_is_a_number_of_seconds(delay: Any) -> None:
    with pytest.raises(TypeError, match="number of seconds"):
        sleep(delay)


def test_a_signal_is_named_like_a_task_and_its_values_can_travel() -> None:
    with pytest.raises(ValueError, match="no spaces"):
        Signal("a decision", Decision)
    with pytest.raises(TypeError, match="cannot travel"):
        Signal("decision", object)
    name: Any = "decision"
    with pytest.raises(TypeError, match=r"write Signal\(name, type\)"):
        awaits(name)


def test_two_signals_of_one_name_and_two_types_are_refused_where_they_meet() -> None:
    other = awaits(Signal("decision", int))
    for compose in (
        lambda: order >> awaits(DECISION) >> other,
        lambda: order >> (awaits(DECISION) >> other),
        lambda: together(order >> awaits(DECISION), other),
        lambda: keep(awaits(DECISION)) >> tee_of(other),
    ):
        with pytest.raises(ValueError, match="two signals are named 'decision', one with Decision"):
            compose()
    _ = order >> awaits(DECISION) >> awaits(Signal("decision", Decision))


def tee_of(step: Any) -> Any:
    return identity >> keep(step)


def test_one_delivery_cannot_hold_a_wait() -> None:
    with pytest.raises(TypeError, match="wait before or after it"):
        fused(order >> sleep(1))
    with pytest.raises(TypeError, match="wait before or after it"):
        each(order >> awaits(DECISION), chunk=10)
    _ = each(order >> awaits(DECISION), limit=10)


def test_signals_and_waits_are_values() -> None:
    assert DECISION == Signal("decision", Decision) != Signal("decision", Order)
    for value in (DECISION, awaits(DECISION)):
        assert copy.copy(value) == pickle.loads(pickle.dumps(value)) == value
    assert sleep(60) == sleep(timedelta(minutes=1)) != sleep(61)
    assert awaits(DECISION) != awaits(DECISION, timeout=5)
    assert hash(sleep(60)) == hash(sleep(60.0))
    with pytest.raises(AttributeError):
        DECISION.name = "other"  # type: ignore[misc]  # it is frozen


def test_they_travel_and_are_shown() -> None:
    flow = order >> sleep(90) >> awaits(DECISION, timeout=timedelta(hours=1))
    assert flow.node == ChainNode((order.node, SleepNode(90), AwaitsNode("decision", 3600)))
    assert flow.name == "order >> sleep(90) >> awaits(decision, timeout=3600)"


def test_a_sleep_in_front_takes_what_the_next_step_takes() -> None:
    late = sleep(0) >> given_order
    assert run(late(Order(3)), on=local()) == Success(3)
    with pytest.raises(TypeError, match="one value"):
        late(Order(3), 4)  # type: ignore[call-arg]  # it takes one value
    wrong: Any = "order"
    assert isinstance(run(late(wrong), on=local()).failure(), BadPayload)
    with pytest.raises(TypeError, match="takes one value"):
        spread(sleep(1).named("pause"))  # type: ignore[arg-type]  # it takes one value


@task
def given_order(order: Order, times: int = 1) -> int:
    return order.amount * times


# -- sleep -----------------------------------------------------------------------------------------


def test_a_sleep_gives_its_input_after_its_delay() -> None:
    begin = datetime.now(UTC)
    flow = order >> sleep(0.2) >> together(given_order, sleep(0) >> given_order)
    assert run(flow(3), on=local()) == Success((3, 3))
    assert datetime.now(UTC) - begin >= timedelta(seconds=0.2)


def test_its_value_is_read_as_the_type_of_the_step_before() -> None:
    assert run((order >> sleep(0))(3), on=local()) == Success(Order(3))
    assert run((order >> sleep(0) >> keep(sleep(0)))(3), on=local()).unwrap()[0] == Order(3)
    with pytest.raises(TypeError, match="does not fit"):
        order >> sleep(0) >> order  # type: ignore[operator]  # on purpose


def test_sleepers_take_no_slot() -> None:
    backend = local(workers=1)
    asleep = submit_all([(order >> sleep(600))(n) for n in range(1000)], on=backend).unwrap()
    assert run(order(1), on=backend, timeout=120) == Success(Order(1))
    assert {status(ref, on=backend).unwrap().state for ref in asleep} <= {"running", "waiting"}
    backend.close()


# -- awaits ----------------------------------------------------------------------------------------


def waiting(flow: Flow[[int], Any, Any], backend: Any) -> Any:
    ref = submit(flow(5), on=backend).unwrap()
    while status(ref, on=backend).unwrap().state != "waiting":
        assert not status(ref, on=backend).unwrap().settled
    return ref


def test_status_says_what_a_call_waits_for() -> None:
    backend = local()
    now = status(waiting(APPROVAL, backend), on=backend).unwrap()
    assert (now.state, now.signal, now.until, now.settled) == ("waiting", "decision", None, False)
    asleep = status(waiting(order >> sleep(600), backend), on=backend).unwrap()
    assert asleep.signal == ""
    assert asleep.until is not None
    assert timedelta(seconds=500) < asleep.until - datetime.now(UTC) <= timedelta(seconds=600)
    timed = status(waiting(order >> awaits(DECISION, timeout=60), backend), on=backend).unwrap()
    assert timed.signal == "decision"
    assert timed.until is not None
    backend.close()


def test_the_sender_is_told_what_is_wrong_with_a_signal() -> None:
    backend = local()
    assert isinstance(backend, Signals)
    ref = waiting(APPROVAL, backend)
    wrong: Any = "yes"
    bad = send(ref, DECISION, wrong, on=backend).failure()
    assert isinstance(bad, BadPayload)
    assert "decision" in str(bad)
    other = send(ref, Signal("decision", int), 1, on=backend).failure()
    assert isinstance(other, BadPayload)
    nobody = send(ref, Signal("decison", Decision), YES, on=backend).failure()
    assert isinstance(nobody, Misconfigured)
    assert "it waits for 'decision'" in str(nobody)
    with pytest.raises(TypeError, match="send takes a Signal"):
        send(ref, wrong, YES, on=backend)
    unknown = send(APPROVAL.ref("0" * 32), DECISION, YES, on=backend).failure()
    assert isinstance(unknown, Unknown)
    assert send(ref, DECISION, YES, on=backend) == Success(None)
    assert result(ref, on=backend) == Success("5 True")


def test_a_call_that_run_waits_for_can_be_signalled() -> None:
    backend, flow = local(), ask >> awaits(DECISION)
    with ThreadPoolExecutor() as threads:
        running = threads.submit(run, flow(1), on=backend)
        ref = flow.ref(ASKED.get())
        assert send(ref, DECISION, YES, on=backend) == Success(None)
        assert running.result() == Success(YES)


ASKED: Queue[str] = Queue()


@task
def ask(n: int) -> None:
    ASKED.put(current().id)


def test_a_timeout_is_an_error_that_a_rescue_takes() -> None:
    late = order >> awaits(DECISION, timeout=0.01)
    assert run(late(1), on=local()) == Failure(Unanswered("decision", 0.01))
    told = late.rescue(give_up)
    assert run(told(1), on=local()) == Success(Decision(False, "nobody in 0.01 s"))
    with pytest.raises(TypeError, match="does not take Unanswered"):
        late.rescue(forgets)  # type: ignore[arg-type]  # on purpose


@task
def forgets(error: Fault) -> Decision:
    return YES


def test_cancel_and_deadline_end_a_wait() -> None:
    backend = local()
    ref = waiting(APPROVAL, backend)
    cancel(ref, on=backend)
    assert isinstance(result(ref, on=backend).failure(), Cancelled)
    assert isinstance(send(ref, DECISION, YES, on=backend).failure(), Conflict)
    late = run(APPROVAL(1), on=backend, deadline=0.05)
    assert isinstance(late.failure(), Expired)


# -- backends that cannot --------------------------------------------------------------------------


def test_a_backend_that_does_not_say_that_it_can_wait_gets_no_such_call() -> None:
    backend = Postal()
    for found in (
        run(APPROVAL(1), on=backend),
        submit((order >> sleep(1))(1), on=backend),
        submit_all([(order >> sleep(1))(n) for n in range(2)], on=backend),
    ):
        assert isinstance(found.failure(), Unsupported)
    both = check((order >> sleep(1) >> awaits(DECISION))(1), on=backend)
    assert [type(fault) for fault in both.failure()] == [Unsupported, Unsupported]
    assert backend.sent == []
    sent: Any = backend
    assert isinstance(send(APPROVAL.ref("x"), DECISION, YES, on=sent).failure(), Unsupported)


def test_a_backend_says_why_it_cannot() -> None:
    class Short:
        lacks = {"sleep": "it forgets"}  # noqa: RUF012

        def __repr__(self) -> str:
            return "short()"

    plan = Plan(v=2, flow="f", root=(order >> sleep(1) >> awaits(DECISION)).node)
    assert lacking(Short(), plan) == [Unsupported("f", "short() cannot run sleep: it forgets")]
