"""Temporal passes the suite, on a real server."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from onward.backends.temporal import TemporalBackend
from onward.backends.temporal import temporal as temporal_at
from onward.testing import BackendSuite
from tests.engines.server import HOST
from tests.engines.temporal import Temporal


class TestTemporal(BackendSuite):
    examples = 4

    @pytest.fixture(scope="class")
    @classmethod
    def backend(cls, traces: Path, temporal: Temporal) -> Iterator[TemporalBackend]:
        backend = temporal_at(HOST, temporal.port, task_queue="suite")
        worker = backend.serve(cls.catalog).unwrap()
        yield backend
        worker.stop()
        backend.close()


@pytest.mark.long
class TestTemporalThoroughly(TestTemporal):
    """With more examples than `make test` has time for."""

    examples = 30
