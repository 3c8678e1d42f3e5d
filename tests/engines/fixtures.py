"""Servers for a whole test run. `tests/conftest.py` says `pytest_plugins = [this module's name]`.

A test that kills or pauses one leaves it up; a test that wants to know what a server forgets
starts its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeVar

import pytest

from tests.engines.rabbitmq import RabbitMQ
from tests.engines.server import Server
from tests.engines.valkey import Valkey

S = TypeVar("S", bound=Server)


@pytest.fixture(scope="session")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    yield from _running(Valkey, tmp_path_factory)


@pytest.fixture(scope="session")
def rabbitmq(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitMQ]:
    yield from _running(RabbitMQ, tmp_path_factory)


def _running(kind: type[S], folders: pytest.TempPathFactory) -> Iterator[S]:
    if reason := kind.missing():
        pytest.skip(reason)
    with kind.start(folders.mktemp(kind.__name__.lower())) as server:
        yield server
