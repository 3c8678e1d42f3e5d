"""The suite where several small workers share each call's steps."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from onward.backends.sqlite import SqliteBackend, sqlite
from onward.testing import BackendSuite


@pytest.mark.long
class TestSharedSteps(BackendSuite):
    examples = 10

    @pytest.fixture(scope="class")
    @classmethod
    def backend(
        cls, traces: Path, tmp_path_factory: pytest.TempPathFactory
    ) -> Iterator[SqliteBackend]:
        path = tmp_path_factory.mktemp("sqlite") / "onward.db"
        backend, other = sqlite(path), sqlite(path)
        workers = [each.serve(cls.catalog, concurrency=1).unwrap() for each in (backend, other)]
        # With fewer, the laws that hold several calls at once would wait for themselves.
        workers += [other.serve(cls.catalog, concurrency=4).unwrap()]
        yield backend
        for worker in workers:
            worker.stop()
        backend.close()
        other.close()
