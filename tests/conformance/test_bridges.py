"""Backends made of two others pass the suite."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from onward import Backend, local
from onward.backends.sqlite import sqlite
from onward.bridges import failover, routed
from onward.testing import BackendSuite


@pytest.mark.long
class TestRoutedBetweenLocals(BackendSuite):
    examples = 12

    @pytest.fixture(scope="class")
    @classmethod
    def backend(cls, traces: Path) -> Iterator[Backend]:
        backend = routed(local(), local(), by=50)
        worker = backend.serve(cls.catalog).unwrap()
        yield backend
        worker.stop()
        backend.close()


class TestRoutedFromLocalToSqlite(BackendSuite):
    examples = 3

    @pytest.fixture(scope="class")
    @classmethod
    def backend(cls, traces: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backend]:
        new = sqlite(tmp_path_factory.mktemp("sqlite") / "onward.db")
        backend = routed(local(), new, by=50)
        worker = backend.serve(cls.catalog).unwrap()
        yield backend
        worker.stop()
        backend.close()


@pytest.mark.long
class TestFailover(BackendSuite):
    examples = 6

    @pytest.fixture(scope="class")
    @classmethod
    def backend(cls, traces: Path) -> Iterator[Backend]:
        backend = failover(local(), local())
        worker = backend.serve(cls.catalog).unwrap()
        yield backend
        worker.stop()
        backend.close()
