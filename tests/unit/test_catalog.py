"""Catalogs: all tasks and named flows of the given flows, each name once."""

import copy
from types import ModuleType
from typing import Any

import pytest

from onward import Catalog, Misconfigured, each, fused, given, local, run, task, together
from onward.testing import tasks as testing_tasks


@task
def inc(n: int) -> int:
    return n + 1


@task
def double(n: int) -> int:
    return 2 * n


@task
def add(n: int, by: int) -> int:
    return n + by


WHOLE = together(inc >> given(add, 1), fused(double)).named("whole")


def test_a_catalog_serves_all_that_its_flows_are_made_of() -> None:
    catalog = Catalog(WHOLE, inc)
    assert list(catalog) == ["add", "double", "inc", "whole"]
    assert dict(catalog.tasks) == {"inc": inc, "double": double, "add": add}
    assert dict(catalog.flows) == {"whole": WHOLE}
    assert len(catalog) == 4
    assert "whole" in catalog
    assert "inc" in catalog
    assert "other" not in catalog
    assert repr(catalog) == "Catalog(add, double, inc, whole)"


def test_a_catalog_looks_into_every_kind_of_flow() -> None:
    inner = fused(inc.named("inner") >> double)
    safe = testing_tasks.halve.rescue(testing_tasks.mend)
    catalog = Catalog(each(inner).named("outer"), together(safe, given(add, 1)))
    assert set(catalog.tasks) == {"inc", "double", "halve", "mend", "add"}
    assert set(catalog.flows) == {"outer", "inner"}


def test_a_catalog_knows_the_queues_that_its_tasks_and_flows_name() -> None:
    flow = (each(double.with_(queue="wide")) >> fused(testing_tasks.total, queue="slow")).named("w")
    assert Catalog(flow, inc.with_(queue="own")).queues == {"wide", "slow", "own"}
    assert Catalog(inc).queues == frozenset()


def test_the_same_task_and_the_same_flow_may_come_often() -> None:
    again = together(inc >> given(add, 1), fused(double)).named("whole")
    catalog = Catalog(WHOLE, again, inc, inc, inc.with_(timeout=3))
    assert list(catalog) == ["add", "double", "inc", "whole"]


def test_a_name_that_stands_for_two_things_is_refused() -> None:
    other = task(name="inc")(double.fn)
    with pytest.raises(ValueError, match=r"two tasks are named 'inc', one at .*:\d+ and one at "):
        Catalog(inc, other)
    with pytest.raises(ValueError, match="two tasks are named 'inc'"):
        Catalog(double >> other, inc.named("a"))
    with pytest.raises(ValueError, match="two flows are named 'a', inc and double"):
        Catalog(inc.named("a"), double.named("a"))
    with pytest.raises(ValueError, match="a task and a flow are both named 'inc'"):
        Catalog(inc, double.named("inc"))


def test_what_is_no_flow_is_refused() -> None:
    wrong: Any = inc.fn
    with pytest.raises(TypeError, match=r"put @task on the function, or write Catalog\.of"):
        Catalog(wrong)
    wrong = inc(1)
    with pytest.raises(TypeError, match="a Catalog holds tasks and flows"):
        Catalog(wrong)


def test_a_catalog_of_modules_holds_what_is_at_their_top() -> None:
    module = ModuleType("somewhere")
    vars(module).update(inc=inc, alias=inc, flow=WHOLE, text="other", call=inc(1), cls=Catalog)
    assert list(Catalog.of(module)) == ["add", "double", "inc", "whole"]
    by_name = Catalog.of("onward.testing.tasks")
    assert by_name.tasks == Catalog.of(testing_tasks).tasks
    assert "halve" in by_name


def test_a_module_without_tasks_is_a_mistake() -> None:
    wrong: Any = 5
    with pytest.raises(ValueError, match="nowhere has no task at its top level: put @task on"):
        Catalog.of(ModuleType("nowhere"))
    with pytest.raises(ImportError, match="no_such_module"):
        Catalog.of("no_such_module")
    with pytest.raises(TypeError, match="5 is not a module"):
        Catalog.of(wrong)


def test_an_empty_catalog_serves_nothing() -> None:
    assert len(Catalog()) == 0
    assert repr(Catalog()) == "Catalog()"


def test_a_catalog_is_frozen() -> None:
    catalog: Any = Catalog(inc)
    for change in (
        lambda: setattr(catalog, "tasks", {}),
        lambda: delattr(catalog, "tasks"),
        lambda: setattr(catalog, "other", 1),
        lambda: catalog.tasks.update(double=double),
    ):
        with pytest.raises(AttributeError):
            change()
    assert list(copy.deepcopy(catalog)) == ["inc"]


@pytest.mark.parametrize(
    "name", ["onward.gather", "Onward.Flow", "celery.chord", "__temporal_x", "__stack_trace"]
)
def test_a_name_that_an_engine_has_a_use_for_is_refused(name: str) -> None:
    reserved = task(name=name)(inc.fn)
    with pytest.raises(ValueError, match=r"is reserved: .* Choose another one, such as 'my_"):
        Catalog(inc >> reserved)
    with pytest.raises(ValueError, match="is reserved"):
        Catalog((inc >> inc).named(name))
    for flow in (reserved, inc >> reserved, (inc >> inc).named(name)):
        fault = run(flow(1), on=local()).failure()
        assert isinstance(fault, Misconfigured)
        assert repr(name) in fault.message
