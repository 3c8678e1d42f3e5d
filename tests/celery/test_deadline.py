"""A call whose deadline has passed is expired, even if its steps give a value later."""

import time
from collections.abc import Iterator
from contextlib import closing
from uuid import uuid4

import pytest

from onward import Catalog, Expired, current, result, status, submit, task
from onward.backends.celery import CeleryBackend, celery
from tests.engines.valkey import Valkey


@task
def overdue(n: int) -> int:
    deadline = current().deadline
    assert deadline is not None
    while time.time() <= deadline.timestamp():
        time.sleep(0.01)
    return n


@pytest.fixture
def backend(valkey: Valkey) -> Iterator[CeleryBackend]:
    with closing(celery(valkey.url, queue=uuid4().hex)) as backend:
        yield backend


def test_a_value_after_the_deadline_does_not_become_the_outcome(backend: CeleryBackend) -> None:
    worker = backend.serve(Catalog(overdue)).unwrap()
    ref = submit((overdue >> overdue)(1), on=backend, deadline=0.3).unwrap()
    assert isinstance(result(ref, on=backend, timeout=120).failure(), Expired)
    ref = submit(overdue(1), on=backend, deadline=0.3).unwrap()
    assert isinstance(result(ref, on=backend, timeout=120).failure(), Expired)
    worker.stop()


def test_the_status_after_the_deadline_is_expired(backend: CeleryBackend) -> None:
    ref = submit(overdue(1), on=backend, deadline=0.01).unwrap()
    time.sleep(0.02)
    assert status(ref, on=backend).unwrap().state == "expired"
