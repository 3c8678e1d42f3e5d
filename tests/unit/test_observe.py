"""Observers see submissions and attempts, and never harm a call."""

import asyncio
import json
import logging
import threading
import uuid
from collections.abc import Generator, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from io import StringIO
from logging.handlers import QueueHandler
from pathlib import Path
from queue import SimpleQueue

import pytest
from msgspec import Raw
from returns.result import Failure, Result, Success

import onward
from onward import (
    BadPayload,
    Call,
    Cancelled,
    Catalog,
    Constant,
    Expired,
    Fault,
    Raised,
    Retry,
    TimedOut,
    Unknown,
    aio,
    cancel,
    connect,
    current,
    each,
    fused,
    local,
    result,
    run,
    submit,
    submit_all,
    task,
    together,
)
from onward.backend import Submission
from onward.backend.additions import additions_of
from onward.backends.local import Local
from onward.flows.flow import AnyFlow
from onward.logs import Json, tell
from onward.observe import Attempt, Sending, observed, observed_catalog
from onward.outcome import Faulted
from onward.plan import MAX_DEPTH, MAX_TRACE, VERSION, Args, Plan, StepNode, decode, encode
from onward.sealing import sealing


@task
def double(n: int) -> int:
    return 2 * n


@task
async def inc(n: int) -> int:
    await asyncio.sleep(0)
    return n + 1


@task
def odd(n: int) -> Result[int, str]:
    return Failure("odd")


@task(retry=Retry(attempts=2, backoff=Constant(0)))
def flaky(n: int) -> int:
    if current().attempt == 1:
        raise OSError("once")
    return n


@task
def traced(n: int) -> str:
    return current().trace["x"]


@task
def untrue(n: int) -> int:
    return "text"  # type: ignore[return-value]  # which is what is tried


@task
def mend(error: str | Fault) -> int:
    return 0


LET_GO = threading.Event()


@task(timeout=0.1)
def slow(n: int) -> int:
    LET_GO.wait(30)
    return n


@task(timeout=0.1)
async def slow_async(n: int) -> int:
    await asyncio.sleep(30)
    return n


@task
async def endless(begun: str) -> None:
    BEGUN.put(begun)
    await asyncio.sleep(30)


BEGUN: SimpleQueue[str] = SimpleQueue()


@task
def explodes(n: int) -> int:
    raise ValueError(n)


@task
async def explodes_later(n: int) -> int:
    raise ValueError(n)


def by_hand(name: str, raw: bytes) -> Submission:
    """A call as another release, or another program, would send it."""
    id = uuid.uuid4().hex
    return Submission(
        Plan(v=VERSION, id=id, flow=name, root=StepNode(task=name), args=Args((Raw(raw),)))
    )


class Notes:
    def __init__(self, trace: str = "y") -> None:
        self.sent: list[Sending] = []
        self.attempts: list[Attempt] = []
        self._trace = trace

    @contextmanager
    def sending(self, sending: Sending) -> Generator[None]:
        sending.trace["x"] = self._trace
        yield
        self.sent.append(sending)

    @contextmanager
    def attempt(self, attempt: Attempt) -> Generator[None]:
        yield
        self.attempts.append(attempt)


class Ends:
    """Hands each attempt over when it has ended."""

    def __init__(self) -> None:
        self.attempts: SimpleQueue[Attempt] = SimpleQueue()

    @contextmanager
    def sending(self, sending: Sending) -> Generator[None]:
        yield

    @contextmanager
    def attempt(self, attempt: Attempt) -> Generator[None]:
        yield
        self.attempts.put(attempt)


class Broken:
    def sending(self, sending: Sending) -> AbstractContextManager[None]:
        sending.trace["x"] = 1  # type: ignore[assignment]  # which is what is tried
        raise RuntimeError("broken")

    @contextmanager
    def attempt(self, attempt: Attempt) -> Generator[None]:
        yield
        raise RuntimeError("broken")


@pytest.fixture
def backend() -> Iterator[Local]:
    backend = local()
    yield backend
    backend.close()


@pytest.mark.parametrize("fails", [explodes, explodes_later], ids=lambda each: each.name)
def test_a_traceback_shows_the_task_and_not_its_observers(backend: Local, fails: AnyFlow) -> None:
    fault = run(fails(1), on=observed(backend, Notes())).failure()
    assert isinstance(fault, Raised)
    assert f"in {fails.name}" in fault.traceback
    assert str(Path(onward.__file__).parent) not in fault.traceback


def test_an_observer_sees_the_call_and_each_attempt(backend: Local) -> None:
    notes = Notes()
    assert run((flaky >> inc >> double)(1), on=observed(backend, notes)) == Success(4)
    assert [each.flow for each in notes.sent] == ["flaky >> inc >> double"]
    seen = [(each.context.task, each.context.attempt) for each in notes.attempts]
    assert seen == [("flaky", 1), ("flaky", 2), ("inc", 1), ("double", 1)]
    assert [type(each.exception) for each in notes.attempts][:2] == [OSError, type(None)]
    assert [each.queued is None for each in notes.attempts] == [False, True, True, True]


def test_an_observer_learns_of_a_domain_error(backend: Local) -> None:
    notes = Notes()
    assert run(odd(1), on=observed(backend, notes)) == Failure("odd")
    assert notes.attempts[0].error == "odd"


@pytest.mark.parametrize("url", ["local://", "celery+memory://"])
@pytest.mark.parametrize(
    ("name", "raw", "fault"),
    [
        ("double", b'"text"', BadPayload),
        ("inc", b'"text"', BadPayload),
        ("untrue", b"1", BadPayload),
        ("nobody_serves_it", b"1", Unknown),
    ],
)
def test_an_observer_learns_of_a_fault_that_no_function_raised(
    url: str, name: str, raw: bytes, fault: type[Fault]
) -> None:
    notes = Notes()
    backend = connect(url).unwrap()
    worker = backend.serve(observed_catalog(Catalog(double, inc, untrue), [notes])).unwrap()
    id = backend.submit(by_hand(name, raw)).unwrap()
    assert isinstance(backend.outcome(id, 30).unwrap(), Faulted)
    worker.stop()
    assert [each.context.task for each in notes.attempts] == [name]
    assert isinstance(notes.attempts[0].error, fault)


@pytest.mark.parametrize("url", ["local://", "celery+memory://"])
def test_an_attempt_that_times_out_ends_as_that(url: str) -> None:
    LET_GO.clear()
    ends = Ends()
    backend = connect(url).unwrap()
    worker = backend.serve(observed_catalog(Catalog(slow, slow_async), [ends])).unwrap()
    for call in (slow(1), slow_async(1)):
        assert isinstance(run(call, on=observed(backend, ends), timeout=120).failure(), TimedOut)
        LET_GO.set()
        attempt = ends.attempts.get(timeout=30)
        assert isinstance(attempt.error, TimedOut)
        assert attempt.exception is None
    worker.stop()
    assert ends.attempts.empty()


def test_an_attempt_that_goes_on_has_nothing_of_the_next(backend: Local) -> None:
    """Of a fused flow that is tried again, both go by the same place and number."""
    LET_GO.clear()
    times = iter((1, 2))

    @task
    def at_first_slow() -> int:
        if next(times) == 1:
            LET_GO.wait(30)
            return 1
        raise LookupError("of the second")

    ends = Ends()
    again = Retry(2, Constant(0.0), on=(TimeoutError,))
    run(fused(at_first_slow, timeout=0.1, retry=again)(), on=observed(backend, ends))
    assert isinstance(ends.attempts.get(timeout=30).exception, LookupError)
    LET_GO.set()
    first = ends.attempts.get(timeout=30)
    assert (first.error, first.exception) == (None, None)


def test_an_attempt_that_is_cut_short_ends_as_what_its_call_does(backend: Local) -> None:
    ends = Ends()
    on = observed(backend, ends)
    ref = submit(endless("one"), on=on).unwrap()
    BEGUN.get(timeout=30)
    cancel(ref, on=on)
    assert isinstance(ends.attempts.get(timeout=30).error, Cancelled)
    run(endless("other"), on=on, deadline=timedelta(seconds=0.1))
    assert isinstance(ends.attempts.get(timeout=30).error, Expired)


@pytest.mark.parametrize("url", ["local://", "celery+memory://"])
def test_how_long_a_call_waited_is_reported_once_for_any_flow(url: str) -> None:
    notes = Notes()
    backend = connect(url).unwrap()
    catalog = observed_catalog(Catalog(double, inc, flaky, odd, mend), [notes])
    worker = backend.serve(catalog).unwrap()
    calls: list[Call[object, object]] = [
        (double >> inc)(1),
        flaky(1),
        odd.rescue(mend)(1),
        each(double >> inc)([1, 2]),
        together(double, inc)(1),
        fused(double >> inc)(1),
    ]
    for call in calls:
        notes.attempts.clear()
        run(call, on=observed(backend, notes), timeout=120)
        waited = [seen.context.step for seen in notes.attempts if seen.queued is not None]
        assert len(waited) == 1, call
    worker.stop()


def test_a_submission_that_is_given_up_is_none_that_succeeded(backend: Local) -> None:
    notes = Notes()

    async def give_up() -> None:
        async with asyncio.timeout(0):
            await aio.submit(double(1), on=observed(backend, notes))

    with pytest.raises(TimeoutError):
        asyncio.run(give_up())
    assert [type(each.fault) for each in notes.sent] == [Cancelled]


def test_what_an_observer_adds_to_the_trace_is_there_inside_the_task(backend: Local) -> None:
    on = observed(backend, Notes("here"))
    assert run(traced(1), on=on) == Success("here")
    ref = submit(traced(1), on=on).unwrap()
    assert result(ref, on=backend) == Success("here")
    refs = submit_all([traced(1), traced(2)], on=on).unwrap()
    assert [result(ref, on=on) for ref in refs] == [Success("here")] * 2
    assert asyncio.run(aio.run(traced(1), on=on)) == Success("here")


def test_a_backend_that_is_observed_leaves_the_first_one_alone(backend: Local) -> None:
    notes = Notes()
    observed(backend, notes)
    assert run(double(1), on=backend) == Success(2)
    assert notes.sent == []


def test_an_observer_that_raises_harms_no_call(
    backend: Local, caplog: pytest.LogCaptureFixture
) -> None:
    notes = Notes()
    assert run(double(1), on=observed(backend, notes, Broken())) == Success(2)
    assert len(notes.sent) == len(notes.attempts) == 1
    assert "an observer raised" in caplog.text


def test_a_trace_that_is_too_large_stays_behind(
    backend: Local, caplog: pytest.LogCaptureFixture
) -> None:
    failed = run(traced(1), on=observed(backend, Notes("x" * MAX_TRACE))).failure()
    assert isinstance(failed, Raised)
    assert failed.error_type == "KeyError"
    assert "dropped the trace" in caplog.text


def test_a_served_catalog_keeps_its_names_and_policies() -> None:
    catalog = Catalog((flaky >> inc).named("both"))
    other = observed_catalog(catalog, [Notes()])
    assert list(other) == list(catalog)
    assert other.tasks["flaky"].policy == flaky.policy
    assert observed_catalog(catalog, []) is catalog


def test_each_log_record_of_a_task_tells_of_its_call(backend: Local) -> None:
    text = StringIO()
    logger = logging.getLogger("tests.observe")
    handler = tell(logging.StreamHandler(text))
    handler.setFormatter(Json())
    logger.addHandler(handler)

    @task
    def speak(n: int) -> int:
        logger.warning("n is %d", n)
        return n

    try:
        ref = submit(speak(3), on=backend).unwrap()
        result(ref, on=backend)
        logger.warning("outside")
    finally:
        logger.removeHandler(handler)
    inside, outside = map(json.loads, text.getvalue().splitlines())
    where = {name: inside[name] for name in ("message", "ref", "task", "step", "attempt")}
    assert where == {
        "message": "n is 3",
        "ref": str(ref),
        "task": "speak",
        "step": "0",
        "attempt": 1,
    }
    assert "ref" not in outside


def test_what_a_task_starts_and_calls_logs_as_the_task_does(backend: Local) -> None:
    records: SimpleQueue[logging.LogRecord] = SimpleQueue()
    handler = tell(QueueHandler(records))
    library = logging.getLogger("somebody.else")

    async def helps() -> None:
        library.warning("in an asyncio task")

    @task
    async def speaks() -> None:
        library.warning("in the task")
        await asyncio.gather(helps(), asyncio.to_thread(library.warning, "on a thread"))

    logging.getLogger().addHandler(handler)
    try:
        run(speaks(), on=backend)
    finally:
        logging.getLogger().removeHandler(handler)
    heard = [records.get(timeout=30) for _ in range(3)]
    assert [vars(record)["task"] for record in heard] == ["speaks"] * 3


def test_a_log_record_keeps_the_fields_of_its_task(backend: Local) -> None:
    records: SimpleQueue[logging.LogRecord] = SimpleQueue()
    logger = logging.getLogger("tests.observe.queue")
    handler = tell(QueueHandler(records))
    logger.addHandler(handler)

    @task
    def speak(n: int) -> int:
        logger.warning("n is %d", n, extra={"step": "mine"})
        return n

    try:
        ref = submit(speak(3), on=backend).unwrap()
        result(ref, on=backend)
    finally:
        logger.removeHandler(handler)
    text = StringIO()
    last = tell(logging.StreamHandler(text))
    last.setFormatter(Json())
    last.handle(records.get(timeout=30))
    line = json.loads(text.getvalue())
    assert (line["ref"], line["step"], line["attempt"]) == (str(ref), "mine", 1)


def test_a_log_record_of_anything_is_a_line_of_json() -> None:
    record = logging.makeLogRecord({"msg": "caf\udce9\n", "name": "x"})
    assert json.loads(Json().format(record))["message"] == "caf\udce9\n"
    assert "\n" not in Json().format(record)


def test_a_trace_travels_in_the_plan_and_one_that_is_empty_leaves_no_mark() -> None:
    plan = Plan(v=VERSION, flow="double", root=double.node, trace={"traceparent": "00-1-2-01"})
    assert decode(encode(plan)) == Success(plan)
    bare = Plan(v=VERSION, flow="double", root=double.node)
    assert b"trace" not in encode(bare)
    assert hash(plan) == hash(plan)


def test_a_plan_with_a_trace_without_bounds_is_refused() -> None:
    plan = Plan(v=VERSION, flow="double", root=double.node, trace={"x": "y" * MAX_TRACE})
    assert isinstance(decode(encode(plan)).failure(), BadPayload)


def test_the_deepest_flow_that_there_can_be_is_watched(backend: Local) -> None:
    flow: AnyFlow = inc
    while flow.depth < MAX_DEPTH:
        flow = flow.named(f"n{flow.depth}")
    notes = Notes()
    assert run(flow(1), on=observed(backend, notes)) == Success(2)
    assert [attempt.context.task for attempt in notes.attempts] == ["inc"]


def test_a_frozen_backend_can_be_observed_and_one_without_room_says_what_to_add() -> None:
    @dataclass(frozen=True)
    class Frozen:
        name: str

    class Narrow:
        __slots__ = ()

    notes = Notes()
    backend = Frozen("mine")
    assert additions_of(observed(backend, notes)).observers == (notes,)
    assert additions_of(backend).observers == ()
    with pytest.raises(TypeError, match=r"Narrow has __slots__.*add '_onward_additions'"):
        observed(Narrow(), notes)


def test_observers_and_keys_can_both_be_added() -> None:
    notes = Notes()
    for both in (
        observed(sealing(local(), [b"k" * 32]), notes),
        sealing(observed(local(), notes), [b"k" * 32]),
    ):
        added = additions_of(both)
        assert (added.observers, repr(added.sealer)) == ((notes,), "Sealer(1 key)")
