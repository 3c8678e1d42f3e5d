"""Backends in this process, and a step that waits."""

from collections.abc import Iterator

import pytest

from onward import (
    local,
)
from onward.backends.local import Local
from tests.local.common import Gate


@pytest.fixture
def gate() -> Iterator[Gate]:
    gate = Gate()
    yield gate
    gate.open.set()


@pytest.fixture
def backend() -> Iterator[Local]:
    backend = local()
    yield backend
    backend.close()


@pytest.fixture
def single() -> Iterator[Local]:
    """A backend on which one sync step runs at a time."""
    backend = local(workers=1)
    yield backend
    backend.close()
