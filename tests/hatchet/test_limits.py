"""Limits of tasks hold over all workers, and no call gets lost by them."""

from __future__ import annotations

import contextlib
import itertools
import os
import threading
import time
from collections.abc import Generator
from pathlib import Path

import pytest
from returns.result import Success

from onward import (
    Catalog,
    Constant,
    Retry,
    check,
    connect,
    current,
    explain,
    fused,
    result,
    results,
    run,
    status,
    submit,
    submit_all,
    task,
)
from onward.backends.hatchet import HatchetBackend, Limit, hatchet
from onward.fault import Cancelled, Misconfigured, TimedOut
from tests.hatchet.double import Double
from tests.hatchet.served import PATIENCE, Engine, backend_on, fresh, steps_of

TOKEN = "e30.eyJzdWIiOiAiNzA3ZDA4NTUifQ."

running = threading.Lock()
attempts: list[str] = []


@task
def fetch(n: int) -> int:
    """Fails if another step of this task runs at the same time."""
    assert running.acquire(blocking=False), "two of them at a time"
    time.sleep(0.05)
    running.release()
    return n


@task
def inc(n: int) -> int:
    return n + 1


@task(retry=Retry(attempts=3, backoff=Constant(0.01)))
def third_time(name: str) -> str:
    attempts.append(name)
    if current().attempt < 3:
        raise OSError
    return name


@task
def hold(gate: str) -> str:
    """Notes that it has begun, and waits until it may end."""
    Path(gate).with_name(f"begun-{os.urandom(4).hex()}").touch()
    while not (Path(gate).exists() or current().cancelled):
        time.sleep(0.01)
    return gate


ingest = (inc >> fetch >> inc).named("ingest")
twice = (third_time >> third_time).named("twice")

catalog = Catalog(fetch, inc, ingest, twice, hold)


@pytest.fixture
def real(engine: Engine) -> Engine:
    if isinstance(engine, Double):
        pytest.skip("needs a real engine: the double has no limits")
    return engine


@contextlib.contextmanager
def two_workers(engine: Engine, limits: dict[str, Limit]) -> Generator[HatchetBackend]:
    """A backend with two workers."""
    backend = backend_on(engine, namespace=fresh(), limits=limits)
    workers = [backend.serve(catalog, concurrency=10).unwrap() for _ in range(2)]
    try:
        yield backend
    finally:
        for worker in workers:
            worker.stop(grace=5)
        backend.close()


def begun(folder: Path, count: int, patience: float = PATIENCE) -> None:
    """Waits until so many steps have begun."""
    end = time.monotonic() + patience
    while len(list(folder.glob("begun-*"))) < count:
        assert time.monotonic() < end, "it never began"
        time.sleep(0.01)


# -- on an engine ---------------------------------------------------------------------------------


def test_a_task_of_concurrency_one_never_runs_twice_at_the_same_time(real: Engine) -> None:
    """On all workers, and whether it is called alone, in a named flow or in any other flow."""
    with two_workers(real, {"fetch": Limit(concurrency=1)}) as backend:
        flows = [fetch, ingest, inc >> fetch]
        calls = [flow(n) for n in range(3) for flow in flows]
        refs = submit_all(calls, on=backend).unwrap()
        found = {ref.id: outcome for ref, outcome in results(refs, on=backend, timeout=PATIENCE)}
        meant = itertools.chain.from_iterable((n, n + 2, n + 1) for n in range(3))
        assert [found[ref.id] for ref in refs] == [Success(n) for n in meant]


@pytest.mark.long
def test_a_rate_holds_over_all_workers_and_flows_and_a_retry_does_not_count(real: Engine) -> None:
    """Three steps may begin in a day, each with three attempts: one alone, and two of a DAG."""
    attempts.clear()
    with two_workers(real, {"third_time": Limit(rate=3, per="day")}) as backend:
        for flow in (third_time, twice):
            assert run(flow("now"), on=backend, timeout=PATIENCE) == Success("now")
        flows = (third_time, twice, third_time >> third_time)
        for ref in [submit(flow("later"), on=backend).unwrap() for flow in flows]:
            assert isinstance(result(ref, on=backend, timeout=1).failure(), TimedOut)
        assert attempts == ["now"] * 9


def test_a_call_that_waits_for_its_limit_has_its_key_and_can_be_cancelled(real: Engine) -> None:
    key = fresh()
    with two_workers(real, {"inc": Limit(rate=1, per="day")}) as backend:
        assert run(inc(1), on=backend, timeout=PATIENCE) == Success(2)
        ref, again = (submit(inc(2), on=backend, key=key).unwrap() for _ in range(2))
        assert ref.id == again.id
        assert status(ref, on=backend).unwrap().state == "queued"
        assert backend.cancel(ref.id) == Success(None)
        assert isinstance(result(ref, on=backend, timeout=PATIENCE).failure(), Cancelled)


@pytest.mark.long
def test_a_call_that_waits_for_its_rate_runs_in_a_later_window(real: Engine) -> None:
    """Eight calls at two a second take at least three windows."""
    with two_workers(real, {"inc": Limit(rate=2)}) as backend:
        start = time.monotonic()
        refs = submit_all([inc(n) for n in range(8)], on=backend).unwrap()
        found = [outcome.unwrap() for _, outcome in results(refs, on=backend, timeout=PATIENCE)]
        assert time.monotonic() - start >= 1.95
        assert sorted(found) == list(range(1, 9))


def test_a_returned_step_runs_again_within_its_limit(real: Engine, tmp_path: Path) -> None:
    """Another worker gets it at once, and then the steps that waited for it."""
    namespace, limits = fresh(), {"hold": Limit(concurrency=1)}
    backend, gate = backend_on(real, namespace=namespace, limits=limits), tmp_path / "gate"
    worker = backend.serve(catalog).unwrap()
    refs = [submit(hold(str(gate)), on=backend).unwrap() for _ in range(3)]
    begun(tmp_path, 1)
    worker.stop(grace=0.1)
    other = backend.serve(catalog).unwrap()
    begun(tmp_path, 2)
    gate.touch()
    found = [result(ref, on=backend, timeout=PATIENCE) for ref in refs]
    assert found == [Success(str(gate))] * 3
    assert len(list(tmp_path.glob("begun-*"))) == 4
    other.stop()
    backend.close()


def test_without_limits_a_named_flow_stays_a_dag(engine: Engine) -> None:
    backend = backend_on(engine, namespace=fresh())
    worker = backend.serve(Catalog(ingest)).unwrap()
    ref = submit(ingest(1), on=backend).unwrap()
    assert result(ref, on=backend, timeout=PATIENCE) == Success(3)
    assert steps_of(engine, ref.id) == {"inc", "fetch", "inc-2"}
    worker.stop()
    backend.close()


@pytest.mark.parametrize("limit", [Limit(concurrency=1), Limit(rate=1)], ids=str)
def test_the_double_refuses_limits(limit: Limit) -> None:
    with Double() as double:
        backend = backend_on(double, namespace=fresh(), limits={"fetch": limit})
        assert "unimplemented" in backend.serve(catalog).failure().message
        backend.close()


# -- before there is any --------------------------------------------------------------------------


def test_a_limit_of_an_unknown_task_is_refused_with_the_nearest_name() -> None:
    backend = hatchet(TOKEN, "localhost:7077", limits={"fetsh": Limit(rate=1)})
    refused = backend.serve(catalog).failure()
    assert isinstance(refused, Misconfigured)
    assert "'fetsh' (did you mean 'fetch'?)" in refused.message
    backend.close()


def test_a_limited_task_within_fused_is_refused() -> None:
    backend = hatchet(TOKEN, "localhost:7077", limits={"fetch": Limit(rate=1)})
    flow = (inc >> fused(inc >> fetch)).named("flow")
    for refused in (
        backend.serve(Catalog(flow)).failure(),
        submit(flow(1), on=backend).failure(),
        *check(flow(1), on=backend).failure(),
    ):
        assert isinstance(refused, Misconfigured)
        assert "leave it out of fused" in refused.message
    backend.close()


def test_explain_shows_that_only_a_concurrency_limit_prevents_a_dag() -> None:
    for limit, shown in (
        (Limit(rate=1), "ingest(inc, fetch <- inc, inc-2 <- fetch)"),
        (Limit(concurrency=1), "ingest(inc, fetch, inc)"),
    ):
        assert (
            explain(ingest, on=hatchet(TOKEN, "localhost:7077", limits={"fetch": limit})) == shown
        )


@pytest.mark.parametrize(
    ("wrong", "cure"),
    [
        ({}, r"write Limit\(concurrency=5\)"),
        ({"concurrency": 0}, r"concurrency is from 1 .* write concurrency=5"),
        ({"rate": -1}, r"rate is from 1 .* write rate=10"),
        ({"rate": 10, "per": "seconds"}, "per is one of second, minute"),
        ({"concurrency": True}, "whole number, not True: write concurrency=5"),
        ({"rate": 0.5}, "whole number, not 0.5: write rate=10"),
    ],
    ids=str,
)
def test_an_invalid_limit_is_refused_with_a_cure(wrong: dict[str, object], cure: str) -> None:
    with pytest.raises((TypeError, ValueError), match=cure):
        Limit(**wrong)  # type: ignore[arg-type]  # on purpose


@pytest.mark.parametrize("wrong", [5, ["fetch"], {"fetch": 5}, {fetch: Limit(rate=1)}], ids=str)
def test_limits_of_the_wrong_type_are_refused(wrong: object) -> None:
    with pytest.raises(TypeError, match="limit"):
        hatchet(TOKEN, "localhost:7077", limits=wrong)  # type: ignore[arg-type]  # on purpose


# -- in a file ------------------------------------------------------------------------------------

HEAD = f"backend: hatchet\nhatchet:\n  token: {TOKEN}\n  host_port: localhost:7077\n"


def test_a_file_can_set_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "onward.yaml"
    monkeypatch.setenv("AT_ONCE", "5")
    file.write_text(
        f"{HEAD}  limits:\n"
        "    fetch: {concurrency: '${AT_ONCE}', rate: 10, per: minute}\n"
        "    mail.send:\n      rate: 2\n"
    )
    backend = connect(file).unwrap()
    assert isinstance(backend, HatchetBackend)
    assert backend.settings.limits == {
        "fetch": Limit(concurrency=5, rate=10, per="minute"),
        "mail.send": Limit(rate=2),
    }


@pytest.mark.parametrize(
    ("limits", "cure"),
    [
        ("5", "line 5: limits needs names below it, one to a line"),
        (
            "{fetch: 5}",
            "line 5: fetch needs its settings, such as concurrency and per and rate",
        ),
        ("{fetch: {concurency: 5}}", "(did you mean 'concurrency'?)"),
        ("{fetch: {rate: often}}", "line 5: rate is a whole number: write rate: 4"),
        ("{fetch: {rate: {a: 1}}}", "line 5: rate is a whole number: write rate: 4"),
        ("{fetch: {rate: 0}}", "limits of fetch: rate is from 1"),
        ("{fetch: {}}", "limits of fetch: a limit has a concurrency, a rate or both"),
        ("{fetch: {rate: 1, per: week-end}}", "limits of fetch: per is one of second"),
    ],
)
def test_a_file_with_invalid_limits_is_refused_with_a_cure(
    limits: str, cure: str, tmp_path: Path
) -> None:
    file = tmp_path / "onward.yaml"
    file.write_text(f"{HEAD}  limits: {limits}\n")
    assert cure in connect(file).failure().message
