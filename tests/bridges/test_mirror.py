"""A shadow engine runs copies of calls; the primary one answers, whatever the shadow does."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from returns.result import Failure, Result, Success

from onward import Cancels, Catalog, local, result, run, submit_all, task
from onward.backend import Submission
from onward.backends.local import Local
from onward.bridges import Comparison, mirror
from onward.fault import Unavailable

GO = threading.Event()


@task
def double(n: int) -> int:
    return 2 * n


@task
def charge(n: int) -> int:
    return n


@task(name="moody")
def moody(n: int) -> str:
    return "primary"


@task(name="moody")
def moody_there(n: int) -> str:
    if n == 1:
        raise ValueError("not here")
    return "shadow"


@task(name="slow")
def slow(n: int) -> int:
    return n


@task(name="slow")
def slow_there(n: int) -> int:
    GO.wait(60)
    return n


@pytest.fixture
def shadow() -> Iterator[Local]:
    GO.clear()
    backend = local()
    worker = backend.serve(Catalog(double, charge, moody_there, slow_there)).unwrap()
    yield backend
    GO.set()
    worker.stop()
    backend.close()


@pytest.fixture
def primary() -> Iterator[Local]:
    backend = local()
    yield backend
    backend.close()


def test_pure_flows_are_compared(primary: Local, shadow: Local) -> None:
    """And no others; the primary's capabilities and refs stay."""
    seen: queue.Queue[Comparison] = queue.Queue()
    backend = mirror(primary, shadow, pure=[double, "moody"], report=seen.put)
    assert isinstance(backend, Cancels)
    refs = submit_all([double(n) for n in range(5)], on=backend).unwrap()
    assert [result(ref, on=primary) for ref in refs] == [Success(2 * n) for n in range(5)]
    assert run(charge(1), on=backend) == Success(1)
    assert run(moody(0), on=backend, key="k") == Success("primary")
    assert run(moody(1), on=backend) == Success("primary")
    found = [seen.get(timeout=60) for _ in range(7)]
    same = {each.id for each in found if each.is_same}
    assert same == {ref.id for ref in refs}
    assert sorted(each.flow for each in found if not each.is_same) == ["moody", "moody"]
    assert all(each.primary is not None and each.shadow is not None for each in found)
    assert result(double.ref(f"{refs[1].id}.shadow"), on=shadow) == Success(2)
    assert isinstance(result(charge.ref(f"{refs[1].id}"), on=shadow), Failure)


def test_a_comparison_can_be_one_s_own(primary: Local, shadow: Local) -> None:
    seen: queue.Queue[Comparison] = queue.Queue()
    backend = mirror(
        primary, shadow, all=True, report=seen.put, compare=lambda primary, shadow: True
    )
    assert run(moody(0), on=backend) == Success("primary")
    assert seen.get(timeout=60).is_same


def test_the_shadow_s_slowness_is_its_own(primary: Local, shadow: Local) -> None:
    """A call that it does not end in time is reported without its outcome."""
    seen: queue.Queue[Comparison] = queue.Queue()
    backend = mirror(primary, shadow, all=True, report=seen.put, timeout=0.5)
    assert run(slow(3), on=backend) == Success(3)
    late = seen.get(timeout=60)
    assert (late.is_same, late.shadow) == (False, None)


def test_the_shadow_s_failures_are_its_own(primary: Local) -> None:
    """Also if it cannot be reached, raises, or what it is reported to raises."""

    class Broken(Local):
        def submit(self, submission: Submission, /) -> Result[str, Unavailable]:
            raise ConnectionError("no route")

    seen: queue.Queue[Comparison] = queue.Queue()

    def report(comparison: Comparison) -> None:
        seen.put(comparison)
        raise ValueError("the metrics are away")

    gone = local()
    gone.close()
    for shadow in (gone, Broken(gone._core)):
        backend = mirror(primary, shadow, all=True, report=report)
        assert run(double(3), on=backend) == Success(6)
        assert not seen.get(timeout=60).is_same


def test_a_mirror_says_what_it_mirrors(primary: Local, shadow: Local) -> None:
    mistakes: list[dict[str, Any]] = [
        {},
        {"pure": []},
        {"pure": double},
        {"all": True, "timeout": 0},
    ]
    for wrong in mistakes:
        with pytest.raises((TypeError, ValueError)):
            mirror(primary, shadow, report=print, **wrong)
