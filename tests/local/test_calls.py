"""`local()`: keys, delays, deadlines, priorities, and how long an outcome is kept."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

from returns.result import Failure, Success

from onward import (
    Expired,
    Ref,
    Unknown,
    current,
    each,
    local,
    result,
    run,
    status,
    submit,
    task,
    together,
)
from onward.backends.local import Local
from onward.flows.flow import AnyFlow
from tests.local.common import PATIENCE, Gate, inc, never, until

# -- keys -------------------------------------------------------------------------------------


def test_a_key_is_submitted_once_from_however_many_threads(backend: Local) -> None:
    ran: list[str | None] = []
    together_now = threading.Barrier(20)

    @task
    def once(n: int) -> int:
        ran.append(current().key)
        return n

    def submits(n: int) -> Ref[int]:
        together_now.wait(PATIENCE)
        return submit(once(n), on=backend, key="order-7").unwrap()

    with ThreadPoolExecutor(20) as threads:
        refs = set(threads.map(submits, range(20)))
    [ref] = refs
    outcome = result(ref, on=backend)
    assert outcome.unwrap() in range(20)
    assert result(submit(once(99), on=backend, key="order-7").unwrap(), on=backend) == outcome
    assert run(once(99), on=backend, key="order-7") == outcome
    assert ran == ["order-7"]


def test_a_key_belongs_to_one_flow(backend: Local) -> None:
    flows: list[AnyFlow] = [inc, inc >> inc, each(inc), together(inc, inc), inc.named("other")]
    refs = [submit(flow(1), on=backend, key="k").unwrap() for flow in flows if flow != each(inc)]
    refs.append(submit(each(inc)([1]), on=backend, key="k").unwrap())
    assert len({ref.id for ref in refs}) == len(flows)


# -- delay, deadline, priority ----------------------------------------------------------------


def test_a_step_knows_its_calls_deadline(backend: Local) -> None:
    @task
    def when() -> datetime | None:
        return current().deadline

    deadline = datetime.now(UTC) + timedelta(hours=1)
    told = run(when(), on=backend, deadline=deadline).unwrap()
    assert told is not None
    assert abs(told - deadline) < timedelta(milliseconds=1)
    assert run(when(), on=backend) == Success(None)


def test_a_deadline_that_passes_ends_a_call_wherever_it_is(single: Local, gate: Gate) -> None:
    submit(gate.step(1), on=single)
    gate.await_entry()
    running = submit(never(1), on=single, deadline=0.1).unwrap()
    in_line = submit(inc(1), on=single, deadline=0.1).unwrap()
    delayed = submit(inc(1), on=single, delay=3600, deadline=timedelta(seconds=0.1)).unwrap()
    for ref in (running, in_line, delayed):
        assert isinstance(result(ref, on=single, timeout=PATIENCE).failure(), Expired)
        assert status(ref, on=single).unwrap().state == "expired"


def test_the_most_urgent_of_those_that_wait_goes_first(single: Local, gate: Gate) -> None:
    order: list[str] = []

    @task
    def note(name: str) -> None:
        order.append(name)

    first = submit(gate.step(0), on=single).unwrap()
    gate.await_entry()
    refs = [
        submit(note("least"), on=single, priority=0).unwrap(),
        submit(note("as usual"), on=single).unwrap(),
        submit(note("most"), on=single, priority=9).unwrap(),
        submit(note("also most"), on=single, priority=9).unwrap(),
        submit(note.with_(priority=7)("its own"), on=single, priority=1).unwrap(),
    ]
    until(lambda: all(status(ref, on=single).unwrap().state == "running" for ref in refs))
    gate.open.set()
    for ref in (first, *refs):
        assert isinstance(result(ref, on=single, timeout=PATIENCE), Success)
    assert order == ["most", "also most", "its own", "as usual", "least"]


# -- keeping and forgetting -------------------------------------------------------------------


def test_an_outcome_is_kept_as_long_as_was_asked_for() -> None:
    backend = local(keep=0)
    ref = submit(inc(1), on=backend, key="k").unwrap()
    assert result(ref, on=backend) == Success(2)

    def is_forgotten() -> bool:
        submit(inc(0), on=backend)  # it is then that what is too old is looked for
        return isinstance(status(ref, on=backend), Failure)

    until(is_forgotten)
    assert isinstance(result(ref, on=backend).failure(), Unknown)
    assert isinstance(status(ref, on=backend).failure(), Unknown)
    assert result(submit(inc(5), on=backend, key="k").unwrap(), on=backend) == Success(6)


def test_a_call_that_runs_is_not_forgotten(gate: Gate) -> None:
    backend = local(keep=0)
    ref = submit(gate.step(1), on=backend).unwrap()
    gate.await_entry()
    for n in range(10):
        submit(inc(n), on=backend)
    assert status(ref, on=backend).unwrap().state == "running"
    gate.open.set()
    assert result(ref, on=backend) == Success(1)
