"""The engines that these tests run on: a real one, and the double."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import pytest

from tests.hatchet.double import Double
from tests.hatchet.served import Engine


@pytest.fixture(scope="session", params=["engine", "double"])
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    """Each in turn; the real one is left out where there is none."""
    if request.param == "engine":
        yield cast(Engine, request.getfixturevalue("hatchet"))
        return
    with Double() as double:
        yield double
