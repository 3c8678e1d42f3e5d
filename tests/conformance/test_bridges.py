"""Backends made of two others pass the suite."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from onward import Backend, local, results, submit_all
from onward.backends.sqlite import sqlite
from onward.bridges import failover, routed
from onward.testing import BackendSuite, borrowing


class BridgeSuite(BackendSuite):
    """The suite for a bridge, whose worker is one of each engine."""

    def test_a_resource_is_opened_once_in_a_process(self, backend: Backend, traces: Path) -> None:
        """By the worker of each engine."""
        wanted = [borrowing.at_desk(n) for n in range(16)]
        refs = submit_all(wanted, on=backend).unwrap()
        found = results(refs, on=backend, timeout=self.patience)
        desks = {each.unwrap() for _, each in found}
        assert len(desks) <= 2


@pytest.mark.long
class TestRoutedBetweenLocals(BridgeSuite):
    examples = 12

    @pytest.fixture(scope="class")
    @classmethod
    def backend(cls, traces: Path) -> Iterator[Backend]:
        backend = routed(local(), local(), by=50)
        worker = backend.serve(cls.catalog).unwrap()
        yield backend
        worker.stop()
        backend.close()


class TestRoutedFromLocalToSqlite(BridgeSuite):
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
class TestFailover(BridgeSuite):
    examples = 6

    @pytest.fixture(scope="class")
    @classmethod
    def backend(cls, traces: Path) -> Iterator[Backend]:
        backend = failover(local(), local())
        worker = backend.serve(cls.catalog).unwrap()
        yield backend
        worker.stop()
        backend.close()
