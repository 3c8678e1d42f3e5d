"""Large values pass through the engine, and a large run does not affect other runs."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from returns.result import Failure, Success

from onward import Catalog, cancel, result, run, status, submit, task, together
from onward.backends.hatchet import HatchetBackend
from onward.fault import TooLarge
from onward.flows.flow import AnyFlow
from tests.engines.server import HOST
from tests.hatchet.double import Double
from tests.hatchet.served import PATIENCE, Engine, backend_on, fresh, serving

MB = 1_000_000
NAMESPACE = fresh()


@task
def blob(size: int) -> str:
    return "x" * size


@task
def angles(size: int) -> str:
    return "<" * size


@task
def echo(text: str) -> str:
    return text


@task
def length(text: str) -> int:
    return len(text)


@task
def lengths(texts: tuple[str, str]) -> int:
    return sum(map(len, texts))


three = (blob >> echo >> echo).named("three")
six = (blob >> echo >> echo >> echo >> echo >> length).named("six")
pair = together(blob, blob >> echo).named("pair")
joined = (together(blob, blob) >> lengths).named("joined")
angled = (angles >> echo >> length).named("angled")
catalog = Catalog(blob, angles, echo, length, lengths, three, six, pair, joined, angled)


@pytest.fixture(scope="module")
def backend(engine: Engine) -> Iterator[HatchetBackend]:
    with serving(engine, catalog, namespace=NAMESPACE, concurrency=2) as backend:
        yield backend


def test_a_run_larger_than_a_message_can_be_read(backend: HatchetBackend) -> None:
    """Its outcome and its status; and there is nothing to cancel."""
    ref = submit(three(1_500_000), on=backend).unwrap()
    assert result(ref, on=backend, timeout=PATIENCE) == Success("x" * 1_500_000)
    assert status(ref, on=backend).unwrap().state == "done"
    assert cancel(ref, on=backend) == Success(None)
    assert result(ref, on=backend, timeout=PATIENCE) == Success("x" * 1_500_000)


def test_a_step_with_large_arguments_and_a_large_value_is_read(backend: HatchetBackend) -> None:
    """Alone, and as a step of a flow that the evaluator runs."""
    text = "x" * 3 * MB
    assert run(echo(text), on=backend, timeout=PATIENCE) == Success(text)
    assert run((echo >> length)(text), on=backend, timeout=PATIENCE) == Success(3 * MB)


@pytest.mark.parametrize(
    ("flow", "size", "expected"),
    [
        (six, 1_500_000, 1_500_000),
        (joined, 2_500_000, 5_000_000),
        pytest.param(pair, 2_500_000, ("x" * 2_500_000,) * 2, marks=pytest.mark.long),
        pytest.param(angled, 300_000, 300_000, marks=pytest.mark.long),
    ],
    ids=["a long chain", "a join", "a pair", "what the engine writes longer"],
)
def test_the_values_of_a_dag_can_exceed_one_message_together(
    flow: AnyFlow, size: int, expected: object, backend: HatchetBackend
) -> None:
    """The engine sends a step all values before it. Values without room are stored elsewhere."""
    assert run(flow(size), on=backend, timeout=PATIENCE) == Success(expected)


def test_the_size_of_arguments_is_that_of_the_engines_encoding(backend: HatchetBackend) -> None:
    """The engine encodes some characters as six, which may exceed a message."""
    assert run(length("<" * 500_000), on=backend, timeout=PATIENCE) == Success(500_000)
    found = submit(length("<" * MB), on=backend).failure()
    assert isinstance(found, TooLarge)
    assert found.size > 6 * MB


def test_a_run_that_cannot_be_read_is_too_large_by_itself(
    engine: Engine, backend: HatchetBackend
) -> None:
    """Without the HTTP API. Other runs that the same client waits for have their outcomes."""
    off = backend_on(engine, namespace=NAMESPACE, server_url=f"http://{HOST}:1")
    large = submit(three(1_500_000), on=off).unwrap()
    flow = submit((echo >> length)("text"), on=off).unwrap()
    found = result(large, on=off, timeout=PATIENCE).failure()
    assert isinstance(found, TooLarge)
    assert "HATCHET_CLIENT_SERVER_URL" in found.message
    assert isinstance(status(large, on=off).failure(), TooLarge)
    assert cancel(large, on=off) == Success(None)
    assert result(flow, on=off, timeout=PATIENCE) == Success(4)
    assert run(length("text"), on=off, timeout=PATIENCE) == Success(4)
    off.close()
    assert result(large, on=backend, timeout=PATIENCE) == Success("x" * 1_500_000)


@pytest.mark.parametrize("limit", [1024 * 1024, 16 * 1024 * 1024])
def test_the_limit_is_the_engines_setting(limit: int) -> None:
    """The client finds it out by itself."""
    with Double(limit=limit) as double, serving(double, catalog) as backend:
        assert run(six(limit // 3), on=backend, timeout=PATIENCE) == Success(limit // 3)
        assert run(blob(limit * 3 // 4), on=backend, timeout=PATIENCE).map(len) == Success(
            limit * 3 // 4
        )
        large = "x" * (limit + 1)
        found = [submit(length(large), on=backend), run(blob(limit), on=backend, timeout=PATIENCE)]
        for each in found:
            assert isinstance(each, Failure)
            fault = each.failure()
            assert isinstance(fault, TooLarge)
            assert limit * 3 // 4 < fault.limit < limit < fault.size
