"""Flows are frozen values, compared by structure, and linear in the length of a chain."""

import copy
import gc
import sys
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, TypeAlias, cast

import pytest
from hypothesis import given as when
from msgspec import Raw
from returns.result import Failure, Success

from onward import (
    BadPayload,
    Call,
    Constant,
    Exponential,
    Fault,
    Retry,
    case,
    each,
    explain,
    fixed,
    fused,
    given,
    identity,
    keep,
    local,
    plan,
    run,
    spread,
    task,
    tee,
    together,
)
from onward.flows.flow import AnyFlow
from onward.outcome import Value
from onward.plan import VERSION, Args, Plan
from onward.testing import choices, flows
from onward.testing import tasks as testing_tasks


@dataclass(frozen=True)
class Row:
    name: str
    price: Decimal


@task
def inc(n: int) -> int:
    return n + 1


@task
async def double(n: int) -> int:
    return 2 * n


@task
def add(n: int, by: int, times: float = 1.0) -> int:
    return n + int(by * times)


@task
def instead(error: Fault) -> int:
    return -1


@task
def refund(failed: tuple[int, Fault]) -> int:
    return failed[0]


@task
def label(n: int, rows: list[Row], tags: frozenset[str] = frozenset()) -> int:
    return n + len(rows)


@task(retry=Retry(attempts=2, backoff=Exponential(0.5, factor=3), on=(OSError,)), queue="db")
def careful(n: int) -> int:
    return n


KINDS: dict[str, AnyFlow] = {
    "task": inc,
    "task of its own policy": careful,
    "task with another policy": inc.with_(timeout=3, retry=Retry(attempts=5), priority=1),
    "task with a policy taken away": careful.with_(retry=None, queue=None),
    "task with chosen exceptions": inc.with_(
        retry=Retry(backoff=Constant(2.0), on=(OSError, ValueError), never=(FileNotFoundError,))
    ),
    "given": given(add, 2),
    "given by name": given(add, times=2.5, by=3),
    "given values": given(label, [Row("a", Decimal("1.5"))], tags=frozenset({"x"})),
    "given nothing": given(inc),
    "chain": inc >> double >> inc,
    "chain of givens": given(add, 1) >> given(add, 2),
    "together": together(inc, identity, double >> inc),
    "each": each(inc),
    "each with limits": each(inc >> double, limit=3, chunk=2),
    "rescue": inc.rescue(instead),
    "rescue of a chain": (inc >> double).rescue(instead),
    "rescue in a chain": inc >> double.rescue(instead) >> inc,
    "rescue of a rescue": inc.rescue(instead).rescue(instead),
    "rescue with its input": (inc >> double).rescue(refund, with_input=True) >> inc,
    "fused": fused(inc >> double),
    "fused with a policy": fused(inc, retry=Retry(attempts=2), timeout=1.5, queue="q", priority=0),
    "named": inc.named("more"),
    "named chain": (inc >> double).named("more") >> inc,
    "keep": keep(inc >> double),
    "tee": tee(inc) >> double,
    "spread": keep(inc) >> spread(add >> double),
    "fixed": inc >> fixed(add, 1, times=2.5, by=3),
    "fixed values": fixed(label, 1, [Row("a", Decimal("1.5"))], tags=frozenset({"x"})),
    "case": case(int, inc >> double).case(str, identity).case(None, fixed(add, 1, by=3)),
    "identity": identity,
    "all of them": together(
        given(add, 2) >> fused(inc.rescue(instead).named("inner"), timeout=2.5), identity
    ).named("outer"),
}
"""Flows of every kind; each is written as its repr has to read, but for the values of `given`."""

kinds = pytest.mark.parametrize("flow", KINDS.values(), ids=KINDS)


def rebuilt(value: object) -> Any:
    """What the text of a value makes, in a program that has imported what it names."""
    return eval(repr(value), dict(globals()))


@kinds
def test_a_flow_is_frozen(flow: AnyFlow) -> None:
    for name in ("name", "body", "depth", "whatever", "__class__"):
        with pytest.raises(AttributeError):
            setattr(flow, name, None)
        with pytest.raises(AttributeError):
            delattr(flow, name)


@kinds
def test_a_flow_is_slotted(flow: AnyFlow) -> None:
    assert not hasattr(flow, "__dict__")


@pytest.mark.parametrize(
    "flow",
    [flow for flow in KINDS.values() if "..." not in repr(flow)],
)
def test_a_flow_reads_like_the_code_that_made_it(flow: AnyFlow) -> None:
    again = rebuilt(flow)
    assert again == flow
    assert hash(again) == hash(flow)
    assert again.node == flow.node


@kinds
def test_a_flow_equals_its_copies_and_nothing_else(flow: AnyFlow) -> None:
    assert copy.copy(flow) == flow
    assert copy.deepcopy({"a flow": flow}) == {"a flow": flow}
    assert [other for other in KINDS.values() if other == flow] == [flow]
    other: object = repr(flow)
    assert flow != other


def test_a_flow_shows_which_arguments_it_is_given_and_no_value_of_them() -> None:
    assert repr(given(add, 2)) == "given(add, ...)"
    assert repr(given(add, times=2.5, by=3)) == "given(add, times=..., by=...)"
    assert repr(given(inc)) == "given(inc)"
    assert (given(add, 2) >> inc).name == "given(add, ...) >> inc"
    assert repr(given(add, 2)(7)) == "given(add, ...)(7)"


@when(flows().filter(lambda flow: "..." not in repr(flow)))
def test_any_flow_reads_like_the_code_that_made_it(flow: AnyFlow) -> None:
    again = eval(repr(flow), {**globals(), **vars(testing_tasks), **vars(choices)})
    assert again == flow
    assert hash(again) == hash(flow)


def test_a_flow_differs_by_each_of_its_parts() -> None:
    variants: list[AnyFlow] = [
        inc >> double,
        double >> inc,
        inc >> inc,
        (inc >> double).named("a"),
        (inc >> double).named("b"),
        fused(inc >> double),
        fused(inc >> double, timeout=1),
        each(inc >> double),
        each(inc >> double, limit=1),
        each(inc >> double, chunk=1),
        together(inc, double),
        together(double, inc),
        inc.rescue(instead),
        given(add, 1),
        given(add, 2),
        given(add, by=1),
    ]
    assert len(set(variants)) == len(variants)


def test_chains_are_equal_however_they_were_grouped() -> None:
    left, right = (inc >> double) >> (inc >> inc), inc >> (double >> (inc >> inc))
    assert left == right
    assert hash(left) == hash(right)
    assert repr(left) == repr(right) == "inc >> double >> inc >> inc"
    assert left.node == right.node


def test_identity_vanishes_in_a_chain() -> None:
    assert inc >> identity == inc
    assert identity >> inc == inc
    assert identity >> identity == identity


def test_equal_arguments_make_equal_flows() -> None:
    some, other = frozenset({"a", "b", "c", "d"}), frozenset({"d", "c", "b", "a"})
    assert given(label, [], some) == given(label, [], other)
    assert given(add, 1, 2) == given(add, 1, 2.0)


@pytest.mark.parametrize(
    "call",
    [
        inc(1),
        add(1, by=2, times=0.5),
        label(1, [Row("a", Decimal(2))]),
        (inc >> double)(1),
        inc.rescue(instead)(1),
        each(inc)([1, 2]),
        identity("x"),
        together(inc, double)(1),
    ],
    ids=repr,
)
def test_a_call_is_a_value_that_reads_like_its_code(call: Call[object, object]) -> None:
    assert rebuilt(call) == call
    assert hash(rebuilt(call)) == hash(call)
    assert copy.deepcopy(call) == call
    with pytest.raises(AttributeError):
        call.flow = inc  # type: ignore[misc]  # which is what is tried


def test_calls_differ_by_flow_and_arguments() -> None:
    calls: set[Call[object, object]] = {inc(1), inc(2), double(1), (inc >> inc)(1), inc(n=1)}
    assert len(calls) == 5
    assert inc(1) in calls


def test_a_ref_is_a_value_whose_text_another_process_takes_up() -> None:
    ref = inc.ref("abc")
    assert str(ref) == "abc"
    assert inc.ref(str(ref)) == ref
    assert ref != double.ref("abc")
    assert len({ref, inc.ref("abc")}) == 1


def test_arguments_are_taken_when_the_call_is_made() -> None:
    rows = [Row("a", Decimal(1))]
    call = label(0, rows)
    rows.append(Row("b", Decimal(2)))
    assert run(call, on=local()) == Success(1)


def test_a_given_value_is_taken_when_it_is_given() -> None:
    rows = [Row("a", Decimal(1))]
    flow = given(label, rows)
    rows.clear()
    assert run(flow(0), on=local()) == Success(1)


def test_a_wrong_argument_is_reported_when_the_call_is_run() -> None:
    call = add(1, cast(int, "two"))
    assert call.args == BadPayload("add", "Expected `int`, got `str`", "$.by")
    assert run(call, on=local()) == Failure(call.args)


def test_a_named_flow_goes_by_its_name() -> None:
    assert (inc >> double).named("more").name == "more"
    assert (inc >> double).name == "inc >> double"


def test_the_name_of_a_long_flow_is_cut() -> None:
    assert len(chain(1000).name) == 100
    assert chain(1000).name.endswith("...")


def test_two_functions_under_one_name_are_refused_together() -> None:
    other = task(name="inc")(double.fn)
    for flow in (inc >> other, together(inc, other), inc.rescue(task(name="inc")(instead.fn))):
        with pytest.raises(ValueError, match="two tasks are named 'inc'"):
            flow.named("both")
        fault = run(cast(AnyFlow, flow)(1), on=local()).failure()
        assert "two tasks are named 'inc'" in fault.message


def test_one_task_may_stand_twice_with_two_policies() -> None:
    flow = inc >> inc.with_(timeout=5) >> inc.with_(queue="other")
    assert run(flow(1), on=local()) == Success(4)


def test_with_reaches_every_task_of_a_flow() -> None:
    flow = (inc >> together(double, given(add, 1)) >> each(inc.rescue(instead))).named("all")
    changed = flow.with_(queue="slow")
    assert {each.policy.queue for each in changed.tasks.values()} == {"slow"}
    assert {each.policy.queue for each in flow.tasks.values()} == {None}
    assert changed.with_(queue=None) == flow


WRAPS: dict[str, Callable[[AnyFlow], AnyFlow]] = {
    "fused": fused,
    "named": lambda flow: flow.named("inner"),
    "each": lambda flow: each(flow, chunk=1),
    "together": lambda flow: together(identity, flow),
    "rescue": lambda flow: flow.rescue(instead),
    "rescue with its input": lambda flow: flow.rescue(refund, with_input=True),
    "given": given,
    "keep": keep,
    "tee": tee,
    "fixed": lambda flow: fixed(flow, 1),
    "case": lambda flow: case(int, flow).case(str, identity),
}


@pytest.mark.parametrize("wrap", WRAPS.values(), ids=WRAPS)
def test_flows_nest_so_deep_and_no_deeper(wrap: Callable[[AnyFlow], AnyFlow]) -> None:
    deepest: AnyFlow = inc
    for _ in range(plan.MAX_DEPTH - 1):
        deepest = wrap(deepest)
    with pytest.raises(ValueError, match="flows nest at most 32 deep"):
        wrap(deepest)
    assert plan.decode(plan.encode(travelled(deepest))) == Success(travelled(deepest))


# -- long chains ------------------------------------------------------------------------------


def chain(count: int) -> AnyFlow:
    """Grouped to the left, as `a >> b >> c` is."""
    flow: AnyFlow = inc
    for _ in range(count - 1):
        flow = flow >> inc
    return flow


def chain_to_the_right(count: int) -> AnyFlow:
    flow: AnyFlow = inc
    for _ in range(count - 1):
        flow = inc >> flow
    return flow


def chain_of_halves(count: int) -> AnyFlow:
    if count == 1:
        return inc
    return chain_of_halves(count // 2) >> chain_of_halves(count - count // 2)


def travelled(flow: AnyFlow) -> Plan:
    return Plan(v=VERSION, flow="long", root=flow.node, args=Args((Raw(b"0"),)))


Prepare: TypeAlias = Callable[[int], Callable[[], object]]

OPERATIONS: dict[str, Prepare] = {
    "building to the left": lambda n: lambda: chain(n),
    "building to the right": lambda n: lambda: chain_to_the_right(n),
    "joining halves": lambda n: lambda: chain_of_halves(n),
    "comparing": lambda n: both(n, lambda one, other: one == other),
    "hashing": lambda n: one(n, hash),
    "repr": lambda n: one(n, repr),
    "name": lambda n: one(n, lambda flow: flow.name),
    "with_": lambda n: one(n, lambda flow: flow.with_(timeout=3)),
    "named": lambda n: one(n, lambda flow: flow.named("long")),
    "compiling": lambda n: one(n, lambda flow: flow.node),
    "calling": lambda n: one(n, lambda flow: flow(0)),
    "encoding": lambda n: one(n, lambda flow: plan.encode(travelled(flow))),
    "decoding": lambda n: encoded(n, plan.decode),
    "explaining": lambda n: one(n, explain),
    "drawing": lambda n: one(n, lambda flow: explain(flow, form="mermaid")),
    "running": lambda n: one(n, lambda flow: run(flow(0), on=local())),
    "reading": lambda n: one(n, lambda flow: flow.read(Value(Raw(b"1")))),
    "reading what was passed on": lambda n: passing(n, lambda flow: flow.read(Value(Raw(b"1")))),
    "copying": lambda n: one(n, copy.deepcopy),
}


def one(count: int, use: Callable[[AnyFlow], object]) -> Callable[[], object]:
    flow = chain(count)
    return lambda: use(flow)


def both(count: int, use: Callable[[AnyFlow, AnyFlow], object]) -> Callable[[], object]:
    left, right = chain(count), chain_to_the_right(count)
    return lambda: use(left, right)


def encoded(count: int, use: Callable[[bytes], object]) -> Callable[[], object]:
    raw = plan.encode(travelled(chain(count)))
    return lambda: use(raw)


def passing(count: int, use: Callable[[AnyFlow], object]) -> Callable[[], object]:
    flow: AnyFlow = inc
    for _ in range(count):
        flow = flow >> identity.named("same")
    return lambda: use(flow)


def calls_made(operation: Callable[[], object]) -> int:
    """How many functions an operation calls; unlike its time, the same on every machine."""
    count = 0

    def notice(_: object, event: str, __: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(notice)
    try:
        operation()
    finally:
        sys.setprofile(None)
    return count


def memory_taken(operation: Callable[[], object]) -> int:
    gc.collect()
    tracemalloc.start()
    try:
        operation()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("prepare", OPERATIONS.values(), ids=OPERATIONS)
def test_ten_times_the_steps_take_ten_times_the_work_and_memory(prepare: Prepare) -> None:
    calls = [calls_made(prepare(count)) for count in (300, 3_000)]
    memory = [memory_taken(prepare(count)) for count in (300, 3_000)]
    assert calls[1] <= 11 * calls[0] + 1_000
    assert memory[1] <= 13 * memory[0] + 100_000


@pytest.mark.parametrize("build", [chain, chain_to_the_right, chain_of_halves])
def test_ten_thousand_steps_work_however_they_were_grouped(
    build: Callable[[int], AnyFlow],
) -> None:
    flow = build(10_000)
    assert flow == chain(10_000)
    assert hash(flow) == hash(chain(10_000))
    assert repr(flow).count(">>") == 9_999
    assert run(flow(0), on=local()) == Success(10_000)
    assert plan.decode(plan.encode(travelled(flow))) == Success(travelled(flow))


def test_ten_thousand_async_steps_run() -> None:
    flow: AnyFlow = double
    for _ in range(9_999):
        flow = flow >> double
    assert run(flow(0), on=local()) == Success(0)


@pytest.mark.parametrize(
    "passes",
    [identity.named("same"), fused(identity), given(identity)],
    ids=["named", "fused", "given"],
)
def test_ten_thousand_steps_that_pass_on_their_value_work(passes: AnyFlow) -> None:
    flow: AnyFlow = inc
    for _ in range(10_000):
        flow = flow >> passes
    assert run(flow(0), on=local()) == Success(1)


def test_a_very_long_chain_is_let_go_without_overflowing_the_stack() -> None:
    for build in (chain, chain_to_the_right):
        flow = build(50_000)
        del flow
