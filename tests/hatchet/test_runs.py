"""Values and outcomes pass through the engine unchanged."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta

import pytest
from returns.result import Failure, Result, Success

from onward import (
    Catalog,
    Ref,
    aio,
    cancel,
    each,
    fused,
    result,
    run,
    status,
    submit,
    submit_all,
    task,
    together,
)
from onward.backends.hatchet import HatchetBackend, hatchet
from onward.fault import (
    Cancelled,
    Expired,
    Fault,
    Lost,
    TimedOut,
    TooLarge,
    Unavailable,
)
from tests.hatchet.served import (
    PATIENCE,
    Engine,
    backend_on,
    foreign_run,
    fresh,
    long_on_the_engine,
    serving,
)

MB = 1024 * 1024


@dataclass(frozen=True)
class Said:
    """A domain error with a text."""

    text: str


@task
def echo(text: str) -> str:
    return text


@task
def same(number: int) -> int:
    return number


@task
def fill(size: int) -> str:
    return "x" * size


@task
def length(text: str) -> int:
    return len(text)


@task
def refuse(text: str) -> Result[int, Said]:
    return Failure(Said(text))


@task
def refuse_much(size: int) -> Result[int, Said]:
    return Failure(Said("x" * size))


@task
def shout(text: str) -> int:
    raise ValueError(text)


@task
async def wait(seconds: float) -> float:
    await asyncio.sleep(seconds)
    return seconds


big = (fill >> length).named("big")
slow = (wait >> wait).named("slow")
catalog = Catalog(echo, same, fill, length, refuse, refuse_much, shout, wait, big, slow)
NAMESPACE = fresh()


@pytest.fixture(scope="module")
def backend(engine: Engine) -> Iterator[HatchetBackend]:
    with serving(engine, catalog, namespace=NAMESPACE) as backend:
        yield backend


TEXTS = ["", "\0", "a\0b\\u0000", "é\u2028😀", "two\nlines", '"quoted" \\ and {json}']


@pytest.mark.parametrize("text", TEXTS, ids=ascii)
def test_texts_arrive_unchanged(text: str, backend: HatchetBackend) -> None:
    """As values, as domain errors, and in exceptions."""
    assert run(echo(text), on=backend, timeout=PATIENCE) == Success(text)
    assert run((echo >> echo)(text), on=backend, timeout=PATIENCE) == Success(text)
    assert run(refuse(text), on=backend, timeout=PATIENCE) == Failure(Said(text))
    assert run(shout(text), on=backend, timeout=PATIENCE).failure().message == text


@pytest.mark.parametrize("number", [0, 2**63, -(2**100), 9007199254740993])
def test_numbers_arrive_unchanged(number: int, backend: HatchetBackend) -> None:
    """The engine itself would convert them to floats."""
    assert run(same(number), on=backend, timeout=PATIENCE) == Success(number)
    assert run((same >> same)(number), on=backend, timeout=PATIENCE) == Success(number)


def test_almost_four_megabytes_arrive(backend: HatchetBackend) -> None:
    size = 3_900_000
    assert run(length("x" * size), on=backend, timeout=PATIENCE) == Success(size)
    assert run(big(size), on=backend, timeout=PATIENCE) == Success(size)
    assert len(run(fill(size), on=backend, timeout=PATIENCE).unwrap()) == size


@pytest.mark.parametrize("flow", [fill, fill >> length, big, fused(fill), together(same, fill)])
def test_larger_values_are_too_large_at_once(flow: object, backend: HatchetBackend) -> None:
    """Anywhere in a flow, and as a fault that can be rescued."""
    found = run(flow(5 * MB), on=backend, timeout=PATIENCE).failure()  # type: ignore[operator]  # a flow
    assert isinstance(found, TooLarge)
    assert found.size > 4 * MB > found.limit


def test_arguments_that_are_too_large_are_not_sent(backend: HatchetBackend) -> None:
    found = submit(length("x" * 5 * MB), on=backend).failure()
    assert isinstance(found, TooLarge)
    assert isinstance(submit_all([length("x" * 5 * MB)], on=backend).failure(), TooLarge)
    found = run(each(fill)([3 * MB, 3 * MB]), on=backend, timeout=PATIENCE).failure()
    assert isinstance(found, TooLarge)


@long_on_the_engine
def test_domain_errors_can_be_too_large(backend: HatchetBackend) -> None:
    assert run(refuse_much(1 * MB), on=backend, timeout=PATIENCE) == Failure(Said("x" * MB))
    assert isinstance(run(refuse_much(5 * MB), on=backend, timeout=PATIENCE).failure(), TooLarge)


@long_on_the_engine
def test_many_megabytes_are_submitted_in_several_requests(backend: HatchetBackend) -> None:
    refs = submit_all([length("x" * MB) for _ in range(9)], on=backend).unwrap()
    assert [result(ref, on=backend, timeout=PATIENCE) for ref in refs] == [Success(MB)] * 9


def test_a_key_submitted_by_many_threads_is_one_call(engine: Engine) -> None:
    key = os.urandom(8).hex()
    backends = [backend_on(engine, namespace=NAMESPACE) for _ in range(3)]
    with serving(engine, catalog, namespace=NAMESPACE), ThreadPoolExecutor(12) as pool:
        submitting = [
            pool.submit(submit, wait(0.1), backends[index % 3], key=key) for index in range(24)
        ]
        refs = {each.result().unwrap() for each in submitting}
        assert len(refs) == 1
        assert result(refs.pop(), on=backends[0], timeout=PATIENCE) == Success(0.1)
    for each_ in backends:
        each_.close()


def test_a_key_is_another_call_in_another_namespace(engine: Engine) -> None:
    refs = set()
    for namespace in (fresh(), fresh()):
        with serving(engine, Catalog(same), namespace=namespace) as backend:
            refs.add(submit(same(1), on=backend, key="a key").unwrap())
    assert len(refs) == 2


def test_threads_and_loops_share_a_backend(backend: HatchetBackend) -> None:
    async def awaited(n: int) -> object:
        return await asyncio.gather(*(aio.run(same(n + i), on=backend) for i in range(5)))

    with ThreadPoolExecutor(8) as pool:
        blocking = [pool.submit(run, same(n), backend) for n in range(8)]
        looping = [pool.submit(asyncio.run, awaited(n)) for n in range(8)]
        assert [each.result() for each in blocking] == [Success(n) for n in range(8)]
        for n, each_ in enumerate(looping):
            assert each_.result() == [Success(n + i) for i in range(5)]


def test_a_dag_can_be_cancelled_and_expires(backend: HatchetBackend) -> None:
    ref = submit(slow(300.0), on=backend).unwrap()
    until_running(ref, backend)
    assert cancel(ref, on=backend) == Success(None)
    assert isinstance(result(ref, on=backend, timeout=PATIENCE).failure(), Cancelled)
    assert status(ref, on=backend).unwrap().state == "cancelled"
    ref = submit(slow(300.0), on=backend, deadline=2.0).unwrap()
    assert isinstance(result(ref, on=backend, timeout=PATIENCE).failure(), Expired)
    assert status(ref, on=backend).unwrap().state == "expired"


def test_a_call_without_a_worker_expires(engine: Engine) -> None:
    """The client itself notices the deadline."""
    namespace = fresh()
    with serving(engine, Catalog(same), namespace=namespace) as backend:
        pass
    backend = backend_on(engine, namespace=namespace)
    ref = submit(same(1), on=backend, deadline=1.0).unwrap()
    other = submit((same >> same)(1), on=backend, deadline=timedelta(seconds=1)).unwrap()
    assert isinstance(result(ref, on=backend, timeout=PATIENCE).failure(), Expired)
    assert isinstance(result(other, on=backend, timeout=PATIENCE).failure(), Expired)
    assert status(ref, on=backend).unwrap().state == "expired"
    backend.close()


def until_running(ref: Ref[float, object], backend: HatchetBackend) -> None:
    end = time.monotonic() + 60
    while status(ref, on=backend).unwrap().state != "running":
        assert time.monotonic() < end
        time.sleep(0.02)


def test_a_foreign_run_is_not_a_success(engine: Engine, backend: HatchetBackend) -> None:
    """Another program may start Onward's workflows, or have workflows of its own."""
    id = foreign_run(engine, f"{NAMESPACE}_same", '{"number": 1}')
    found = result(same.ref(id), on=backend, timeout=PATIENCE).failure()
    assert isinstance(found, Lost)
    assert "was not made by Onward" in found.message
    assert status(same.ref(id), on=backend).unwrap().state == "failed"


def test_without_an_engine_it_is_unavailable(engine: Engine) -> None:
    environment = engine.client_environment
    nowhere = hatchet(environment["HATCHET_CLIENT_TOKEN"], "127.0.0.1:1")
    stranger = hatchet(
        "e30.eyJzdWIiOiAiNzA3ZDA4NTUifQ.sig",
        environment["HATCHET_CLIENT_HOST_PORT"],
    )
    for off in (nowhere, stranger):
        faults: list[Fault] = [
            submit(same(1), on=off).failure(),
            status(same.ref("0" * 32), on=off).failure(),
            cancel(same.ref("0" * 32), on=off).failure(),
            off.serve(catalog).failure(),
        ]
        assert [type(fault) for fault in faults] == [Unavailable] * 4, faults
        early = result(same.ref("0" * 32), on=off, timeout=0.3).failure()
        assert isinstance(early, TimedOut | Unavailable)
        off.close()
