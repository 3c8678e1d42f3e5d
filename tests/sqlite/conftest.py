"""A file for each test."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from onward.backends.sqlite import SqliteBackend, sqlite


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "onward.db"


@pytest.fixture
def backend(path: Path) -> Iterator[SqliteBackend]:
    backend = sqlite(path, lease=5.0, busy_timeout=0.3)
    yield backend
    backend.close()
