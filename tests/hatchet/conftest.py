"""The engines of these tests: a real one if there is one, and the test double."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest

from tests.hatchet.double import Double
from tests.hatchet.served import PATIENCE, Engine

FOLDER = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if FOLDER in item.path.parents:
            item.add_marker(pytest.mark.timeout(3 * PATIENCE))


@pytest.fixture(scope="session", params=["engine", "double"])
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    """Each engine in turn; the real one is skipped if there is none."""
    if request.param == "engine":
        yield cast(Engine, request.getfixturevalue("hatchet"))
        return
    with Double() as double:
        yield double
