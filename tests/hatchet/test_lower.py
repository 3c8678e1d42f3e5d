"""How Hatchet shows flows, and that a DAG gives the same outcome as the evaluator."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import pytest
from returns.result import Failure, Success

from onward import (
    Ref,
    case,
    explain,
    fused,
    given,
    identity,
    result,
    run,
    submit,
    submit_all,
    together,
)
from onward.backends.hatchet import HatchetBackend
from onward.backends.hatchet import hatchet as hatchet_backend
from onward.catalog import Catalog
from onward.flows.fanouts import each
from onward.flows.flow import AnyFlow, Named
from onward.testing.choices import of_even, of_nothing, of_uneven, sift
from onward.testing.kinds import Even, Odd, Uneven
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
from tests.hatchet.double import Double
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
"""Flows with a fixed set of steps, which become DAGs."""

FREE: list[AnyFlow] = [
    cast(AnyFlow, flow)
    for flow in (
        span >> each(inc) >> total,
        halve.rescue(mend),
        inc >> identity >> together(inc, identity) >> add,
    )
]
"""Flows whose steps depend on values, or that pass a value by a step."""

NAMED = [flow.named(f"fixed-{index}") for index, flow in enumerate(FIXED)]
FREE_NAMED = [flow.named(f"free-{index}") for index, flow in enumerate(FREE)]


PATIENCE = 300
"""How long a call may take, because Hatchet 0.104 stalls some DAGs for a minute."""

NUMBERS = (0, 1, 3, 4)
FEW = (1, 4)
"""For the real engine: with the one most flows fail, and with the other hardly any."""


pytestmark = pytest.mark.timeout(700)


@pytest.fixture(scope="module")
def namespace() -> str:
    return fresh()


@pytest.fixture(scope="module")
def backend(engine: Engine, namespace: str) -> Iterator[HatchetBackend]:
    with serving(engine, Catalog(*NAMED, *FREE_NAMED), namespace=namespace) as backend:
        yield backend


@pytest.fixture(scope="module")
def named(backend: HatchetBackend, engine: Engine) -> dict[tuple[str, int], Ref[Any, Any]]:
    """Calls of the named flows, by their names and numbers: all at once, which takes less time."""
    numbers = NUMBERS if isinstance(engine, Double) else FEW
    calls = {(flow.name, n): flow(n) for flow in (*NAMED, *FREE_NAMED) for n in numbers}
    return dict(zip(calls, submit_all(calls.values(), on=backend).unwrap(), strict=True))


@pytest.mark.parametrize("flow", [*NAMED, *FREE_NAMED], ids=lambda flow: flow.name)
def test_a_named_flow_gives_what_the_oracle_says(
    flow: Named[..., Any, Any],
    backend: HatchetBackend,
    named: dict[tuple[str, int], Ref[Any, Any]],
) -> None:
    """As a DAG, or by the evaluator if it cannot be one."""
    for (name, n), ref in named.items():
        if name == flow.name:
            found = comparable(result(ref, on=backend, timeout=PATIENCE))
            assert found == expect(flow, n).compared, n


@pytest.mark.parametrize("engine", ["double"], indirect=True)  # the suite has it on the real one
@pytest.mark.parametrize("flow", NAMED, ids=lambda flow: flow.name)
def test_the_same_flow_without_a_name_gives_the_same(
    flow: Named[..., Any, Any], backend: HatchetBackend
) -> None:
    """By the evaluator."""
    refs = submit_all([flow.body(n) for n in NUMBERS], on=backend).unwrap()
    for n, ref in zip(NUMBERS, refs, strict=True):
        found = comparable(result(ref, on=backend, timeout=PATIENCE))
        assert found == expect(flow, n).compared, n


def test_a_fixed_flow_is_a_dag_whose_steps_have_the_tasks_names(
    backend: HatchetBackend, engine: Engine
) -> None:
    ref = submit(NAMED[0](1), on=backend).unwrap()
    assert result(ref, on=backend, timeout=PATIENCE) == Success(5)
    assert steps_of(engine, ref.id) == {"inc", "double", "inc-2"}
    ref = submit(NAMED[4](5), on=backend).unwrap()
    result(ref, on=backend, timeout=PATIENCE)
    assert steps_of(engine, ref.id) == {"inc", "double", "shrink", "inc-2", "add", "halve"}


def test_a_flow_that_is_not_a_dag_runs_in_one_task_with_the_flows_name(
    backend: HatchetBackend, engine: Engine, namespace: str
) -> None:
    ref = submit(FREE_NAMED[0](2), on=backend).unwrap()
    assert result(ref, on=backend, timeout=PATIENCE) == Success(7)
    assert steps_of(engine, ref.id) == {f"{namespace}_free-0"}


def test_a_flow_of_another_release_runs_as_its_caller_sent_it(
    backend: HatchetBackend, engine: Engine
) -> None:
    """The caller's plan runs, even if the worker's DAG has other steps."""
    longer = (inc >> double >> inc >> inc >> double).named("fixed-0")
    shorter = (inc >> double).named("fixed-0")
    other = together(double, inc).named("fixed-3")
    assert run(longer(1), on=backend, timeout=PATIENCE) == Success(12)
    assert run(shorter(1), on=backend, timeout=PATIENCE) == Success(4)
    assert run(other(1), on=backend, timeout=PATIENCE) == Success((2, 2))
    failing = (halve >> inc >> inc).named("fixed-1")
    assert run(failing(1), on=backend, timeout=PATIENCE) == Failure(Odd(1))


@pytest.mark.parametrize(
    "old",
    [
        inc >> together(inc, double),
        *(
            pytest.param(flow, marks=pytest.mark.long)
            for flow in (inc >> double >> inc, together(inc, inc) >> add)
        ),
    ],
)
def test_a_call_ends_although_the_engines_dag_has_steps_without_a_worker(
    old: AnyFlow, engine: Engine
) -> None:
    """For some seconds after a deploy, the engine still starts runs of the old DAG."""
    namespace = fresh()
    with serving(engine, Catalog(old.named("changed")), namespace=namespace):
        pass
    new = (inc >> halve >> inc).named("changed")
    with serving(engine, Catalog(inc, halve), namespace=namespace) as backend:
        assert run(new(1), on=backend, timeout=PATIENCE) == Success(2)
        assert run(new(2), on=backend, timeout=PATIENCE) == Failure(Odd(3))


def test_explain_shows_what_hatchet_would_run() -> None:
    on = hatchet_backend(TOKEN, "localhost:7077")
    assert explain(inc, on=on) == "inc"
    assert explain(NAMED[0], on=on) == "fixed-0(inc, double <- inc, inc-2 <- double)"
    joined = (inc >> together(double, halve) >> add).named("joined")
    assert explain(joined, on=on) == (
        "joined(inc, double <- inc, halve <- inc, add <- double & halve)"
    )
    assert explain(inc >> double, on=on) == "onward.flow(inc, double)"
    cancelling = together(inc, double, on_failure="cancel").named("both")
    assert explain(cancelling, on=on) == "both(together(inc, double, on_failure='cancel'))"
    assert explain(FREE_NAMED[0], on=on) == "free-0(span, each(inc), total)"
    assert explain(fused(inc >> double), on=on) == "onward.fused(inc, double)"
    chosen = sift >> case(Even, of_even >> inc).case(Uneven, of_uneven).case(None, of_nothing)
    assert explain(chosen.named("chosen"), on=on) == (
        "chosen(sift, case(Even: chain(of_even, inc), Uneven: of_uneven, None: of_nothing))"
    )
