"""Names that Hatchet would change or refuse are refused before anything is sent."""

from __future__ import annotations

import pytest
from returns.result import Failure, Success

from onward import Catalog, check, result, run, submit, task, together
from onward.backends.hatchet import hatchet
from onward.fault import Misconfigured, Unknown
from onward.flows.flow import AnyFlow
from tests.hatchet.served import PATIENCE, Engine, backend_on, fresh, serving

OFFLINE = hatchet("e30.eyJzdWIiOiAiNzA3ZDA4NTUifQ.", "localhost:1")
"""Nobody listens there, so its answers need no engine."""


def named(name: str, by: int = 1) -> AnyFlow:
    def add(n: int) -> int:
        return n + by

    return task(name=name)(add)


@pytest.mark.parametrize("name", ["a/b", "a:b", "f[x]"])
def test_names_that_hatchet_refuses_are_refused_before(name: str) -> None:
    bad = named(name)
    for flow in (bad, bad >> bad, together(bad, bad), (bad >> bad).named("good")):
        [found] = check(flow(1), on=OFFLINE).failure()
        assert isinstance(found, Misconfigured)
        assert found.task == name
        assert submit(flow(1), on=OFFLINE) == Failure(found)
    served = OFFLINE.serve(Catalog(bad)).failure()
    assert isinstance(served, Misconfigured)
    assert served.task == name


def test_names_that_differ_only_in_capitals_are_refused_together() -> None:
    one, other = named("fooBar"), named("foobar", 2)
    [found] = check((one >> other)(1), on=OFFLINE).failure()
    assert isinstance(found, Misconfigured)
    assert "capitals" in found.message
    assert submit((one >> other)(1), on=OFFLINE) == Failure(found)
    assert isinstance(OFFLINE.serve(Catalog(one, other)).failure(), Misconfigured)
    flow = (named("a") >> named("b")).named("A")
    assert isinstance(OFFLINE.serve(Catalog(flow)).failure(), Misconfigured)


def test_dots_hyphens_and_underscores_are_accepted() -> None:
    assert check(named("etl.load_all-2")(1), on=OFFLINE) == Success(None)


def test_a_name_in_other_capitals_is_another_name(engine: Engine) -> None:
    """It is not confused with the task that Hatchet has for it."""
    with serving(engine, Catalog(named("fooBar")), namespace=fresh()) as backend:
        assert run(named("fooBar")(1), on=backend, timeout=PATIENCE) == Success(2)
        found = run(named("FOOBAR", 2)(1), on=backend, timeout=PATIENCE).failure()
        assert isinstance(found, Unknown)
        assert found.task == "FOOBAR"


def test_an_undeclared_task_is_unknown_at_once(engine: Engine) -> None:
    ghost = named("ghost")
    flows: list[AnyFlow] = [ghost, ghost >> ghost, (ghost >> ghost).named("ghosts")]
    backend = backend_on(engine, namespace=fresh())
    for flow in flows:
        assert isinstance(submit(flow(1), on=backend).failure(), Unknown)
    backend.close()
    with serving(engine, Catalog(named("inc")), namespace=fresh()) as backend:
        ref = submit((named("inc") >> ghost)(1), on=backend).unwrap()
        found = result(ref, on=backend, timeout=PATIENCE).failure()
        assert isinstance(found, Unknown)
        assert found.task == "ghost"


def test_namespaces_are_separate(engine: Engine) -> None:
    one, other = fresh(), fresh()
    with (
        serving(engine, Catalog(named("inc")), namespace=one) as here,
        serving(engine, Catalog(named("inc", 100)), namespace=other) as there,
    ):
        assert run(named("inc")(1), on=here, timeout=PATIENCE) == Success(2)
        assert run(named("inc")(1), on=there, timeout=PATIENCE) == Success(101)
