"""What is left on an engine is counted until nothing is, and schedules are handed over."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from returns.result import Failure, Success

from onward import (
    Catalog,
    Signal,
    awaits,
    cancel,
    pause_schedule,
    result,
    schedule,
    schedules,
    send,
    sleep,
    submit,
    task,
)
from onward.backend.guard import call_backend
from onward.backends.sqlite import SqliteBackend, sqlite
from onward.bridges import drain, handing_over
from onward.bridges.draining import left_on
from onward.fault import Unsupported
from tests.engines.process import until

GO = Signal("go", int)
BEGUN, HELD = threading.Event(), threading.Event()


@task
def note(n: int) -> int:
    return n


@task
def hold(n: int) -> int:
    BEGUN.set()
    HELD.wait(60)
    return n


SLEEPS = (sleep(3600) >> note).named("sleeps")
WAITS = (awaits(GO) >> note).named("waits")


@pytest.fixture
def engines(tmp_path: Path) -> Iterator[tuple[SqliteBackend, SqliteBackend]]:
    BEGUN.clear()
    HELD.clear()
    old, new = sqlite(tmp_path / "old.db"), sqlite(tmp_path / "new.db")
    yield old, new
    HELD.set()
    old.close()
    new.close()


def test_what_is_left_is_counted_by_flow(engines: tuple[SqliteBackend, SqliteBackend]) -> None:
    """Until nothing is; then the iterator ends."""
    old, _ = engines
    worker = old.serve(Catalog(note, hold, SLEEPS, WAITS), concurrency=1).unwrap()
    sleeper = submit(SLEEPS(1), on=old).unwrap()
    waiter = submit(WAITS(1), on=old).unwrap()
    until(
        lambda: left_on(old).unwrap().calls == {"sleeps": {"sleeping": 1}, "waits": {"waiting": 1}},
        within=120,
        otherwise=lambda: str(left_on(old)),
    )
    held = submit(hold(1), on=old).unwrap()
    assert BEGUN.wait(60)
    queued = [submit(note(n), on=old).unwrap() for n in range(2)]
    later = submit(note(3), on=old, delay=3600).unwrap()
    looks = drain(old, every=0.01)
    first = next(looks).unwrap()
    assert first.calls == {
        "hold": {"running": 1},
        "note": {"queued": 2, "delayed": 1},
        "sleeps": {"sleeping": 1},
        "waits": {"waiting": 1},
    }
    assert (first.open, first.is_nothing) == (6, False)
    HELD.set()
    assert send(waiter, GO, 7, on=old) == Success(None)
    for ref in (sleeper, later):
        cancel(ref, on=old).unwrap()
    for ref in (held, waiter, *queued):
        result(ref, on=old, timeout=120).unwrap()
    *_, last = looks
    assert last.unwrap().is_nothing
    worker.stop()


def test_schedules_are_handed_over(engines: tuple[SqliteBackend, SqliteBackend]) -> None:
    """With their arguments, tags and times; a paused one stays paused."""
    old, new = engines
    made = schedule(note(1), on=old, name="a", every=3600, tags=["x"]).unwrap()
    schedule(note(2), on=old, name="b", cron="30 2 * * *", timezone="Asia/Tokyo").unwrap()
    pause_schedule("b", on=old).unwrap()
    [only] = drain(old, to=new)
    assert only.unwrap().handed_over == ("a", "b")
    assert schedules(on=old) == Success([])
    one, other = schedules(on=new).unwrap()
    assert (one.every, one.paused, one.next_at is not None) == (3600, False, True)
    assert (other.timezone, other.paused) == ("Asia/Tokyo", True)
    plan = new.scheduled("a").unwrap().plan
    assert (plan.tags, plan.trace, plan.args) == (("x",), {}, note(1).args)
    assert made.flow == one.flow


@pytest.mark.parametrize("is_paused", [False, True])
def test_a_schedule_has_one_owner_whenever_it_is_interrupted(
    engines: tuple[SqliteBackend, SqliteBackend],
    monkeypatch: pytest.MonkeyPatch,
    is_paused: bool,
) -> None:
    """Before and after each request: at no time do both run it, and again ends it."""
    old, new = engines

    class Died(BaseException):
        pass

    def dying(at: int, *, after: bool) -> Callable[..., Any]:
        numbers = itertools.count()

        def ask(method: Callable[..., Any], *args: Any) -> Any:
            is_last = next(numbers) == at
            if is_last and not after:
                raise Died
            answer = call_backend(method, *args)
            if is_last:
                raise Died
            return answer

        return ask

    deaths = 0
    for at, after in itertools.product(range(20), (False, True)):
        name = f"{at}.{after}"
        schedule(note(at), on=old, name=name, every=3600).unwrap()
        if is_paused:
            pause_schedule(name, on=old).unwrap()
        monkeypatch.setattr(handing_over, "call_backend", dying(at, after=after))
        try:
            handing_over.hand_over(name, old, new).unwrap()
        except Died:
            deaths += 1
            found = [each for on in engines for each in schedules(on=on).unwrap()]
            running = [each for each in found if each.name == name and not each.paused]
            assert len(running) <= (0 if is_paused else 1)
            monkeypatch.setattr(handing_over, "call_backend", call_backend)
            if name in {each.name for each in schedules(on=old).unwrap()}:
                handing_over.hand_over(name, old, new).unwrap()
        monkeypatch.setattr(handing_over, "call_backend", call_backend)
        assert name not in {each.name for each in schedules(on=old).unwrap()}
        [there] = [each for each in schedules(on=new).unwrap() if each.name == name]
        assert there.paused == is_paused
        assert new.scheduled(name).unwrap().plan.trace == {}
    assert deaths >= 12


def test_what_the_other_engine_refuses_stays(
    engines: tuple[SqliteBackend, SqliteBackend],
) -> None:
    old, new = engines

    class Choosy(SqliteBackend):
        def schedule(self, *_: object) -> Any:
            return Failure(Unsupported("a", "no schedules here"))

    schedule(note(1), on=old, name="a", every=3600).unwrap()
    [fault] = drain(old, to=Choosy(new._core))
    assert isinstance(fault.failure(), Unsupported)
    [kept] = schedules(on=old).unwrap()
    assert (kept.paused, kept.next_at is not None) == (False, True)
    assert old.scheduled("a").unwrap().plan.trace == {}


def test_a_run_that_falls_due_meanwhile_is_made_up_for(
    engines: tuple[SqliteBackend, SqliteBackend], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once: on the new engine, as a call of its own."""
    old, new = engines
    schedule(note(5), on=old, name="a", every=3600).unwrap()
    clock = time.time
    with monkeypatch.context() as later:
        later.setattr(time, "time", lambda: clock() + 7200)
        handing_over.hand_over("a", old, new).unwrap()
    assert left_on(new).unwrap().calls == {"note": {"queued": 1}}
