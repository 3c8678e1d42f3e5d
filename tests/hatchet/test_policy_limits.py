"""`Limit` of tasks and flows: what is Hatchet's own, beside the laws of the suite."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Never

import pytest
from msgspec import Raw
from returns.result import Success

from onward import (
    Catalog,
    Limit,
    cancel,
    check,
    current,
    explain,
    limited,
    result,
    status,
    submit,
    task,
)
from onward.backend import Submission
from onward.backends.hatchet import HatchetBackend, hatchet
from onward.backends.hatchet import Limit as EngineLimit
from onward.fault import Cancelled, Expired, Misconfigured, Unknown, Unsupported
from onward.flows.flow import Call, Ref
from onward.limit import StepLimit
from onward.plan import VERSION, Args, Plan, StepNode
from tests.hatchet.double import Double
from tests.hatchet.served import PATIENCE, Engine, backend_on, fresh

TOKEN = "e30.eyJzdWIiOiAiNzA3ZDA4NTUifQ."


def note(path: str, what: str) -> None:
    with Path(path).with_name(what).open("a") as file:
        file.write(f"{Path(path).name}\n")


@task
def inc(n: int) -> int:
    return n + 1


@task
def hold(path: str) -> str:
    """Notes that it has begun, and waits until it may end: until there is a file of its name."""
    note(path, "begun")
    while not (Path(path).exists() or current().cancelled):
        time.sleep(0.01)
    return Path(path).name


@task
def clean(path: str) -> None:
    note(path, "cleaned")


@task(limit=Limit(rate=5))
def paced(n: int) -> int:
    return n


@task(limit=Limit(concurrency=1))
def one(n: int) -> int:
    return n


LIMIT = Limit(concurrency=1)
exports = limited(hold.named("exports"), LIMIT)
tidy = limited(hold.finally_(clean).named("tidy"), LIMIT)
catalog = Catalog(hold, clean, exports, tidy, one, inc)


@pytest.fixture
def real(engine: Engine) -> Engine:
    if isinstance(engine, Double):
        pytest.skip("needs a real engine: the double does not count what runs")
    return engine


@contextmanager
def served(engine: Engine) -> Generator[HatchetBackend]:
    backend = backend_on(engine, namespace=fresh())
    worker = backend.serve(catalog).unwrap()
    try:
        yield backend
    finally:
        worker.stop(grace=1)
        backend.close()


def lines(folder: Path, name: str) -> list[str]:
    file = folder / name
    return file.read_text().splitlines() if file.exists() else []


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "it never came to be true"
        time.sleep(0.01)


def waits(ref: Ref[str, Never], backend: HatchetBackend) -> None:
    """Waits until a call waits for the limit of its flow."""
    until(lambda: status(ref, on=backend).unwrap().limit == "tidy")


# -- on an engine ---------------------------------------------------------------------------------


@pytest.mark.long
def test_a_call_that_waits_for_its_flows_limit_has_not_begun(real: Engine, tmp_path: Path) -> None:
    """So a cancel or its deadline ends it at once, nothing is cleaned up, and others move up."""
    with served(real) as backend:
        first = submit(tidy(str(tmp_path / "first")), on=backend).unwrap()
        until(lambda: lines(tmp_path, "begun") == ["first"])
        late = submit(tidy(str(tmp_path / "late")), on=backend, deadline=1.5).unwrap()
        gone = submit(tidy(str(tmp_path / "gone")), on=backend).unwrap()
        last = submit(tidy(str(tmp_path / "last")), on=backend, unique="last").unwrap()
        waits(gone, backend)
        waits(last, backend)
        cancel(gone, on=backend)
        assert isinstance(result(gone, on=backend, timeout=PATIENCE).failure(), Cancelled)
        assert isinstance(result(late, on=backend, timeout=PATIENCE).failure(), Expired)
        assert lines(tmp_path, "begun") == ["first"]
        for name in ("first", "last"):
            (tmp_path / name).touch()
        assert result(first, on=backend, timeout=PATIENCE) == Success("first")
        assert result(last, on=backend, timeout=PATIENCE) == Success("last")
        assert lines(tmp_path, "cleaned") == ["first", "last"]


@pytest.mark.long
def test_a_worker_that_stops_keeps_the_places_of_its_calls(real: Engine, tmp_path: Path) -> None:
    backend = backend_on(real, namespace=fresh())
    worker = backend.serve(catalog).unwrap()
    refs = [submit(exports(str(tmp_path / str(n))), on=backend).unwrap() for n in range(3)]
    until(lambda: len(lines(tmp_path, "begun")) == 1)
    other = backend.serve(catalog).unwrap()
    worker.stop(grace=0.1)
    until(lambda: len(lines(tmp_path, "begun")) == 2)  # the other one runs its step again
    [name] = set(lines(tmp_path, "begun"))
    (tmp_path / name).touch()
    until(lambda: len(set(lines(tmp_path, "begun"))) == 2)
    for n in range(3):
        (tmp_path / str(n)).touch()
    assert [result(ref, on=backend, timeout=PATIENCE) for ref in refs] == [
        Success(str(n)) for n in range(3)
    ]
    other.stop(grace=1)
    backend.close()


def test_a_limited_task_that_nobody_has_is_unknown(real: Engine) -> None:
    with served(real) as backend:
        plan = Plan(
            v=VERSION,
            id=os.urandom(16).hex(),
            flow="ghost",
            root=StepNode(task="ghost", limit=StepLimit("ghost", concurrency=1)),
            args=Args((Raw(b"1"),)),
        )
        id = backend.submit(Submission(plan)).unwrap()
        outcome = backend.outcome(id, PATIENCE).unwrap()
        assert outcome is not None
        fault = inc.read(outcome).failure()
        assert isinstance(fault, Unknown)
        assert fault.task == "ghost"


# -- before there is any --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "call",
    [paced(1), limited(inc.named("counts"), Limit(rate=5, concurrency=1))(1)],
    ids=["task", "flow"],
)
def test_a_rate_is_refused_with_the_reason(call: Call[int, Never]) -> None:
    backend = hatchet(TOKEN, "localhost:7077")
    for refused in (*check(call, on=backend).failure(), submit(call, on=backend).failure()):
        assert isinstance(refused, Unsupported)
        assert "counts a rate in windows that follow one another" in refused.message
    backend.close()


def test_a_task_has_one_limit() -> None:
    backend = hatchet(TOKEN, "localhost:7077", limits={"one": EngineLimit(concurrency=2)})
    [refused] = check(one(1), on=backend).failure()
    assert isinstance(refused, Misconfigured)
    assert "leave one of them out" in refused.message
    backend.close()


def test_explain_shows_that_a_limit_prevents_a_dag() -> None:
    backend = hatchet(TOKEN, "localhost:7077")
    chained, whole = (one >> inc).named("chained"), limited((inc >> inc).named("whole"), LIMIT)
    assert explain(chained, on=backend) == "chained(one, inc)"
    assert explain(whole, on=backend) == "onward.flow(chain(inc, inc))"
    assert explain(one, on=backend) == "onward.flow(one)"
    backend.close()
