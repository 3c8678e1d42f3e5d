"""Calls that are listed and read, and calls that continue others."""

from __future__ import annotations

import itertools
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from msgspec import Raw
from msgspec.structs import replace
from returns.result import Success

from onward import (
    Cancelled,
    Catalog,
    Conflict,
    Constant,
    Fault,
    Retry,
    Signal,
    Unanswered,
    awaits,
    cancel,
    current,
    each,
    fork,
    keep,
    result,
    resume,
    run,
    send,
    sleep,
    status,
    submit,
    task,
    together,
)
from onward import plan as plans
from onward.backend import CallQuery, CallRecord, HistoryPage, StepRecord, Submission
from onward.backends.hatchet import HatchetBackend
from onward.fault import Lost, Raised, TooLarge
from onward.outcome import Faulted, Outcome, Value
from onward.past import taken_over
from onward.plan import NEWEST, Args, Past, Plan, StepNode
from tests.hatchet.double import Double
from tests.hatchet.served import PATIENCE, Engine, backend_on, fresh, serving

DECISION = Signal("decision", bool)


@task
def begin(file: str) -> str:
    note(file, "begin")
    return file


@task(retry=Retry(attempts=2, backoff=Constant(0)))
def flaky(file: str) -> str:
    """Fails twice in each call, and then no more."""
    note(file, "flaky")
    if noted(Path(file)).count("flaky") <= 2:
        raise ValueError(f"no {noted(Path(file)).count('flaky')}")
    return file


@task
def end(file: str) -> str:
    note(file, f"end {current().id}")
    return current().id


@task
def twice(n: int) -> int:
    return 2 * n


@task
def twice_text(text: str) -> int:
    return 2 * int(text)


@task
def ignore(error: Unanswered | Fault) -> bool:
    return False


@task
def tidy(file: str) -> None:
    note(file, "tidy")


@task
def last(pair: tuple[str, bool]) -> str:
    return f"{pair[1]}"


def note(file: str, text: str) -> None:
    with Path(file).open("a") as opened:
        opened.write(f"{text}\n")


def noted(file: Path) -> list[str]:
    return file.read_text().splitlines() if file.exists() else []


TWICE = StepNode(task="twice")
fixed_steps = (begin >> flaky >> end).named("fixed_steps")
catalog = Catalog(begin, flaky, end, twice, twice_text, ignore, tidy, last, fixed_steps)


@pytest.fixture(scope="module")
def backend(engine: Engine) -> Iterator[HatchetBackend]:
    with serving(engine, catalog, namespace=fresh()) as backend:
        yield backend


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "notes"


def until(condition: Callable[[], bool], patience: float = PATIENCE) -> None:
    limit = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < limit, "it did not become true in time"
        time.sleep(0.02)


def page_of(backend: HatchetBackend, id: str) -> HistoryPage:
    return backend.history(id).unwrap()


def by_path(page: HistoryPage) -> dict[str, StepRecord]:
    return {step.path: step for step in page.steps}


def fault_of(outcome: Outcome | None) -> Fault:
    assert isinstance(outcome, Faulted)
    return outcome.fault


def continued(page: HistoryPage, past: Past | None = None) -> Plan:
    """The plan of a call that goes on where another one stopped."""
    assert page.plan is not None
    known = {step.path: step.outcome for step in page.steps if step.outcome is not None}
    past = past or Past(page.call.id, taken_over(page.plan, known))
    return replace(page.plan, v=NEWEST, id=uuid.uuid4().hex, key=None, past=past)


def value_of(backend: HatchetBackend, id: str) -> object:
    outcome = backend.outcome(id, 60).unwrap()
    return outcome.raw if isinstance(outcome, Value) else outcome


@pytest.mark.parametrize("is_dag", [True, False])
def test_a_failed_call_goes_on_where_it_stopped(
    backend: HatchetBackend, file: Path, is_dag: bool
) -> None:
    flow = fixed_steps if is_dag else begin >> flaky >> end
    ref = submit(flow(str(file)), on=backend, tags=["nightly: 1", "eu"]).unwrap()
    assert isinstance(result(ref, on=backend, timeout=PATIENCE).failure(), Raised)
    page = page_of(backend, ref.id)
    assert [(step.path, step.task) for step in page.steps] == [("0", "begin"), ("1", "flaky")]
    first, second = page.steps
    assert isinstance(first.outcome, Value)
    faults = [fault_of(attempt.outcome) for attempt in second.attempts]
    assert [(fault.message, type(fault)) for fault in faults] == [
        ("no 1", Raised),
        ("no 2", Raised),
    ]
    assert [attempt.number for attempt in second.attempts] == [1, 2]
    assert {attempt.worker.split("-")[0] for attempt in second.attempts} == {"onward"}
    assert first.began is not None
    assert second.ended is not None
    assert first.began <= second.ended
    assert page.call.state == "failed"
    assert (page.call.fault, page.call.tags) == ("Raised", ("nightly: 1", "eu"))
    assert page.outcome == second.outcome
    going_on = resume(ref, on=backend).unwrap()
    assert resume(ref, on=backend) == Success(going_on)
    assert result(going_on, on=backend, timeout=PATIENCE) == Success(ref.id)
    assert noted(file) == ["begin", "flaky", "flaky", "flaky", f"end {ref.id}"]
    after = page_of(backend, going_on.id)
    assert [step.path for step in after.steps] == ["1", "2"]


def test_a_single_task_with_other_arguments(backend: HatchetBackend) -> None:
    ref = submit(twice(1), on=backend).unwrap()
    assert result(ref, on=backend, timeout=PATIENCE) == Success(2)
    page = page_of(backend, ref.id)
    assert [(step.path, step.outcome) for step in page.steps] == [("0", Value(Raw(b"2")))]
    assert page.plan is not None
    other = replace(page.plan.args, positional=(Raw(b"21"),))
    plan = continued(page, Past(ref.id, args={"0": other}))
    assert value_of(backend, backend.submit(Submission(plan)).unwrap()) == Raw(b"42")


def test_a_wait_is_seen_while_it_waits_and_after(backend: HatchetBackend, file: Path) -> None:
    flow = (begin >> sleep(0.1) >> keep(awaits(DECISION)) >> last).finally_(tidy)
    ref = submit(flow(str(file)), on=backend).unwrap()
    until(lambda: status(ref, on=backend).unwrap().state == "waiting" and len(noted(file)) == 1)
    until(lambda: "try.2[1]" in by_path(page_of(backend, ref.id)))
    waiting = by_path(page_of(backend, ref.id))["try.2[1]"]
    assert (waiting.kind, waiting.task, waiting.outcome) == ("awaits", "decision", None)
    assert send(ref, DECISION, True, on=backend) == Success(None)
    assert result(ref, on=backend, timeout=PATIENCE) == Success("True")
    page = page_of(backend, ref.id)
    assert page.signals == {"decision": Raw(b"true")}
    assert [(step.path, step.kind) for step in page.steps] == [
        ("try.0", "step"),
        ("try.1", "sleep"),
        ("try.2[1]", "awaits"),
        ("try.3", "step"),
        ("finally", "step"),
    ]
    assert by_path(page)["try.1"].until is not None
    assert by_path(page)["try.2[1]"].outcome == Value(Raw(b"true"))


def test_a_call_goes_on_with_its_signal_and_other_arguments(
    backend: HatchetBackend, file: Path
) -> None:
    flow = begin >> keep(awaits(DECISION)) >> last >> twice_text
    ref = submit(flow(str(file)), on=backend).unwrap()
    assert send(ref, DECISION, True, on=backend) == Success(None)
    assert isinstance(result(ref, on=backend, timeout=PATIENCE).failure(), Raised)
    going_on = resume(ref, on=backend, args=["21"]).unwrap()
    assert result(going_on, on=backend, timeout=PATIENCE) == Success(42)
    assert isinstance(resume(ref, on=backend, args=["22"]).failure(), Conflict)
    assert noted(file) == ["begin"]
    forked = fork(ref, at="2", on=backend).unwrap()
    assert isinstance(result(forked, on=backend, timeout=PATIENCE).failure(), Raised)
    assert [step.path for step in page_of(backend, forked.id).steps] == ["2", "3"]


def test_a_wait_ends_when_it_would_have_ended(backend: HatchetBackend, file: Path) -> None:
    flow = begin >> sleep(3600) >> end
    ref = submit(flow(str(file)), on=backend).unwrap()
    until(lambda: status(ref, on=backend).unwrap().state == "waiting")
    assert cancel(ref, on=backend) == Success(None)
    until(lambda: "0" in by_path(page_of(backend, ref.id)))
    page = page_of(backend, ref.id)
    assert page.call.state == "cancelled"
    sleeping = by_path(page)["1"]
    assert sleeping.outcome is None
    assert sleeping.until is not None
    known = {"0": page.steps[0].outcome}
    assert known["0"] is not None
    past = Past(ref.id, {"0": known["0"]}, {"1": time.time() - 1})
    going_on = backend.submit(Submission(continued(page, past))).unwrap()
    assert value_of(backend, going_on) == Raw(f'"{ref.id}"'.encode())


def test_a_continued_call_cleans_up_when_it_is_cancelled(
    backend: HatchetBackend, file: Path
) -> None:
    flow = (begin >> awaits(DECISION)).finally_(tidy)
    ref = submit(flow(str(file)), on=backend).unwrap()
    until(lambda: status(ref, on=backend).unwrap().state == "waiting")
    assert cancel(ref, on=backend) == Success(None)
    assert isinstance(result(ref, on=backend, timeout=PATIENCE).failure(), Cancelled)
    page = page_of(backend, ref.id)
    going_on = backend.submit(Submission(continued(page))).unwrap()
    until(lambda: backend.status(going_on).unwrap().state == "waiting")
    assert backend.cancel(going_on) == Success(None)
    assert isinstance(fault_of(backend.outcome(going_on, 60).unwrap()), Cancelled)
    assert noted(file) == ["begin", "tidy", "tidy"]


def test_steps_come_in_pages(backend: HatchetBackend) -> None:
    ref = submit(each(twice)(list(range(7))), on=backend).unwrap()
    assert result(ref, on=backend, timeout=PATIENCE) == Success([0, 2, 4, 6, 8, 10, 12])
    paths, after = [], ""
    while True:
        page = backend.history(ref.id, after, 3).unwrap()
        paths.append([step.path for step in page.steps])
        after = page.next
        if not after:
            break
    assert sorted(itertools.chain.from_iterable(paths)) == [f"[{n}]" for n in range(7)]
    assert [len(page) for page in paths] == [3, 3, 1]


def test_steps_that_the_engine_lists_late_are_waited_for(file: Path) -> None:
    """So what has an outcome does not run again."""
    with Double() as double, serving(double, catalog) as backend:
        double.lag(1.0)
        waits = begin >> sleep(0.01) >> flaky >> end
        cleans_up = (begin >> flaky >> end).finally_(tidy)
        for flow, paths in ((waits, ["0", "1", "2"]), (cleans_up, ["try.0", "try.1", "finally"])):
            file.unlink(missing_ok=True)
            ref = submit(flow(str(file)), on=backend).unwrap()
            assert isinstance(result(ref, on=backend, timeout=PATIENCE).failure(), Raised)
            steps = by_path(page_of(backend, ref.id))
            assert [path for path in paths if steps[path].outcome is not None] == paths
            going_on = resume(ref, on=backend).unwrap()
            assert result(going_on, on=backend, timeout=PATIENCE) == Success(ref.id)
            assert noted(file).count("begin") == 1


def test_what_is_taken_over_has_a_limit(backend: HatchetBackend) -> None:
    ref = submit((twice >> twice)(1), on=backend).unwrap()
    assert result(ref, on=backend, timeout=PATIENCE) == Success(4)
    page = page_of(backend, ref.id)
    large = Past(ref.id, {"0": Value(Raw(b'"' + b"x" * 5_000_000 + b'"'))})
    fault = backend.submit(Submission(continued(page, large))).failure()
    assert isinstance(fault, TooLarge)
    assert "takes over" in str(fault)


def test_a_lost_call_is_listed_and_goes_on(file: Path) -> None:
    """Also by a client that sees it for the first time."""
    with Double() as double:
        with serving(double, catalog):
            pass
        client = backend_on(double)
        ref = submit(begin(str(file)), on=client).unwrap()
        double.fail_to_send(ref.id, ago=60, error="its workers died")
        client.close()
        with serving(double, catalog) as backend:
            (call,) = listed(backend, CallQuery(frozenset(["lost"])))
            assert (call.id, call.state, call.fault) == (ref.id, "failed", "Lost")
            going_on = resume(ref, on=backend).unwrap()
            assert result(going_on, on=backend, timeout=PATIENCE) == Success(str(file))


def test_a_call_of_a_later_release_is_a_dead_letter_that_goes_on_after_an_upgrade(
    backend: HatchetBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    id = uuid.uuid4().hex
    later = Plan(v=NEWEST + 1, id=id, flow="twice", root=TWICE, args=Args((Raw(b"4"),)), tags=(id,))
    ref = twice.ref(backend.submit(Submission(later)).unwrap())
    fault = result(ref, on=backend, timeout=PATIENCE).failure()
    assert isinstance(fault, Lost)
    assert "upgrade the workers" in fault.message
    assert "upgrade the workers" in str(resume(ref, on=backend).failure())
    query = CallQuery(frozenset(["lost"]), tags=frozenset([id]))
    until(lambda: [call.id for call in listed(backend, query)] == [ref.id])
    monkeypatch.setattr(plans, "NEWEST", NEWEST + 1)  # as if this were that release
    again = resume(ref, on=backend).unwrap()
    assert result(again, on=backend, timeout=PATIENCE) == Success(8)


def listed(backend: HatchetBackend, query: CallQuery) -> list[CallRecord]:
    calls: list[CallRecord] = []
    after = ""
    while True:
        page = backend.calls(query, after).unwrap()
        calls += page.calls
        after = page.next
        if not after:
            return calls


def test_calls_are_listed(engine: Engine, file: Path) -> None:
    with serving(engine, catalog, namespace=fresh()) as backend:
        run((begin >> together(end, end))(str(file)), on=backend, timeout=PATIENCE)
        tagged = submit(twice(1), on=backend, tags=["a", "b:c"]).unwrap()
        other = submit(twice(2), on=backend, tags=["a"]).unwrap()
        waiting = submit((twice >> awaits(DECISION))(3), on=backend).unwrap()
        failed = submit(fixed_steps(str(file)), on=backend).unwrap()
        for ref in (tagged, other):
            result(ref, on=backend, timeout=PATIENCE)
        result(failed, on=backend, timeout=PATIENCE)
        until(lambda: status(waiting, on=backend).unwrap().state == "waiting")
        until(lambda: len(listed(backend, CallQuery(frozenset(["done"])))) == 3)
        ids = [call.id for call in listed(backend, CallQuery())]
        assert ids[:4] == [failed.id, waiting.id, other.id, tagged.id]
        assert len(ids) == 5
        assert [call.id for call in listed(backend, CallQuery(limit=2))] == ids

        def ids_of(query: CallQuery) -> list[str]:
            return [call.id for call in listed(backend, query)]

        assert ids_of(CallQuery(tags=frozenset(["a"]))) == [other.id, tagged.id]
        assert ids_of(CallQuery(tags=frozenset(["a", "b:c"]))) == [tagged.id]
        assert ids_of(CallQuery(flow="fixed_steps")) == [failed.id]
        assert ids_of(CallQuery(frozenset(["waiting"]))) == [waiting.id]
        until(lambda: ids_of(CallQuery(frozenset(["failed"]))) == [failed.id])
        assert ids_of(CallQuery(frozenset(["lost"]))) == []
        (call,) = listed(backend, CallQuery(tags=frozenset(["b:c"])))
        assert (call.state, call.tags, call.flow) == ("done", ("a", "b:c"), "twice")
        assert call.submitted is not None
        assert ids_of(CallQuery(since=call.submitted))[-1] == tagged.id
        assert len(ids_of(CallQuery(until=call.submitted))) == 1
        assert cancel(waiting, on=backend) == Success(None)
        until(lambda: ids_of(CallQuery(frozenset(["cancelled"]))) == [waiting.id])
