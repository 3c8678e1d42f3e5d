"""Fixtures: backends with a worker in this process, and Temporal's own client."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from onward import Ref, Status, status
from onward.backends.temporal import TemporalBackend
from onward.backends.temporal import temporal as temporal_at
from tests.engines.process import until
from tests.engines.running import running
from tests.engines.server import HOST
from tests.engines.temporal import Temporal
from tests.engines.worker import WorkerProcess
from tests.temporal.sdk import Sdk
from tests.temporal.served import catalog

ROOT = Path(__file__).parents[2]

SUGGEST = "limit.historyCount.suggestContinueAsNew=50"
"""Makes the server suggest continue-as-new after 50 events, instead of about 4,000."""


class ShortHistories(Temporal):
    """A server that soon considers a history long."""

    def command(self) -> Sequence[str | Path]:
        return [*super().command(), "--dynamic-config-value", SUGGEST]


class Older(Temporal):
    """A server without standalone activities, like older releases."""

    def command(self) -> Sequence[str | Path]:
        return [*super().command(), "--dynamic-config-value", "activity.enableStandalone=false"]


def served_on(server: Temporal) -> Iterator[TemporalBackend]:
    """A backend with a worker in this process."""
    with closing(temporal_at(HOST, server.port, task_queue="tests")) as made:
        worker = made.serve(catalog).unwrap()
        yield made
        worker.stop(0)


@pytest.fixture(scope="module")
def backend(temporal: Temporal) -> Iterator[TemporalBackend]:
    """A backend with a worker in this process."""
    yield from served_on(temporal)


@pytest.fixture(scope="module")
def sdk(temporal: Temporal) -> Iterator[Sdk]:
    with closing(Sdk(temporal.address)) as made:
        yield made


@pytest.fixture(scope="module")
def short_histories_temporal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ShortHistories]:
    yield from running(ShortHistories, tmp_path_factory, ShortHistories.start_forgetful)


@pytest.fixture(scope="module")
def older(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Older]:
    yield from running(Older, tmp_path_factory, Older.start_forgetful)


@pytest.fixture(scope="module")
def short_histories(short_histories_temporal: ShortHistories) -> Iterator[TemporalBackend]:
    """A backend whose flows soon continue in parts."""
    yield from served_on(short_histories_temporal)


@pytest.fixture(scope="module")
def short_histories_sdk(short_histories_temporal: ShortHistories) -> Iterator[Sdk]:
    with closing(Sdk(short_histories_temporal.address)) as made:
        yield made


@pytest.fixture
def workerless(temporal: Temporal) -> Iterator[TemporalBackend]:
    """A backend on a task queue of its own, without workers."""
    queue = uuid4().hex
    with closing(temporal_at(HOST, temporal.port, task_queue=queue, heartbeat=3.0)) as made:
        yield made


def until_status(
    ref: Ref[Any, Any],
    on: TemporalBackend,
    condition: Callable[[Status], bool],
    *,
    within: float = 30.0,
) -> Status:
    """Waits until the status of a call fulfils a condition; returns the status."""
    seen: list[Status] = []

    def is_so() -> bool:
        seen.append(status(ref, on=on).unwrap())
        return condition(seen[-1])

    until(is_so, within=within, otherwise=lambda: f"it is {seen[-1]}")
    return seen[-1]


@contextmanager
def working(on: TemporalBackend, folder: Path, *options: str) -> Iterator[WorkerProcess]:
    """A worker for a backend, in a process of its own; ready when entered."""
    at = on.address
    url = f"temporal://{at.target}/{at.namespace}?task_queue={at.task_queue}"
    with WorkerProcess.module(
        *("onward", "worker", "tests.temporal.served", *options, "--on", url),
        log=folder / f"{uuid4().hex}.log",
        folder=ROOT,
        environment={"PYTHONWARNINGS": "error"},
    ) as worker:
        until(
            lambda: "\nready" in worker.tail() or worker.exit_code() is not None,
            within=120,
            otherwise=worker.tail,
        )
        assert "\nready" in worker.tail(), worker.tail()
        yield worker
