"""Calls sleep, are signalled, cancelled and delayed, while workers or the ledger are killed."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from returns.result import Failure, Result

from onward import (
    Cancelled,
    Fault,
    Ref,
    Signal,
    Unavailable,
    awaits,
    cancel,
    each,
    results,
    send,
    sleep,
    submit_all,
)
from onward.backends.celery import celery
from tests.engines.process import until
from tests.engines.rabbitmq import RabbitMQ
from tests.faults.celery_storm import Durable, onward_workers
from tests.faults.served import add_up, step
from tests.faults.workers import every

pytestmark = pytest.mark.faults

CALLS = 20
GO = Signal("go", int)


def insist(do: Callable[[], Result[None, Fault]]) -> None:
    """Asks the ledger for something until it answers."""
    until(
        lambda: not isinstance(do().swap().value_or(None), Unavailable),
        within=120,
        otherwise=lambda: "it does not answer",
    )


def assert_outcomes(broker: str, ledger: str, disrupt: Callable[[], object]) -> None:
    """Every call has the outcome that it should have, while something happens each second."""
    with closing(celery(broker, ledger, lease=1.0)) as backend:
        wanted: dict[Ref[Any], object] = {}

        def submit(
            make: Callable[[int], Any], value: Callable[[int], object], delay: float = 0.0
        ) -> Any:
            refs = submit_all([make(n) for n in range(CALLS)], on=backend, delay=delay).unwrap()
            wanted.update({ref: value(n) for n, ref in enumerate(refs)})
            return refs

        submit(step >> sleep(2.0) >> step, lambda n: n + 2)
        submit(lambda n: (each(step >> sleep(1.5)) >> add_up)([n, n]), lambda n: 2 * n + 2)
        submit(step, lambda n: n + 1, delay=1.5)
        signalled = submit(step >> awaits(GO) >> step, lambda n: n + 1)
        cancelled = submit(step >> awaits(GO) >> step, lambda n: Cancelled)
        with every(1.0, disrupt, 3) as disruption:
            for n, ref in enumerate(signalled):
                insist(partial(send, ref, GO, n, on=backend))
            for ref in cancelled:
                insist(partial(cancel, ref, on=backend))
            disruption.join()
            ended = dict(results(list(wanted), on=backend, timeout=120))
    found = {
        ref: type(outcome.failure()) if isinstance(outcome, Failure) else outcome.unwrap()
        for ref, outcome in ended.items()
    }
    assert found == wanted


def test_calls_outlive_their_workers(redis: str, tmp_path: Path) -> None:
    with onward_workers(tmp_path, redis) as workers:
        assert_outcomes(redis, redis, workers.kill_all)


@pytest.mark.long
def test_calls_outlive_their_workers_on_rabbitmq(
    rabbitmq: RabbitMQ, redis: str, tmp_path: Path
) -> None:
    with onward_workers(tmp_path, rabbitmq.url, redis) as workers:
        assert_outcomes(rabbitmq.url, redis, workers.kill_all)


@pytest.mark.long
def test_calls_outlive_a_ledger_that_writes_to_disk(tmp_path: Path) -> None:
    with Durable.start(tmp_path) as server, onward_workers(tmp_path, server.url) as workers:

        def disrupt() -> None:
            server.kill()
            server.restart()
            workers.kill_one()

        assert_outcomes(server.url, server.url, disrupt)
