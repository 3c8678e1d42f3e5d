"""What `move` does with calls in each state, and what it refuses."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from returns.result import Success

from onward import (
    Cancelled,
    Conflict,
    Moved,
    Signal,
    Unavailable,
    Unknown,
    aio,
    awaits,
    cancel,
    local,
    move,
    result,
    resume,
    send,
    status,
    submit,
)
from onward.backends.local import Local
from onward.interpret.continuing import continued_id
from tests.local.common import PATIENCE, Gate, inc, until

GO = Signal("go", int)


@pytest.fixture
def old() -> Iterator[Local]:
    backend = local()
    yield backend
    backend.close()


@pytest.fixture
def new() -> Iterator[Local]:
    backend = local()
    yield backend
    backend.close()


def test_a_signal_that_came_early_goes_along(old: Local, new: Local) -> None:
    gate = Gate()
    ref = submit((gate.step >> awaits(GO) >> inc)(1), on=old).unwrap()
    gate.await_entry()
    assert send(ref, GO, 41, on=old) == Success(None)
    moved = move(ref, on=old, to=new).unwrap()
    gate.open.set()
    assert result(moved, on=new, timeout=PATIENCE) == Success(42)


def test_a_step_that_runs_is_given_up_and_runs_again(old: Local, new: Local) -> None:
    gate = Gate()
    ref = submit((inc >> gate.step >> inc)(1), on=old).unwrap()
    gate.await_entry()
    moved = move(ref, on=old, to=new).unwrap()
    gate.await_entry()
    gate.open.set()
    assert result(moved, on=new, timeout=PATIENCE) == Success(3)
    assert isinstance(result(ref, on=old).failure(), Moved)
    assert status(ref, on=old).unwrap().state == "moved"


def test_a_call_that_has_gone_is_resumed_where_it_went(old: Local, new: Local) -> None:
    ref = submit((inc >> awaits(GO))(1), on=old).unwrap()
    until(lambda: status(ref, on=old).unwrap().state == "waiting")
    moved = move(ref, on=old, to=new).unwrap()
    cancel(moved, on=new)
    assert isinstance(resume(ref, on=old).failure(), Moved)
    again = resume(moved, on=new).unwrap()
    assert send(again, GO, 42, on=new) == Success(None)
    assert result(again, on=new, timeout=PATIENCE) == Success(42)


def test_a_delay_goes_along(old: Local, new: Local) -> None:
    ref = submit(inc(1), on=old, delay=600).unwrap()
    moved = move(ref, on=old, to=new).unwrap()
    assert status(moved, on=new).unwrap().state == "queued"
    assert cancel(moved, on=new) == Success(None)


def test_a_call_moves_on_and_back(old: Local, new: Local) -> None:
    ref = submit((inc >> awaits(GO))(1), on=old).unwrap()
    there = move(ref, on=old, to=new).unwrap()
    back = move(there, on=new, to=old).unwrap()
    assert there.id == ref.id != back.id
    assert send(back, GO, 7, on=old) == Success(None)
    assert result(back, on=old, timeout=PATIENCE) == Success(7)


def test_an_interrupted_move_is_repeated(old: Local, new: Local) -> None:
    ref = submit((inc >> awaits(GO))(1), on=old).unwrap()
    until(lambda: status(ref, on=old).unwrap().state == "waiting")
    # Here its process ends: the old backend has given the call up, and the new one has nothing.
    id = continued_id(ref.id, "move")
    assert old.give_up(ref.id, Moved(ref.flow.name, "it was moved", "", id)) == Success(None)
    moved = move(ref, on=old, to=new).unwrap()
    assert moved.id == id
    assert send(moved, GO, 7, on=new) == Success(None)
    assert result(moved, on=new, timeout=PATIENCE) == Success(7)


def test_what_cannot_be_moved(old: Local, new: Local) -> None:
    done = submit(inc(1), on=old).unwrap()
    assert result(done, on=old) == Success(2)
    assert isinstance(move(done, on=old, to=new).failure(), Conflict)
    assert isinstance(move(inc.ref("nobody"), on=old, to=new).failure(), Unknown)


def test_a_backend_that_is_away_gets_nothing(old: Local) -> None:
    ref = submit((inc >> awaits(GO))(1), on=old).unwrap()
    until(lambda: status(ref, on=old).unwrap().state == "waiting")
    closed = local()
    closed.close()
    assert isinstance(move(ref, on=old, to=closed).failure(), Unavailable)
    assert status(ref, on=old).unwrap().state == "waiting"


def test_a_call_that_cleans_up_ends_where_it_is(old: Local, new: Local) -> None:
    gate = Gate()
    ref = submit((awaits(GO).finally_(gate.step))(1), on=old).unwrap()
    until(lambda: status(ref, on=old).unwrap().state == "waiting")
    assert cancel(ref, on=old) == Success(None)
    gate.await_entry()
    assert "cancelling" in move(ref, on=old, to=new).failure().message
    gate.open.set()
    assert isinstance(result(ref, on=old, timeout=PATIENCE).failure(), Cancelled)


def test_move_for_callers_that_await(old: Local, new: Local) -> None:
    async def moves() -> None:
        ref = (await aio.submit((inc >> awaits(GO))(1), on=old)).unwrap()
        moved = (await aio.move(ref, on=old, to=new)).unwrap()
        assert await aio.send(moved, GO, 5, on=new) == Success(None)
        assert await aio.result(moved, on=new, timeout=PATIENCE) == Success(5)

    asyncio.run(moves())
