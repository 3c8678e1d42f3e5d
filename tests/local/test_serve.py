"""`local()`: plans that come without their flows, and workers."""

import asyncio
import threading
import time

from msgspec import Raw
from returns.result import Success

from onward import (
    Catalog,
    Expired,
    Unavailable,
    Unknown,
    aio,
    each,
    local,
    result,
    run,
    status,
    submit,
    task,
)
from onward.backend import Submission
from onward.backends.local import Local
from onward.flows.flow import AnyFlow
from onward.outcome import Outcome
from onward.plan import VERSION, Args, Plan
from tests.local.common import (
    PATIENCE,
    Gate,
    inc,
    inc_later,
    is_cancelled,
    until,
)


def plan_of(flow: AnyFlow, id: str, *args: bytes) -> Submission:
    """A submission as it comes from another process: without the flow."""
    return Submission(
        Plan(v=VERSION, id=id, flow=flow.name, root=flow.node, args=Args(tuple(map(Raw, args))))
    )


def outcome_of(id: str, backend: Local, timeout: float = PATIENCE) -> Outcome | None:
    return backend.outcome(id, timeout).unwrap()


def test_a_plan_waits_for_a_worker_that_serves_it(backend: Local) -> None:
    flow = inc >> inc_later
    assert backend.submit(plan_of(flow, "a", b"1")) == Success("a")
    assert outcome_of("a", backend, 0.05) is None
    assert status(flow.ref("a"), on=backend).unwrap().state == "queued"
    worker = backend.serve(Catalog(flow)).unwrap()
    assert result(flow.ref("a"), on=backend, timeout=PATIENCE) == Success(3)
    worker.stop()
    assert worker.wait(0)
    backend.submit(plan_of(flow, "b", b"1"))
    assert outcome_of("b", backend, 0.05) is None


def test_a_plan_runs_only_what_the_catalogs_name(backend: Local) -> None:
    worker = backend.serve(Catalog(inc)).unwrap()
    other = backend.serve(Catalog(inc_later)).unwrap()
    ghost = inc >> inc_later >> task(name="ghost")(inc.fn)
    backend.submit(plan_of(ghost, "a", b"1"))
    fault = result(ghost.ref("a"), on=backend, timeout=PATIENCE).failure()
    assert isinstance(fault, Unknown)
    assert fault.task == "ghost"
    assert "inc, inc_later" in fault.message
    worker.stop()
    other.stop()


def test_a_plan_is_cancelled_or_expires_while_nobody_serves(backend: Local) -> None:
    backend.submit(plan_of(inc, "a", b"1"))
    assert is_cancelled(inc.ref("a"), backend)
    sent = plan_of(inc, "b", b"1").plan
    late = Plan(v=1, id="b", flow="inc", root=sent.root, args=sent.args, deadline=time.time() + 0.1)
    backend.submit(Submission(late))
    assert isinstance(result(inc.ref("b"), on=backend, timeout=PATIENCE).failure(), Expired)


def test_a_worker_brings_places_of_its_own(single: Local, gate: Gate) -> None:
    worker = single.serve(Catalog(gate.step), concurrency=2).unwrap()
    for n in range(4):
        single.submit(plan_of(gate.step, str(n), b"1"))
    for _ in range(3):
        gate.await_entry()
    assert run(inc_later(1), on=single) == Success(2)
    assert not gate.entered.acquire(blocking=False)
    gate.open.set()
    for n in range(4):
        assert result(gate.step.ref(str(n)), on=single) == Success(1)
    worker.stop()


def test_a_worker_that_stops_lets_what_it_holds_end(backend: Local, gate: Gate) -> None:
    worker = backend.serve(Catalog(gate.step)).unwrap()
    backend.submit(plan_of(gate.step, "a", b"1"))
    gate.await_entry()
    stopping = threading.Thread(target=worker.stop)
    stopping.start()
    until(lambda: worker.wait(0))
    backend.submit(plan_of(gate.step, "b", b"1"))
    assert outcome_of("b", backend, 0.05) is None
    assert stopping.is_alive()
    gate.open.set()
    stopping.join(PATIENCE)
    assert not stopping.is_alive()
    assert result(gate.step.ref("a"), on=backend, timeout=0) == Success(1)


def test_a_worker_that_stops_does_not_wait_longer_than_it_may(backend: Local, gate: Gate) -> None:
    worker = backend.serve(Catalog(gate.step)).unwrap()
    backend.submit(plan_of(gate.step, "a", b"1"))
    gate.await_entry()
    worker.stop(grace=0.05)
    assert worker.wait(0)
    worker.stop()


def test_a_wait_within_a_step_that_ends_is_named_as_such() -> None:
    backend = local()

    @task
    def later() -> int:
        return 1

    @task
    def waits() -> str:
        ref = submit(later(), on=backend, delay=60).unwrap()
        return str(result(ref, on=backend, timeout=0.01).failure())

    text = run(waits(), on=backend).unwrap()
    assert "The task waits waits for it within a step" in text
    assert "compose both with >>" in text
    backend.close()


def test_a_closed_backend_runs_nothing_more() -> None:
    backend = local()
    backend.close()
    for call in (inc(1), each(inc)([1])):
        for answer in (
            run(call, on=backend),
            run(call, on=backend, timeout=5),
            submit(call, on=backend),
            asyncio.run(aio.run(call, on=backend)),
        ):
            fault = answer.failure()
            assert isinstance(fault, Unavailable)
            assert "was closed. Connect again" in str(fault)
