"""A system goes from one engine to another: who runs a call is decided once."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Protocol, cast, runtime_checkable

import pytest
from returns.result import Failure, Result, Success

from onward import (
    Backend,
    Call,
    Cancels,
    Catalog,
    Forgets,
    Lists,
    Moves,
    Schedules,
    Signal,
    Signals,
    aio,
    awaits,
    calls,
    cancel,
    connect,
    current,
    history,
    local,
    move,
    pause_schedule,
    result,
    results,
    resume,
    schedule,
    schedules,
    send,
    sleep,
    status,
    submit,
    submit_all,
    task,
    unschedule,
    work,
)
from onward.backend import Diagnoses, Submission, SubmitsUnique, Transacts
from onward.backends.local import Local
from onward.backends.sqlite import SqliteBackend, sqlite
from onward.bridges import Share, routed, share
from onward.bridges.dial import ROUTE, By
from onward.fault import Cancelled, Fault, Misconfigured, Moved, Unknown, Unsupported
from onward.outbox import Outbox
from onward.plan import Plan

RAN: Counter[str] = Counter()
GO = Signal("go", int)
LOCK = threading.Lock()


@task
def note(n: int) -> int:
    with LOCK:
        RAN[str(current().key or n)] += 1
    return n


@task(name="report.daily")
def report(kind: str, copies: int = 1) -> str:
    return kind * copies


@pytest.fixture(autouse=True)
def _nothing_ran(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(ROUTE, raising=False)
    RAN.clear()


@pytest.fixture
def files(tmp_path: Path) -> Iterator[tuple[SqliteBackend, SqliteBackend]]:
    old, new = sqlite(tmp_path / "old.db"), sqlite(tmp_path / "new.db")
    yield old, new
    old.close()
    new.close()


@pytest.fixture
def pair() -> Iterator[tuple[Local, Local]]:
    old, new = local(), local()
    yield old, new
    old.close()
    new.close()


@runtime_checkable
class Full(Moves, Cancels, Signals, Lists, Schedules, Protocol):
    """What a bridge between backends that have everything has."""


def full(old: Backend, new: Backend, by: By) -> Full:
    bridge = routed(old, new, by=by)
    assert isinstance(bridge, Full)
    return bridge


def turned(dial: list[float], plan: Plan) -> float:
    return dial[0]


def is_new(text: object) -> bool:
    return str(text).endswith(".new")


# -- keys -------------------------------------------------------------------------------------


def test_a_key_runs_on_one_engine_while_the_dial_moves(
    files: tuple[SqliteBackend, SqliteBackend],
) -> None:
    """32 submitters, each with a dial of its own that moves all the time."""
    old, new = files
    keys = [f"key {n}" for n in range(12)]
    dials = [[0.0] for _ in range(32)]
    bridges = [full(old, new, partial(turned, dial)) for dial in dials]

    def submitter(number: int) -> dict[str, str]:
        refs = {}
        for at, key in enumerate(keys):
            dials[number][0] = (0.0, 100.0, 50.0)[(number + at) % 3]
            refs[key] = submit(note(at), on=bridges[number], key=key).unwrap()
        return {key: str(ref) for key, ref in refs.items()}

    with ThreadPoolExecutor(32) as threads:
        found = list(threads.map(submitter, range(32)))
    worker = bridges[0].serve(Catalog(note)).unwrap()
    for at, key in enumerate(keys):
        texts = {refs[key] for refs in found}
        for text in texts:
            for bridge in (bridges[0], bridges[1]):
                assert result(note.ref(text), on=bridge, timeout=120) == Success(at)
        assert len({text.removesuffix(".new") for text in texts}) == 1
    worker.stop()
    assert Counter(keys) == RAN


def test_a_key_stays_where_it_was_first(pair: tuple[Local, Local]) -> None:
    """Also when all later calls go elsewhere, in both directions."""
    old, new = pair
    before, after = routed(old, new, by=0), routed(old, new, by=100)
    first = submit(note(1), on=before, key="a").unwrap()
    second = submit(note(2), on=after, key="b").unwrap()
    assert (is_new(first), is_new(second)) == (False, True)
    assert submit(note(1), on=after, key="a").unwrap() == first
    assert submit(note(2), on=before, key="b").unwrap() == second
    assert [result(ref, on=before) for ref in (first, second)] == [Success(1), Success(2)]
    assert Counter(["a", "b"]) == RAN
    assert isinstance(status(second, on=old).failure(), Unknown)


def test_a_key_that_only_the_new_engine_still_knows_is_found_there(
    pair: tuple[Local, Local],
) -> None:
    old, new = pair
    second = submit(note(2), on=routed(old, new, by=100), key="b").unwrap()
    other = local()  # whose retention is over
    assert submit(note(2), on=routed(other, new, by=0), key="b").unwrap() == second
    other.close()


def test_a_claim_whose_client_died_arrives(files: tuple[SqliteBackend, SqliteBackend]) -> None:
    """Whoever asks for the call submits it, with the signals that it has got."""
    old, new = files
    flow = awaits(GO)
    bridge = full(old, new, 100)
    ref = submit(flow(0), on=old, key="k", delay=600).unwrap()
    assert send(ref, GO, 7, on=old) == Success(None)
    claimed = Moved(flow.name, "its key went away", "", f"{ref.id}.new")
    assert old.give_up(ref.id, claimed) == Success(None)
    assert isinstance(status(flow.ref(f"{ref.id}.new"), on=new).failure(), Unknown)
    worker = bridge.serve(Catalog()).unwrap()
    assert result(ref, on=bridge, timeout=120) == Success(7)
    assert is_new(submit(flow(0), on=bridge, key="k").unwrap())
    worker.stop()


def test_a_claim_that_was_cancelled_is_not_moved(pair: tuple[Local, Local]) -> None:
    old, new = pair
    bridge = full(old, new, 100)
    ref = submit(note(1), on=old, key="k", delay=600).unwrap()
    assert cancel(ref, on=bridge) == Success(None)
    assert submit(note(1), on=bridge, key="k").unwrap() == ref
    assert isinstance(result(ref, on=bridge).failure(), Cancelled)


# -- calls ------------------------------------------------------------------------------------


def test_a_repeated_submission_goes_the_same_way(pair: tuple[Local, Local]) -> None:
    """And a larger share has all the calls that a smaller one has."""
    old, new = pair
    refs = [submit(note(n), on=old).unwrap() for n in range(40)]
    plans = [old.history(ref.id).unwrap().plan for ref in refs]
    submissions = [Submission(plan, flow=note) for plan in plans if plan is not None]

    def chosen(percent: float) -> set[str]:
        bridge = full(old, new, percent)
        ids, again = ([bridge.submit(each).unwrap() for each in submissions] for _ in range(2))
        assert ids == again == bridge.submit_all(submissions).unwrap()
        return set(filter(is_new, ids))

    few, many = chosen(25), chosen(75)
    assert few < many
    assert (len(chosen(0)), len(chosen(100))) == (0, 40)


def test_calls_are_found_wherever_they_are(pair: tuple[Local, Local]) -> None:
    """Those of before the bridge, those on either side of it, and those that were moved."""
    old, new = pair
    bridge = full(old, new, 50)
    before = submit((awaits(GO) >> note)(0), on=old).unwrap()
    refs = submit_all([note(n) for n in range(20)], on=bridge).unwrap()
    assert {is_new(ref) for ref in refs} == {False, True}
    assert dict(results(refs, on=bridge)) == {ref: Success(n) for n, ref in enumerate(refs)}
    parsed = [note.ref(str(ref)) for ref in refs]
    assert [result(ref, on=bridge) for ref in parsed] == [Success(n) for n in range(20)]
    assert status(before, on=bridge).unwrap().state == "waiting"
    assert send(before, GO, 7, on=bridge) == Success(None)
    assert result(before, on=bridge) == Success(7)
    assert history(before, on=bridge).unwrap().state == "done"
    listed = [each.unwrap().ref.id for each in calls(bridge)]
    assert sorted(listed) == sorted([before.id, *(ref.id for ref in refs)])
    assert isinstance(result(note.ref("0" * 32), on=bridge, timeout=1).failure(), Unknown)


def test_a_call_goes_on_where_it_was(pair: tuple[Local, Local]) -> None:
    """`resume` does not ask the dial, so that it makes one call however often it is repeated."""
    old, new = pair
    broken = ["the network"]

    @task
    def fragile(n: int) -> int:
        if broken:
            raise ConnectionError(broken[0])
        return n

    refs = [submit(fragile(1), on=routed(old, new, by=by)).unwrap() for by in (0, 100)]
    bridges = [routed(old, new, by=by) for by in (0, 100)]
    for ref in refs:
        assert isinstance(result(ref, on=bridges[0]), Failure)
    broken.clear()
    for ref in refs:
        again = {resume(ref, on=bridge).unwrap() for bridge in bridges if isinstance(bridge, Moves)}
        assert {is_new(each) for each in again} == {is_new(ref)}
        [one] = again
        assert result(one, on=bridges[0]) == Success(1)


@pytest.mark.parametrize("has_url", [True, False])
def test_a_moved_call_is_found_by_its_old_ref(tmp_path: Path, *, has_url: bool) -> None:
    """Also between the two engines of the bridge, whether they have addresses or not."""
    paths = tmp_path / "old.db", tmp_path / "new.db"
    old, new = (connect(f"sqlite:///{at}").unwrap() if has_url else sqlite(at) for at in paths)
    assert isinstance(old, Moves)
    bridge = full(old, new, 0)
    ref = submit((awaits(GO) >> note)(0), on=bridge).unwrap()
    other = submit((awaits(GO) >> note)(0), on=bridge).unwrap()
    worker = bridge.serve(Catalog(note)).unwrap()
    there = move(ref, on=old, to=new).unwrap()
    assert is_new(there) is False
    assert send(ref, GO, 3, on=bridge) == Success(None)
    assert result(ref, on=bridge, timeout=120) == result(there, on=bridge) == Success(3)
    move(other, on=old, to=new).unwrap()
    assert cancel(other, on=bridge) == Success(None)
    assert isinstance(result(other, on=bridge, timeout=120).failure(), Cancelled)
    assert status(other, on=bridge).unwrap().state == "cancelled"
    worker.stop()
    bridge.close()


def test_a_moved_call_is_found_by_an_engine_that_learns_of_it_late(tmp_path: Path) -> None:
    """As on Hatchet, whose lists have a call a moment after it was submitted."""

    class Late(SqliteBackend):
        def find(self, id: str, /, timeout: float = 0.0) -> Result[str, Fault]:
            return Success(id) if timeout else Failure(Unknown(id, "not listed yet"))

    old, file = sqlite(tmp_path / "old.db"), sqlite(tmp_path / "new.db")
    new = Late(file._core)
    bridge = full(old, new, 0)
    worker = bridge.serve(Catalog(note)).unwrap()
    ref = submit((awaits(GO) >> note)(0), on=bridge).unwrap()
    move(ref, on=old, to=new).unwrap()
    assert send(ref, GO, 3, on=bridge) == Success(None)
    assert result(ref, on=bridge, timeout=60) == Success(3)
    worker.stop()
    bridge.close()


def test_an_outbox_stands_in_front_of_a_bridge(tmp_path: Path) -> None:
    """Which has no transaction of its own, also if both of its engines have."""
    bridge = routed(sqlite(tmp_path / "old.db"), sqlite(tmp_path / "new.db"), by=100)
    assert not isinstance(bridge, Transacts)
    worker = bridge.serve(Catalog(note)).unwrap()
    outbox = Outbox(bridge)
    with closing(sqlite3.connect(tmp_path / "shop.db")) as db:
        outbox.create(db)
        with db:
            ref = submit(note(7), on=outbox.within(db), key="7").unwrap()
        with db:
            assert outbox.relay(db) == Success(1)
    assert result(ref, on=bridge, timeout=60) == Success(7)
    assert status(ref, on=bridge).unwrap().state == "done"
    worker.stop()
    bridge.close()


def test_a_bridge_has_what_both_have(pair: tuple[Local, Local]) -> None:
    """Of its capabilities, and of what its backends cannot run."""

    class Plain:
        """What every backend has."""

        lacks: ClassVar[Mapping[str, str]] = {"sleep": "it never sleeps"}

        def submit(self, submission: Submission, /) -> object: ...
        def submit_all(self, submissions: object, /) -> object: ...
        def outcome(self, id: str, /, timeout: float | None = None) -> object: ...
        def settled(self, ids: object, /, timeout: float | None = None) -> object: ...
        def status(self, id: str, /) -> object: ...
        def serve(self, catalog: Catalog, /, **options: object) -> object: ...
        def close(self) -> None: ...

    old, new = pair
    plain = cast(Backend, Plain())
    for bridge in (routed(old, plain, by=0), routed(plain, old, by=0)):
        assert not isinstance(bridge, Cancels | Signals | Lists | Moves | Schedules)
        refused = submit(sleep(1)(1), on=bridge).failure()
        assert isinstance(refused, Unsupported)
    full = routed(old, new, by=0)
    for capability in (Cancels, Signals, Lists, Moves, Schedules, SubmitsUnique, Forgets):
        assert isinstance(full, capability)
    assert not isinstance(full, Diagnoses)


def test_callers_that_await_use_the_same_bridge(pair: tuple[Local, Local]) -> None:
    old, new = pair
    bridge = full(old, new, 50)

    async def both() -> list[object]:
        refs = (await aio.submit_all([note(n) for n in range(8)], on=bridge)).unwrap()
        keyed = (await aio.submit(note(9), on=bridge, key="k")).unwrap()
        return [*await asyncio.gather(*(aio.result(ref, on=bridge) for ref in (*refs, keyed)))]

    assert asyncio.run(both()) == [Success(n) for n in (*range(8), 9)]


# -- the dial ---------------------------------------------------------------------------------


def goes(backend: Backend, call: Call[Any, Any], **options: Any) -> bool:
    return is_new(submit(call, on=backend, delay=600, **options).unwrap())


def test_the_first_rule_that_applies_decides(pair: tuple[Local, Local]) -> None:
    rules: list[Share | float] = [
        share(100, report, where=lambda kind, copies=1: copies > 1),
        share(0, "report.*"),
        share(100, tags=["beta"]),
        0,
    ]
    bridge = full(*pair, rules)
    assert goes(bridge, report("x", 2))
    assert goes(bridge, report("x", copies=2))
    assert not goes(bridge, report("x"), tags=["beta"])
    assert goes(bridge, note(1), tags=["beta", "large"])
    assert not goes(bridge, note(1))


def test_a_function_decides_of_the_plan(pair: tuple[Local, Local]) -> None:
    bridge = full(*pair, lambda plan: plan.flow == "note")
    assert (goes(bridge, note(1)), goes(bridge, report("x"))) == (True, False)


def test_a_rule_that_raises_is_a_fault(pair: tuple[Local, Local]) -> None:
    """Which does not show what it raised."""
    bridge = full(*pair, [share(100, report, where=lambda kind, copies=1: kind[99] == "x")])
    fault = submit(report("secret"), on=bridge).failure()
    assert fault == Misconfigured("report.daily", "the rule that routes it raised IndexError")


def test_a_file_is_read_again_when_it_changes(
    pair: tuple[Local, Local], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """And a broken one changes nothing, and says so once."""
    dial = tmp_path / "dial.toml"
    dial.write_text("100")
    bridge = full(*pair, dial)
    assert goes(bridge, note(1))
    dial.write_text("share = 0\n[flows]\nnote = 100\n[tags]\nlater = 0")
    assert (goes(bridge, note(1)), goes(bridge, report("x"))) == (True, False)
    assert not goes(bridge, note(1), tags=["later"])
    for broken in ("share = ", "share = 101", "[flows]\nnote = 'all'", "part = 3"):
        dial.write_text(broken)
        caplog.clear()
        assert goes(bridge, note(1))
        assert goes(bridge, note(1))
        [said] = caplog.messages
        assert "is kept as it was" in said
    dial.unlink()
    assert goes(bridge, note(1))
    dial.write_text("0")
    assert not goes(bridge, note(1))


def test_the_environment_overrides_the_dial(
    pair: tuple[Local, Local], monkeypatch: pytest.MonkeyPatch
) -> None:
    bridge = full(*pair, 100)
    for text, expected in (("old", False), ("new", True), ("0", False), ("100", True)):
        monkeypatch.setenv(ROUTE, text)
        assert goes(bridge, note(1)) is expected
    monkeypatch.setenv(ROUTE, "both")
    assert isinstance(submit(note(1), on=bridge).failure(), Misconfigured)


@pytest.mark.parametrize("by", [101, -1, "25", True, [25, "x"], None, Path("no-such-file")])
def test_a_bad_dial_raises(pair: tuple[Local, Local], by: Any) -> None:
    with pytest.raises((TypeError, ValueError)):
        routed(*pair, by=by)


# -- unique keys and schedules ----------------------------------------------------------------


def test_unique_keys_change_over_with_the_last_call(pair: tuple[Local, Local]) -> None:
    """Until all calls of a flow go to the new engine, the old one keeps one call of a key open."""
    nearly, whole = routed(*pair, by=99), routed(*pair, by=100)
    refs = {submit(note(1), on=nearly, unique=f"{n}", delay=600).unwrap() for n in range(20)}
    assert not any(map(is_new, refs))
    assert is_new(submit(note(1), on=whole, unique="other", delay=600).unwrap())


def test_a_schedule_is_on_one_engine(pair: tuple[Local, Local]) -> None:
    """On the old one, or where it has been handed over to."""
    old, new = pair
    bridge = full(old, new, 100)
    schedule(note(1), on=bridge, name="a", every=3600).unwrap()
    assert [len(schedules(on=each).unwrap()) for each in (old, new)] == [1, 0]
    schedule(note(1), on=new, name="a", every=3600).unwrap()
    assert [each.name for each in schedules(on=bridge).unwrap()] == ["a"]
    schedule(note(2), on=bridge, name="a", every=7200).unwrap()
    assert schedules(on=old) == Success([])
    assert [each.every for each in schedules(on=new).unwrap()] == [7200]
    assert pause_schedule("a", on=bridge) == Success(None)
    assert unschedule("a", on=bridge) == Success(None)
    assert isinstance(unschedule("a", on=bridge).failure(), Unknown)


# -- workers ----------------------------------------------------------------------------------


def test_a_worker_serves_both(files: tuple[SqliteBackend, SqliteBackend]) -> None:
    bridge = full(*files, 50)
    refs = submit_all([note(n) for n in range(12)], on=bridge).unwrap()
    assert {is_new(ref) for ref in refs} == {False, True}
    stop = threading.Event()
    worker = threading.Thread(
        target=work, args=(Catalog(note),), kwargs={"on": bridge, "stop": stop}
    )
    worker.start()
    assert dict(results(refs, on=bridge, timeout=120)) == {
        r: Success(n) for n, r in enumerate(refs)
    }
    stop.set()
    worker.join(60)
    assert not worker.is_alive()


def test_a_worker_that_can_serve_one_alone_does_not_start(tmp_path: Path) -> None:
    folder = tmp_path / "gone"
    folder.mkdir()
    old, new = sqlite(tmp_path / "old.db"), sqlite(folder / "new.db")
    folder.rmdir()
    served = routed(old, new, by=0).serve(Catalog(note))
    assert isinstance(served, Failure)
    old.close()
    new.close()
