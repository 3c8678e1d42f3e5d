"""The engines of these tests: a real one if there is one, and the test double."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import pytest

from tests.hatchet.double import Double
from tests.hatchet.served import Engine


@pytest.fixture(scope="session", params=["engine", "double"])
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    """Each engine in turn; the real one is skipped if there is none."""
    if request.param == "engine":
        yield cast(Engine, request.getfixturevalue("hatchet"))
        return
    with Double() as double:
        yield double
