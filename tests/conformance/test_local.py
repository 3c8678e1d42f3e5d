"""The embedded backend passes the suite."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from onward import local
from onward.backends.local import Local
from onward.testing import BackendSuite


class TestLocal(BackendSuite):
    examples = 40

    @pytest.fixture(scope="class")
    @classmethod
    def backend(cls, traces: Path) -> Iterator[Local]:
        backend = local()
        worker = backend.serve(cls.catalog).unwrap()
        yield backend
        worker.stop()
        backend.close()
