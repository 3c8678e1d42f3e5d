"""Schedules in the ledger: who may change them at once, and which runs the leader makes."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from uuid import uuid4

import pytest
from redis import Redis
from returns.result import Success

from onward import Catalog, Schedule, current, result, schedule, schedules, task, unschedule
from onward import plan as plans
from onward.backend.schedules import Timing, advance
from onward.backends.celery import celery
from onward.backends.celery.cells import Cells, MemoryCells, RedisCells
from onward.backends.celery.schedules import ScheduleStore
from onward.backends.celery.signing import Signer
from onward.plan import Args, Plan, StepNode
from tests.engines.process import until
from tests.engines.valkey import Valkey

PLAN = Plan(v=1, flow="inc", root=StepNode("inc"), args=Args())
MINUTELY = Schedule("n", "inc", every=60)


@task
def inc(n: int) -> int:
    return n + 1


@task
def id_of_run(n: int) -> str:
    return current().id


@pytest.fixture(params=["memory", "redis"])
def cells(request: pytest.FixtureRequest) -> Iterator[Cells]:
    if request.param == "memory":
        yield MemoryCells()
        return
    valkey: Valkey = request.getfixturevalue("valkey")
    with Redis.from_url(f"{valkey.url.rpartition('/')[0]}/8") as client:
        client.flushdb()
        yield RedisCells(client)
        client.flushdb()


def test_many_clients_declare_one_schedule_at_once(cells: Cells) -> None:
    store = ScheduleStore(cells, None)
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda n: store.declare(MINUTELY, PLAN, 1000.0 + n), range(24)))
    assert len({each.next_at for each in made}) == 1, "one was made, and the others found it"
    assert store.listed() == [made[0]]


def test_there_is_one_leader_until_its_lease_runs_out_or_it_steps_down(cells: Cells) -> None:
    assert cells.lead("a", 60.0).is_leader
    assert cells.lead("a", 60.0).is_leader
    other = cells.lead("b", 60.0)
    assert not other.is_leader
    assert 0 < other.left <= 60
    cells.step_down("b")
    assert not cells.lead("b", 60.0).is_leader
    cells.step_down("a")
    assert cells.lead("b", 0.05).is_leader
    until(lambda: cells.lead("a", 60.0).is_leader, within=120, otherwise=lambda: "it still leads")


def test_the_leader_hears_of_what_clients_change_and_not_of_its_own(cells: Cells) -> None:
    store = ScheduleStore(cells, None)
    store.declare(MINUTELY, PLAN, 1000.0)
    before = cells.lead("a", 60.0).version
    [kept] = store.all()
    assert store.advance(kept, Timing(1120.0)) is not None
    assert cells.lead("a", 60.0).version == before
    store.pause("n", 1000.0, is_paused=True)
    assert cells.lead("a", 60.0).version > before


def test_a_leader_that_was_stopped_does_not_undo_what_others_did(cells: Cells) -> None:
    """It has made a call, and only that is noted."""
    store = ScheduleStore(cells, None)
    store.declare(MINUTELY, PLAN, 1000.0)
    [stale] = store.all()
    store.pause("n", 1030.0, is_paused=True)
    assert store.advance(stale, Timing(1120.0, (), "made")) is None
    [found] = store.all()
    assert found.record.schedule.paused
    assert found.record.timing == Timing(1090.0, (), "made")
    assert store.remove("n")
    assert store.advance(stale, Timing(1120.0, (), "made")) is None
    assert store.listed() == []


def test_a_schedule_that_is_not_signed_makes_no_call_until_it_is_declared_again(
    cells: Cells, caplog: pytest.LogCaptureFixture
) -> None:
    signed = ScheduleStore(cells, Signer([b"k" * 32]))
    ScheduleStore(cells, None).declare(MINUTELY, PLAN, 1000.0)
    assert signed.listed() == []
    assert "'n' in the ledger is damaged, or not signed" in caplog.text
    signed.declare(MINUTELY, PLAN, 1000.0)
    assert [each.name for each in signed.listed()] == ["n"]
    plan = signed.plan_of("n")
    assert plan is not None
    assert plans.encode(plan) == plans.encode(PLAN)
    assert ScheduleStore(cells, Signer([b"o" * 32])).plan_of("n") is None
    assert signed.remove("n")


def test_runs_that_were_due_while_no_worker_was_there_are_made_up() -> None:
    with closing(celery("memory://")) as backend:
        patient = schedule(inc(1), on=backend, name="patient", every=60, catch_up=3600).unwrap()
        hasty = schedule(inc(2), on=backend, name="hasty", every=60).unwrap()
        store = ScheduleStore(backend.ledger.cells, backend.signer)
        past = backend.ledger.now() - 3630
        for kept in store.all():
            store.advance(kept, Timing(past))
        worker = backend.serve(Catalog(inc)).unwrap()
        now = backend.ledger.now()
        calls, _ = advance(patient, Timing(past), now, lambda id: False)
        assert len(calls) == 60
        for id in calls:
            assert result(inc.ref(id), on=backend, timeout=120) == Success(2)
        [once], _ = advance(hasty, Timing(past), now, lambda id: False)
        assert result(inc.ref(once), on=backend, timeout=120) == Success(3)
        worker.stop()


def test_a_worker_of_another_queue_and_catalog_may_lead(valkey: Valkey) -> None:
    """The runs wait in the queue of the client that declared the schedule."""
    name = uuid4().hex
    with (
        closing(celery(valkey.url, queue=uuid4().hex)) as other,
        closing(celery(valkey.url, queue=name)) as backend,
    ):
        leading = other.serve(Catalog(inc)).unwrap()
        serving = backend.serve(Catalog(id_of_run)).unwrap()
        made = schedule(id_of_run(1), on=backend, name=name, every=1).unwrap()
        assert made.next_at is not None
        [first], _ = advance(made, Timing(due := made.next_at.timestamp()), due, lambda id: False)

        def ends() -> bool:
            return result(id_of_run.ref(first), on=backend, timeout=120) == Success(first)

        until(ends, within=120, otherwise=lambda: "it was not made")
        assert name in [each.name for each in schedules(on=other).unwrap()]
        assert unschedule(name, on=other) == Success(None)
        serving.stop()
        leading.stop()
