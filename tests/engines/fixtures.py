"""Servers for a whole test run. `tests/conftest.py` says `pytest_plugins = [this module's name]`.

A test that kills or pauses one leaves it up; a test that wants to know what a server forgets
starts its own.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.engines.rabbitmq import RabbitMQ
from tests.engines.running import running
from tests.engines.valkey import Valkey


@pytest.fixture(scope="session")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    yield from running(Valkey, tmp_path_factory)


@pytest.fixture(scope="session")
def rabbitmq(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitMQ]:
    yield from running(RabbitMQ, tmp_path_factory)
