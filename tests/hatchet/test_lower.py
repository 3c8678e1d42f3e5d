"""What Hatchet shows of a flow, and that it makes no difference to what comes of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import pytest
from returns.result import Failure, Success

from onward import explain, fused, given, identity, result, run, submit, submit_all, together
from onward.backends.hatchet import HatchetBackend
from onward.backends.hatchet import hatchet as hatchet_backend
from onward.catalog import Catalog
from onward.flows.combinators import each
from onward.flows.flow import AnyFlow, Named
from onward.testing.kinds import Odd
from onward.testing.oracle import comparable, expect
from onward.testing.tasks import (
    add,
    double,
    flaky,
    halve,
    hopeless,
    inc,
    mend,
    picky,
    shrink,
    span,
    total,
)
from tests.hatchet.served import Engine, fresh, serving, steps_of

TOKEN = "e30.eyJzdWIiOiAiNzA3ZDA4NTUifQ."

FIXED: list[AnyFlow] = [
    cast(AnyFlow, flow)
    for flow in (
        inc >> double >> inc,
        inc >> halve >> double,
        halve >> given(shrink, by=3) >> picky >> flaky,
        together(halve, picky) >> add,
        inc >> together(double, given(shrink, by=2) >> inc) >> add >> halve,
        together(inc, together(halve, hopeless) >> add) >> add,
        fused(inc >> halve) >> inc,
        together(halve, inc, picky),
        inc >> together(double >> halve, together(picky, inc)),
        (inc >> double).named("inner") >> halve,
    )
]
"""Flows that are always the same steps: DAGs."""

FREE: list[AnyFlow] = [
    cast(AnyFlow, flow)
    for flow in (
        span >> each(inc) >> total,
        halve.rescue(mend),
        inc >> identity >> together(inc, identity) >> add,
    )
]
"""Flows whose steps depend on what comes, or that hand a value past a step."""

NAMED = [flow.named(f"fixed-{index}") for index, flow in enumerate(FIXED)]
FREE_NAMED = [flow.named(f"free-{index}") for index, flow in enumerate(FREE)]


PATIENCE = 170
"""Hatchet 0.104 stalls some DAGs for a minute before it goes on with them."""

NUMBERS = (0, 1, 2, 3, 4, 6, 9)


pytestmark = pytest.mark.timeout(400)


@pytest.fixture(scope="module")
def namespace() -> str:
    return fresh()


@pytest.fixture(scope="module")
def backend(engine: Engine, namespace: str) -> Iterator[HatchetBackend]:
    with serving(engine, Catalog(*NAMED, *FREE_NAMED), namespace=namespace) as backend:
        yield backend


@pytest.mark.parametrize("flow", [*NAMED, *FREE_NAMED], ids=lambda flow: flow.name)
def test_a_named_flow_gives_what_the_same_flow_gives_without_a_name(
    flow: Named[..., Any, Any], backend: HatchetBackend
) -> None:
    """Whether it is a DAG or goes through the evaluator: the law of the two paths."""
    named = submit_all([flow(n) for n in NUMBERS], on=backend).unwrap()
    unnamed = submit_all([flow.body(n) for n in NUMBERS], on=backend).unwrap()
    for n, one, other in zip(NUMBERS, named, unnamed, strict=True):
        meant = expect(flow, n).compared
        assert comparable(result(one, on=backend, timeout=PATIENCE)) == meant, n
        assert comparable(result(other, on=backend, timeout=PATIENCE)) == meant, n


def test_a_fixed_flow_is_a_dag_whose_steps_have_the_tasks_names(
    backend: HatchetBackend, engine: Engine
) -> None:
    ref = submit(NAMED[0](1), on=backend).unwrap()
    assert result(ref, on=backend, timeout=PATIENCE) == Success(5)
    assert steps_of(engine, ref.id) == {"inc", "double", "inc-2"}
    ref = submit(NAMED[4](5), on=backend).unwrap()
    result(ref, on=backend, timeout=PATIENCE)
    assert steps_of(engine, ref.id) == {"inc", "double", "shrink", "inc-2", "add", "halve"}


def test_what_a_dag_cannot_say_runs_in_one_task_under_the_flows_name(
    backend: HatchetBackend, engine: Engine, namespace: str
) -> None:
    ref = submit(FREE_NAMED[0](2), on=backend).unwrap()
    assert result(ref, on=backend, timeout=PATIENCE) == Success(7)
    assert steps_of(engine, ref.id) == {f"{namespace}_free-0"}


def test_a_flow_of_another_release_is_run_as_its_caller_has_it(
    backend: HatchetBackend, engine: Engine
) -> None:
    """The plan that a caller sends is what runs, also where the worker's DAG has other steps."""
    longer = (inc >> double >> inc >> inc >> double).named("fixed-0")
    shorter = (inc >> double).named("fixed-0")
    other = together(double, inc).named("fixed-3")
    assert run(longer(1), on=backend, timeout=PATIENCE) == Success(12)
    assert run(shorter(1), on=backend, timeout=PATIENCE) == Success(4)
    assert run(other(1), on=backend, timeout=PATIENCE) == Success((2, 2))
    failing = (halve >> inc >> inc).named("fixed-1")
    assert run(failing(1), on=backend, timeout=PATIENCE) == Failure(Odd(1))


@pytest.mark.parametrize(
    "old", [inc >> double >> inc, together(inc, inc) >> add, inc >> together(inc, double)]
)
def test_a_call_ends_though_the_engine_has_steps_in_its_flow_that_nobody_serves(
    old: AnyFlow, engine: Engine
) -> None:
    """As in the seconds after a deploy, in which it starts runs of the flow as it was."""
    namespace = fresh()
    with serving(engine, Catalog(old.named("changed")), namespace=namespace):
        pass
    new = (inc >> halve >> inc).named("changed")
    with serving(engine, Catalog(inc, halve), namespace=namespace) as backend:
        assert run(new(1), on=backend, timeout=PATIENCE) == Success(2)
        assert run(new(2), on=backend, timeout=PATIENCE) == Failure(Odd(3))


def test_explain_says_what_hatchet_is_given() -> None:
    on = hatchet_backend(TOKEN, "localhost:7077")
    assert explain(inc, on=on) == "inc"
    assert explain(NAMED[0], on=on) == "fixed-0(inc, double <- inc, inc-2 <- double)"
    joined = (inc >> together(double, halve) >> add).named("joined")
    assert explain(joined, on=on) == (
        "joined(inc, double <- inc, halve <- inc, add <- double & halve)"
    )
    assert explain(inc >> double, on=on) == "onward.flow(inc, double)"
    assert explain(FREE_NAMED[0], on=on) == "free-0(span, each(inc), total)"
    assert explain(fused(inc >> double), on=on) == "onward.fused(inc, double)"
