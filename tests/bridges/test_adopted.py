"""Tasks that exist on an engine are steps of Onward's."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from celery import Celery
from returns.result import Failure, Result, Success
from temporalio import activity, workflow
from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.exceptions import ApplicationError
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from onward import (
    Catalog,
    Fault,
    Raised,
    Retry,
    TimedOut,
    cancel,
    local,
    result,
    run,
    submit,
    task,
)
from onward.bridges import adopted
from tests.bridges.working import served
from tests.engines.process import until
from tests.engines.temporal import Temporal


@dataclass(frozen=True)
class Receipt:
    """What the tasks give."""

    card: str
    cents: int


@task
def card_of(customer: str) -> str:
    return f"card-{customer}"


@task
def cents(receipt: Receipt) -> int:
    return receipt.cents


def charge(card: str, cents: int = 100) -> Receipt:
    raise NotImplementedError


def hold(folder: str) -> None:
    raise NotImplementedError


# -- Celery -----------------------------------------------------------------------------------


def test_a_celery_task_is_a_step(shop: Celery) -> None:
    step = adopted.celery("shop.charge", charge, on=shop)
    assert run(step("a", cents=7), on=local()) == Success(Receipt("a", 7))
    assert run((card_of >> step >> cents)("ann"), on=local()) == Success(100)


def test_a_broker_is_enough_for_a_celery_task(shop: Celery) -> None:
    """It need not import the app."""

    @adopted.celery("shop.charge", on=str(shop.conf.broker_url), to=shop.conf.task_default_queue)
    def charge(card: str) -> Receipt:
        raise NotImplementedError

    assert run(charge("a"), on=local()) == Success(Receipt("a", 100))


def test_the_error_of_a_celery_task_is_raised(shop: Celery) -> None:
    step = adopted.celery("shop.charge", charge, on=shop, retry=Retry(attempts=2))
    failed = run(step("bad"), on=local()).failure()
    assert isinstance(failed, Raised)
    assert (failed.error_type, failed.message, failed.attempts) == (
        "celery.CardDeclined",
        "no 100",
        2,
    )


def test_a_time_limit_of_a_celery_task_holds(shop: Celery, tmp_path: Path) -> None:
    step, backend = adopted.celery("shop.hold", hold, on=shop, timeout=1.0), local()
    blocks = adopted.celery("shop.hold", hold, on=shop)
    waiting = submit(blocks(str(tmp_path)), on=backend).unwrap()
    until((tmp_path / "begun").exists, within=120, otherwise=lambda: "it does not run")
    assert isinstance(run(step(str(tmp_path)), on=local()).failure(), TimedOut)
    control: Any = shop.control
    until(
        lambda: any(ids for ids in (control.inspect().revoked() or {}).values()),
        within=120,
        otherwise=lambda: "it is not revoked",
    )
    (tmp_path / "let-go").touch()
    assert result(waiting, on=backend, timeout=120) == Success(None)


def test_a_celery_app_without_results_is_refused() -> None:
    step = adopted.celery("shop.charge", charge, on=Celery("none", set_as_current=False))
    assert "keeps no results" in str(run(step("a"), on=local()).failure())


# -- Temporal ---------------------------------------------------------------------------------


@workflow.defn(name="Charge")
class ChargeWorkflow:
    """A workflow of somebody's own."""

    @workflow.run
    async def run(self, card: str, cents: int) -> Receipt:
        if card == "bad":
            raise ApplicationError(f"no {cents}", type="CardDeclined")
        return Receipt(card, cents)


@workflow.defn(name="Hold")
class HoldWorkflow:
    """A workflow that does not end."""

    @workflow.run
    async def run(self, folder: str) -> None:
        await workflow.sleep(timedelta(days=1))


@activity.defn(name="charge")
async def charge_activity(card: str, cents: int) -> Receipt:
    if card == "bad":
        raise ApplicationError(f"no {cents}", type="CardDeclined")
    return Receipt(card, cents)


@dataclass(frozen=True)
class Office:
    """A system on Temporal."""

    url: str
    queue: str
    status: Callable[[], list[WorkflowExecutionStatus | None]]


@pytest.fixture(scope="module")
def office(temporal: Temporal) -> Iterator[Office]:
    """A system on Temporal, with its workers."""
    queue, ready, over = uuid4().hex, threading.Event(), threading.Event()
    loop = asyncio.new_event_loop()
    clients: list[Client] = []

    async def serve() -> None:
        client = await Client.connect(temporal.address)
        clients.append(client)
        async with Worker(
            client,
            task_queue=queue,
            workflows=[ChargeWorkflow, HoldWorkflow],
            activities=[charge_activity],
            workflow_runner=UnsandboxedWorkflowRunner(),
        ):
            ready.set()
            await asyncio.to_thread(over.wait)

    async def states() -> list[WorkflowExecutionStatus | None]:
        listed = clients[0].list_workflows(f"TaskQueue = '{queue}' AND WorkflowType = 'Hold'")
        return [each.status async for each in listed]

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    assert ready.wait(60)
    yield Office(
        temporal.url,
        queue,
        lambda: asyncio.run_coroutine_threadsafe(states(), loop).result(60),
    )
    over.set()
    thread.join()
    loop.close()


def on_temporal(office: Office, kind: str, **options: Any) -> Any:
    if kind == "workflow":
        return adopted.temporal_workflow(
            "Charge", charge, on=office.url, task_queue=office.queue, **options
        )
    return adopted.temporal_activity(
        "charge", charge, on=office.url, task_queue=office.queue, **options
    )


@pytest.mark.parametrize("kind", ["workflow", "activity"])
def test_what_temporal_has_is_a_step(office: Office, kind: str) -> None:
    step = on_temporal(office, kind)
    assert run(step("a", cents=7), on=local()) == Success(Receipt("a", 7))
    assert run((card_of >> step >> cents)("ann"), on=local()) == Success(100)


@pytest.mark.parametrize("kind", ["workflow", "activity"])
def test_the_error_of_what_temporal_has_is_raised(office: Office, kind: str) -> None:
    failed = run(on_temporal(office, kind, retry=Retry(attempts=2))("bad"), on=local()).failure()
    assert isinstance(failed, Raised)
    assert (failed.error_type, failed.message, failed.attempts) == (
        "temporal.CardDeclined",
        "no 100",
        2,
    )


def test_who_cancels_the_call_cancels_the_workflow(office: Office, tmp_path: Path) -> None:
    step = adopted.temporal_workflow("Hold", hold, on=office.url, task_queue=office.queue)
    at = f"sqlite:///{tmp_path}/onward.db"
    with served(Catalog(step), on=at) as backend:
        ref = submit(step(str(tmp_path)), on=backend).unwrap()
        until(lambda: len(office.status()) == 1, within=120, otherwise=lambda: "it does not run")
        cancel(ref, on=backend).unwrap()
        until(
            lambda: office.status() == [WorkflowExecutionStatus.CANCELED],
            within=120,
            otherwise=lambda: f"it is {office.status()}",
        )


def test_another_attempt_of_a_worker_finds_the_same_workflow(
    office: Office, tmp_path: Path
) -> None:
    """The worker stops, and gives the step back; the workflow goes on."""
    step = adopted.temporal_workflow("Hold", hold, on=office.url, task_queue=office.queue)
    before, at = len(office.status()), f"sqlite:///{tmp_path}/onward.db"
    with served(Catalog(step), on=at) as backend:
        ref = submit(step(str(tmp_path)), on=backend).unwrap()
        until(
            lambda: len(office.status()) == before + 1,
            within=120,
            otherwise=lambda: "it does not run",
        )
    with served(Catalog(step), on=at) as backend:
        cancel(ref, on=backend).unwrap()
        until(
            lambda: office.status() == [WorkflowExecutionStatus.CANCELED] * (before + 1),
            within=120,
            otherwise=lambda: f"they are {office.status()}",
        )


# -- all --------------------------------------------------------------------------------------


def result_of(card: str) -> Result[int, str]:
    raise NotImplementedError


def rest(*cards: str) -> int:
    raise NotImplementedError


def bare(card) -> int:  # type: ignore[no-untyped-def]  # on purpose
    raise NotImplementedError


@pytest.mark.parametrize(
    ("signature", "why"),
    [(result_of, "cannot return a Result"), (rest, "plain parameter"), (bare, "annotation")],
)
def test_a_signature_that_cannot_be_kept_is_refused(signature: Any, why: str) -> None:
    with pytest.raises(TypeError, match=why):
        adopted.temporal_workflow("Charge", signature, on="temporal://h", task_queue="q")


def test_the_wrong_engine_is_refused() -> None:
    step = adopted.temporal_workflow("Charge", charge, on="local://", task_queue="q")
    assert "write the URL of the engine" in str(run(step("a"), on=local()).failure())


def test_a_value_of_another_type_is_a_bad_payload(shop: Celery) -> None:
    step = adopted.celery("shop.price", charge, on=shop)
    assert isinstance(run(step("a"), on=local()), Failure)
    assert isinstance(run(step("a"), on=local()).failure(), Fault)
