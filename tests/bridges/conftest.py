"""A system of somebody's own on each engine, with its workers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from uuid import uuid4

import pytest
from celery import Celery

from onward import connect
from tests.bridges.flows import CATALOG
from tests.engines.valkey import Valkey
from tests.engines.worker import WorkerProcess

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="package")
def shop(valkey: Valkey, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Celery]:
    """A Celery app with a worker of one slot, which may call Onward's flows."""
    folder = tmp_path_factory.mktemp("shop")
    at, url = f"sqlite:///{folder}/onward.db", f"{valkey.url.rpartition('/')[0]}/13"
    app = Celery("shop", broker=url, backend=url, set_as_current=False)
    app.conf.task_default_queue = uuid4().hex
    with (
        closing(connect(at).unwrap()) as backend,
        WorkerProcess.module(
            *("celery", "-A", "tests.bridges.shop", "worker", "--pool", "threads"),
            *("--concurrency", "1", "-l", "INFO"),
            log=folder / "log",
            folder=ROOT,
            environment={"SHOP": url, "ONWARD": at, "QUEUE": app.conf.task_default_queue},
        ),
    ):
        worker = backend.serve(CATALOG).unwrap()
        yield app
        worker.stop(0)
    app.close()
