"""Hatchet passes the suite: on a real engine if there is one, and on the test double."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from onward.backend import Backend, Schedules
from onward.backend.features import Feature
from onward.backends.hatchet import HatchetBackend
from onward.testing import BackendSuite
from tests.hatchet.double import Double
from tests.hatchet.served import PATIENCE, Engine, fresh, serving


@pytest.mark.timeout(3 * PATIENCE)
class TestHatchet(BackendSuite):
    examples = 3
    patience = PATIENCE

    @pytest.fixture(scope="class")
    @classmethod
    def backend(cls, traces: Path, hatchet: Engine) -> Iterator[HatchetBackend]:
        with serving(hatchet, cls.catalog, namespace=fresh()) as backend:
            yield backend


@pytest.mark.long
class TestHatchetThoroughly(TestHatchet):
    """The engine takes so long for a call that `make test` has few examples."""

    examples = 20


class TestHatchetDouble(BackendSuite):
    examples = 3

    @pytest.fixture(scope="class")
    @classmethod
    def backend(cls, traces: Path) -> Iterator[HatchetBackend]:
        with Double() as engine, serving(engine, cls.catalog, namespace=fresh()) as backend:
            yield backend

    def clock(self, backend: Any) -> Schedules:
        pytest.skip("needs a real engine: the double has no clock")

    def features(self, backend: Backend) -> frozenset[Feature]:
        """Without limits: the double does not count what runs. A real engine does."""
        return super().features(backend) - {"limit", "call_limit"}
