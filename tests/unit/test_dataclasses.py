"""Tasks, composed flows, calls, refs and catalogs are frozen dataclasses like others."""

import copy
import dataclasses
import importlib
import inspect
import pickle  # noqa: TID251  # our own bytes
import subprocess
import sys
import weakref
from typing import Any

import pytest
from returns.result import Success

import onward
from onward import (
    Call,
    Catalog,
    Fault,
    Policy,
    Ref,
    Retry,
    Task,
    each,
    fused,
    given,
    identity,
    local,
    run,
    task,
    together,
)
from onward.flows.combinators import Fused, Given
from onward.flows.fanouts import Each, Together
from onward.flows.flow import AnyFlow, Chain, Named, Rescue


@task
def inc(n: int, by: int = 1) -> int:
    """Adds to a number."""
    return n + by


@task
async def double(n: int) -> int:
    return 2 * n


@task
def instead(error: Fault) -> int:
    return 0


VALUES: dict[str, Any] = {
    "task": inc,
    "task with another policy": inc.with_(timeout=3),
    "chain": inc >> double >> inc,
    "given": given(inc, 2),
    "together": together(inc, double),
    "each": each(inc, limit=2),
    "rescue": inc.rescue(instead),
    "fused": fused(inc >> double, timeout=2),
    "named": inc.named("more"),
    "identity": identity,
    "call": inc(1, by=2),
    "ref": inc.ref("abc"),
    "catalog": Catalog(inc, (inc >> double).named("both")),
}

values = pytest.mark.parametrize("value", VALUES.values(), ids=VALUES)


@values
def test_it_is_a_dataclass_that_reads_by_its_fields(value: Any) -> None:
    assert dataclasses.is_dataclass(value)
    for field in dataclasses.fields(value):
        getattr(value, field.name)


@values
def test_nothing_of_it_can_be_set_or_deleted(value: Any) -> None:
    for name in [*(field.name for field in dataclasses.fields(value)), "other"]:
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(value, name, None)
        with pytest.raises(dataclasses.FrozenInstanceError):
            delattr(value, name)
    assert not hasattr(value, "__dict__")


@values
def test_a_replacement_of_nothing_is_equal_to_it(value: Any) -> None:
    again = dataclasses.replace(value)
    assert again == value
    assert hash(again) == hash(value)
    assert repr(again) == repr(value)
    assert type(again) is type(value)


@values
def test_it_can_be_copied_pickled_and_referred_to_weakly(value: Any) -> None:
    assert copy.copy(value) == value
    assert copy.deepcopy(value) == value
    assert pickle.loads(pickle.dumps(value)) == value
    assert weakref.ref(value)() is value


def test_a_task_is_made_of_a_name_a_function_and_a_policy() -> None:
    made: Task[[int], int] = Task("inc", inc.fn, Policy())
    assert made == inc
    assert [field.name for field in dataclasses.fields(inc)][:3] == ["name", "fn", "policy"]
    assert run(made(1), on=local()) == Success(2)


def test_a_replaced_function_brings_its_own_signature() -> None:
    def shout(text: str) -> str:
        return text.upper()

    other: Any = dataclasses.replace(inc, name="shout", fn=shout)
    assert run(other("a"), on=local()) == Success("A")


def test_a_replacement_is_checked_as_what_it_replaces() -> None:
    with pytest.raises(ValueError, match="a task's name has no spaces"):
        dataclasses.replace(inc, name="a b")
    with pytest.raises(TypeError, match="a task is a plain function"):
        dataclasses.replace(inc, fn=len)
    with pytest.raises(ValueError, match="a flow's name has no spaces"):
        dataclasses.replace(VALUES["named"], label="a b")


def test_the_fields_of_a_composed_flow_can_be_replaced() -> None:
    assert dataclasses.replace(VALUES["each"], limit=None) == each(inc)
    assert dataclasses.replace(VALUES["fused"], policy=Policy(queue="q")) == fused(
        inc >> double, queue="q"
    )
    assert dataclasses.replace(VALUES["catalog"], flows={}) == Catalog(inc, double)


def kind_of(flow: AnyFlow) -> object:
    match flow:
        case Task(name, fn, Policy()):
            return name, fn
        case Chain(steps):
            return steps
        case Given(inner, _) | Named(inner, _) | Each(inner, _, _) | Fused(inner, _):
            return inner
        case Together(branches):
            return branches
        case Rescue(body, handler):
            return body, handler
        case _:
            return None


def test_match_takes_flows_apart() -> None:
    assert [kind_of(VALUES[name]) for name in list(VALUES)[:10]] == [
        ("inc", inc.fn),
        ("inc", inc.fn),
        (inc, double, inc),
        inc,
        (inc, double),
        inc,
        (inc, instead),
        inc >> double,
        inc,
        None,
    ]
    match inc(1):
        case Call(flow, args):
            assert (flow, args) == (inc, inc(1).args)
    match inc.ref("abc"):
        case Ref(id, flow):
            assert (id, flow) == ("abc", inc)


def test_a_task_shows_its_function_to_those_who_look() -> None:
    assert inspect.signature(inc) == inspect.signature(inc.fn)
    assert inspect.unwrap(inc) is inc.fn
    assert inspect.getdoc(inc) == "Adds to a number."
    assert (double.__doc__, inc.__name__) == (None, "inc")
    assert "A named function with a policy" in (Task.__doc__ or "")


def test_a_pickled_task_is_a_reference_and_not_its_code() -> None:
    assert pickle.loads(pickle.dumps(inc)) is inc
    changed = inc.with_(retry=Retry(attempts=3), queue="q")
    again = pickle.loads(pickle.dumps(changed))
    assert (again, repr(again)) == (changed, repr(changed))


def test_a_task_that_a_reference_would_not_find_says_so_when_it_is_pickled() -> None:
    @task
    def inner(n: int) -> int:
        return n

    with pytest.raises(TypeError, match=r"task 'inner' .* define it at the top of its module"):
        pickle.dumps(inner)


def test_the_tasks_of_a_flow_cannot_be_emptied_by_who_holds_them() -> None:
    held: Any = (inc >> double).tasks
    with pytest.raises(AttributeError):
        held.clear()
    with pytest.raises(TypeError):
        held["inc"] = double


def test_a_long_chain_can_be_pickled() -> None:
    flow: AnyFlow = inc
    for _ in range(5_000):
        flow = flow >> double
    assert pickle.loads(pickle.dumps(flow)) == flow


@pytest.mark.parametrize("name", sorted(set(onward.__all__) - {"aio"}))
def test_no_module_hides_behind_a_public_name(name: str) -> None:
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module(f"onward.{name}")


def test_the_public_names_stay_whatever_is_imported_first() -> None:
    code = (
        "import onward.flows.combinators, onward.explaining, onward.flows.define\n"
        "import onward\n"
        "assert callable(onward.task) and callable(onward.explain), (onward.task, onward.explain)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
