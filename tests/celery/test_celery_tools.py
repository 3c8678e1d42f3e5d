"""Celery's own tools show the steps of a call, and can revoke it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from typing import Any
from uuid import uuid4

import pytest
from celery import Celery
from celery.events.state import State
from returns.result import Failure, Result, Success

from onward import (
    Call,
    Cancelled,
    Catalog,
    Constant,
    Fault,
    Ref,
    Retry,
    Secret,
    current,
    each,
    given,
    result,
    run,
    status,
    submit,
    task,
)
from onward.backends.celery import celery
from onward.backends.celery.backend import CeleryBackend
from tests.engines.process import until
from tests.engines.valkey import Valkey

BEGUN = threading.Event()


@task
def inc(n: int) -> int:
    return n + 1


@task
def breaks(n: int) -> int:
    raise RuntimeError(f"broke at {n}")


@task
def refuses(n: int) -> Result[int, str]:
    return Failure(f"no {n}")


@task(timeout=0.1)
def sleeps(n: int) -> int:
    threading.Event().wait(0.5)
    return n


@task(retry=Retry(attempts=2, backoff=Constant(0.01)))
def stumbles(n: int) -> int:
    if current().attempt == 1:
        raise OSError("once")
    return n


@task(retry=Retry(attempts=2, backoff=Constant(0.01)))
def opens(user: str, password: Secret[str], hint: str) -> int:
    if current().attempt == 1:
        raise OSError("once")
    BEGUN.set()
    until(lambda: current().cancelled, within=120, otherwise=lambda: "it was not told")
    return 1


@task
def mends(fault: Fault) -> int:
    return 0


@task
def holds(n: int) -> int:
    BEGUN.set()
    until(lambda: current().cancelled, within=120, otherwise=lambda: "it was not cancelled")
    return n


@task
def add_up(numbers: list[int]) -> int:
    return sum(numbers)


CATALOG = Catalog(opens, inc, breaks, refuses, sleeps, stumbles, mends, holds, add_up)


@pytest.fixture(scope="module", params=["redis", "rabbitmq"])
def backend(request: pytest.FixtureRequest, valkey: Valkey) -> Iterator[CeleryBackend]:
    server: Any = valkey if request.param == "redis" else request.getfixturevalue("rabbitmq")
    with closing(celery(server.url, valkey.url, queue=uuid4().hex)) as backend:
        worker = backend.serve(CATALOG, concurrency=4).unwrap()
        yield backend
        worker.stop()


class Shown:
    """What Flower shows: the state that Celery makes of the broker's events."""

    def __init__(self) -> None:
        self.state = State()
        self.events: list[dict[str, Any]] = []

    def take(self, event: dict[str, Any]) -> None:
        self.events.append(event)
        self.state.event(event)

    def of(self, call: str) -> dict[str, str]:
        """The states of a call's tasks, by name."""
        tasks = [each for _, each in self.state.tasks_by_time() if each.root_id == call]
        return {str(each.name): each.state for each in tasks}

    def error(self, call: str, name: str) -> str:
        """The exception and the traceback that the events have for one of its tasks."""
        [task] = [
            each
            for _, each in self.state.tasks_by_time()
            if (each.root_id, each.name) == (call, name)
        ]
        return f"{task.exception} {task.traceback}"


@pytest.fixture
def shown(backend: CeleryBackend) -> Iterator[Shown]:
    tools = Celery(broker=backend.app.conf.broker_url, set_as_current=False)
    shown, ended, is_listening = Shown(), threading.Event(), threading.Event()

    def listen() -> None:
        with tools.connection_for_read() as connection:
            receiver = tools.events.Receiver(connection, handlers={"*": shown.take})
            with receiver.consumer_context() as (events, *_):
                is_listening.set()
                while not ended.is_set():
                    with suppress(TimeoutError):
                        events.drain_events(timeout=0.2)

    thread = threading.Thread(target=listen)
    thread.start()
    assert is_listening.wait(10)
    answers = tools.control.enable_events(reply=True, timeout=60, limit=1)
    assert answers
    yield shown
    ended.set()
    thread.join()
    tools.close()


def settled(call: Call[Any, Any], backend: CeleryBackend) -> str:
    """Runs a call to its end; returns its id."""
    ref = submit(call, on=backend).unwrap()
    result(ref, on=backend, timeout=120)
    return str(ref.id)


def shows(shown: Shown, call: str, states: dict[str, str]) -> None:
    until(
        lambda: shown.of(call) == states,
        within=120,
        otherwise=lambda: f"{shown.of(call)}, and not {states}",
    )


def test_a_step_that_succeeds_is_shown_as_succeeded(backend: CeleryBackend, shown: Shown) -> None:
    shows(shown, settled((inc >> inc)(1), backend), {"inc": "SUCCESS"})


@pytest.mark.parametrize(
    ("fails", "error"),
    [
        (breaks, "RuntimeError('broke at 1')"),
        (refuses, "a typed error"),
        (sleeps, "TimedOut("),
    ],
)
def test_a_step_that_fails_is_shown_as_failed(
    fails: Any, error: str, backend: CeleryBackend, shown: Shown
) -> None:
    call = settled((fails >> inc)(1), backend)
    shows(shown, call, {fails.name: "FAILURE"})
    assert error in shown.error(call, fails.name)


def test_the_traceback_is_the_functions(backend: CeleryBackend, shown: Shown) -> None:
    call = settled(breaks(1), backend)
    shows(shown, call, {"breaks": "FAILURE"})
    assert 'raise RuntimeError(f"broke at {n}")' in shown.error(call, "breaks")


def test_a_retry_is_shown_as_a_retry(backend: CeleryBackend, shown: Shown) -> None:
    call = settled(stumbles(1), backend)
    shows(shown, call, {"stumbles": "SUCCESS"})
    retried = [each for each in shown.events if each["type"] == "task-retried"]
    assert ["OSError('once')" in each["exception"] for each in retried] == [True]
    assert "in stumbles" in retried[0]["traceback"]


def test_a_rescued_step_is_shown_as_failed_and_skipped_steps_as_revoked(
    backend: CeleryBackend, shown: Shown
) -> None:
    flow = ((breaks >> inc).rescue(mends) >> stumbles).named("rescued")
    ref = submit(flow(1), on=backend).unwrap()
    assert result(ref, on=backend, timeout=120) == Success(0)
    states = {"breaks": "FAILURE", "inc": "REVOKED", "mends": "SUCCESS", "stumbles": "SUCCESS"}
    shows(shown, ref.id, states)


def test_a_fan_out_with_a_failure_is_shown_as_failed(backend: CeleryBackend, shown: Shown) -> None:
    call = settled((each(breaks) >> add_up)([1, 2]), backend)
    shows(shown, call, {"breaks": "FAILURE", "onward.gather": "FAILURE"})
    assert "add_up" not in shown.of(call)


def test_the_log_does_not_say_that_a_failed_step_succeeded(
    backend: CeleryBackend, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    settled((breaks >> inc)(1), backend)
    until(
        lambda: "raised expected: RuntimeError('broke at 1')" in caplog.text,
        within=120,
        otherwise=lambda: caplog.text,
    )
    assert "succeeded" not in caplog.text


@contextmanager
def held(backend: CeleryBackend, shown: Shown) -> Iterator[tuple[Ref[int], str]]:
    """A call whose step runs, and the id of its task."""
    BEGUN.clear()
    ref = submit((holds >> inc)(1), on=backend).unwrap()
    assert BEGUN.wait(20)
    until(lambda: "holds" in shown.of(ref.id), within=120, otherwise=lambda: str(shown.events))
    [task] = [each for _, each in shown.state.tasks_by_time() if each.root_id == ref.id]
    yield ref, str(task.id)


@pytest.mark.parametrize("by", ["task", "call"])
@pytest.mark.parametrize("terminate", [False, True])
def test_revoke_ends_a_running_call_as_cancelled(
    by: str, terminate: bool, backend: CeleryBackend, shown: Shown
) -> None:
    tools = Celery(broker=backend.app.conf.broker_url, set_as_current=False)
    with held(backend, shown) as (ref, task):
        tools.control.revoke(ref.id if by == "call" else task, terminate=terminate)
        assert isinstance(result(ref, on=backend, timeout=120).failure(), Cancelled)
        assert status(ref, on=backend).unwrap().state == "cancelled"
        # Without terminate, the step ends normally when it sees that it was cancelled.
        ends = "REVOKED" if terminate else "SUCCESS"
        shows(shown, ref.id, {"holds": ends, "inc": "REVOKED"})
    tools.close()
    assert run(inc(1), on=backend, timeout=120) == Success(2)


def test_revoke_ends_a_delayed_call(backend: CeleryBackend) -> None:
    tools = Celery(broker=backend.app.conf.broker_url, set_as_current=False)
    ref = submit(inc(1), on=backend, delay=60).unwrap()
    tools.control.revoke(ref.id)
    assert isinstance(result(ref, on=backend, timeout=120).failure(), Cancelled)
    tools.close()


def test_celerys_inspect_shows_running_steps(backend: CeleryBackend, shown: Shown) -> None:
    tools = Celery(broker=backend.app.conf.broker_url, set_as_current=False)
    with held(backend, shown) as (ref, task):
        inspect = tools.control.inspect(timeout=60, limit=1)
        answers = inspect.active() or {}
        assert [(each["name"], each["id"]) for some in answers.values() for each in some] == [
            ("holds", task)
        ]
        tools.control.revoke(ref.id)
        result(ref, on=backend, timeout=120)
    tools.close()


def test_no_tool_shows_a_secret_or_a_value_of_given(backend: CeleryBackend, shown: Shown) -> None:
    """At a retry neither."""
    tools = Celery(broker=backend.app.conf.broker_url, set_as_current=False)
    hint, secret = f"hint{uuid4().hex}", f"s3cr3t{uuid4().hex}"
    BEGUN.clear()
    ref = submit(given(opens, Secret(secret), hint=hint)("ann"), on=backend).unwrap()
    assert BEGUN.wait(20)
    inspect = tools.control.inspect(timeout=60, limit=1)
    active = str(inspect.active())
    tools.control.revoke(ref.id)
    result(ref, on=backend, timeout=120)
    retried = [each for each in shown.events if each["type"] == "task-retried"]
    tools.close()
    assert ref.id in active
    assert retried
    for text in (active, str(shown.events)):
        assert secret not in text
        assert hint not in text


def test_every_question_of_inspect_is_answered(backend: CeleryBackend) -> None:
    tools = Celery(broker=backend.app.conf.broker_url, set_as_current=False)
    for question in ("stats", "active_queues", "registered", "conf", "scheduled", "report"):
        answers = getattr(tools.control.inspect(timeout=60, limit=1), question)()
        assert answers, question
    tools.close()
