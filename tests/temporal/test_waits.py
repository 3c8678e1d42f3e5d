"""Sleeps are timers, and signals are Temporal's own: they need no worker, and outlive each."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from returns.result import Result, Success
from temporalio.client import Client

from onward import (
    Conflict,
    Fault,
    Signal,
    Unknown,
    aio,
    awaits,
    each,
    keep,
    result,
    send,
    sleep,
    status,
    submit,
    together,
)
from onward.backends.temporal import TemporalBackend
from onward.backends.temporal.converter import raw_value
from tests.temporal.conftest import until_status, working
from tests.temporal.sdk import Sdk
from tests.temporal.served import catalog, inc

PATIENCE = 120.0
BY, NOTE = Signal("by", int), Signal("note", str)


def test_a_signal_needs_no_worker(workerless: TemporalBackend) -> None:
    ref = submit((inc >> keep(awaits(BY)))(1), on=workerless).unwrap()
    assert send(ref, BY, 5, on=workerless) == Success(None)
    assert isinstance(send(ref, BY, 6, on=workerless).failure(), Conflict)
    worker = workerless.serve(catalog).unwrap()
    assert result(ref, on=workerless, timeout=PATIENCE) == Success((2, 5))
    worker.stop(0)


def test_of_many_senders_one_is_the_first(backend: TemporalBackend) -> None:
    ref = submit((inc >> awaits(BY) >> keep(awaits(NOTE)))(1), on=backend).unwrap()

    async def all_at_once() -> list[Result[None, Fault]]:
        return await asyncio.gather(*(aio.send(ref, BY, n, on=backend) for n in range(8)))

    sent = asyncio.run(all_at_once())
    [first] = [n for n, each_ in enumerate(sent) if each_ == Success(None)]
    assert all(isinstance(it.failure(), Conflict) for it in sent[:first] + sent[first + 1 :])
    assert send(ref, NOTE, "done", on=backend) == Success(None)
    assert result(ref, on=backend, timeout=PATIENCE) == Success((first, "done"))


def test_a_call_waits_on_when_its_worker_is_killed(
    workerless: TemporalBackend, tmp_path: Path
) -> None:
    flow = inc >> keep(awaits(BY)) >> keep(sleep(1))
    with working(workerless, tmp_path) as first:
        ref = submit(flow(1), on=workerless).unwrap()
        now = until_status(ref, workerless, lambda now: now.state == "waiting")
        assert (now.signal, now.task, now.step) == ("by", "inc", "0")
        first.kill()
    assert send(ref, BY, 5, on=workerless) == Success(None)
    worker = workerless.serve(catalog).unwrap()
    assert result(ref, on=workerless, timeout=PATIENCE) == Success(((2, 5), (2, 5)))
    worker.stop(0)


def test_a_signal_does_not_cut_a_delay_short(backend: TemporalBackend) -> None:
    began = time.monotonic()
    ref = submit((inc >> keep(awaits(BY)))(1), on=backend, delay=1.0).unwrap()
    assert send(ref, BY, 5, on=backend) == Success(None)
    assert result(ref, on=backend, timeout=PATIENCE) == Success((2, 5))
    assert time.monotonic() - began >= 1.0


def test_a_long_flow_gets_its_signals(short_histories: TemporalBackend) -> None:
    flow = each(inc >> keep(awaits(BY))) >> each(keep(awaits(NOTE)))
    ref = submit(flow(list(range(30))), on=short_histories).unwrap()
    until_status(ref, short_histories, lambda now: now.signal == "by")
    assert send(ref, BY, 5, on=short_histories) == Success(None)
    until_status(ref, short_histories, lambda now: now.signal == "note")
    assert send(ref, NOTE, "x", on=short_histories) == Success(None)
    found = result(ref, on=short_histories, timeout=PATIENCE)
    assert found == Success([((n + 1, 5), "x") for n in range(30)])


def test_the_status_names_a_wait_that_goes_on(backend: TemporalBackend) -> None:
    ref = submit(together(awaits(BY), awaits(NOTE))(None), on=backend).unwrap()
    until_status(ref, backend, lambda now: now.signal == "by")
    assert send(ref, BY, 5, on=backend) == Success(None)
    until_status(ref, backend, lambda now: now.signal == "note")
    assert send(ref, NOTE, "x", on=backend) == Success(None)
    assert result(ref, on=backend, timeout=PATIENCE) == Success((5, "x"))
    assert status(ref, on=backend).unwrap().state == "done"


def test_a_single_step_takes_no_signal(backend: TemporalBackend) -> None:
    ref = submit(inc(1), on=backend).unwrap()
    result(ref, on=backend, timeout=PATIENCE)
    raw = raw_value(b"5").payload.data
    assert isinstance(backend.send(ref.id, "by", raw).failure(), Conflict)  # type: ignore[arg-type]  # bytes will do
    assert isinstance(backend.send("task-none", "by", raw).failure(), Unknown)  # type: ignore[arg-type]  # the same


def test_temporals_own_client_can_send_a_signal(backend: TemporalBackend, sdk: Sdk) -> None:
    ref = submit((inc >> keep(awaits(BY)))(1), on=backend).unwrap()

    async def signal(client: Client) -> None:
        call = client.get_workflow_handle(ref.id)
        await call.signal("by")  # without a value, it is none
        await call.signal("by", 7)

    sdk.run(signal)
    assert isinstance(send(ref, BY, 5, on=backend).failure(), Conflict)
    assert result(ref, on=backend, timeout=PATIENCE) == Success((2, 7))
