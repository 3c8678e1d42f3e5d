"""The suite on SQLite: with a worker in this process, and with two of their own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from onward.backends.sqlite import SqliteBackend, sqlite
from onward.testing import BackendSuite


class TestSqlite(BackendSuite):
    examples = 8

    @pytest.fixture(scope="class")
    @classmethod
    def backend(
        cls, traces: Path, tmp_path_factory: pytest.TempPathFactory
    ) -> Iterator[SqliteBackend]:
        backend = sqlite(tmp_path_factory.mktemp("sqlite") / "onward.db")
        worker = backend.serve(cls.catalog).unwrap()
        yield backend
        worker.stop()
        backend.close()
