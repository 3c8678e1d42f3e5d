"""`BackendSuite`: the laws of Onward as a test class, which every backend's tests subclass."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import pytest

from onward.backend import Backend
from onward.catalog import Catalog
from onward.opened import with_resources
from onward.testing import borrowing, choices, isolated, limited, tasks
from onward.testing.attempts import AttemptLaws
from onward.testing.calls import CallLaws
from onward.testing.cleanups import CleanupLaws
from onward.testing.composition import CompositionLaws
from onward.testing.fanouts import FanOutLaws
from onward.testing.isolation import IsolationLaws
from onward.testing.limits import LimitLaws
from onward.testing.listing import ListingLaws
from onward.testing.moving import MovingLaws
from onward.testing.resources import ResourceLaws
from onward.testing.resuming import ResumingLaws
from onward.testing.schedules import ScheduleLaws
from onward.testing.traces import TRACE
from onward.testing.unique import UniqueLaws
from onward.testing.values import ValueLaws
from onward.testing.waiting import WaitingLaws


class BackendSuite(
    CompositionLaws,
    ValueLaws,
    AttemptLaws,
    IsolationLaws,
    CallLaws,
    UniqueLaws,
    CleanupLaws,
    FanOutLaws,
    WaitingLaws,
    LimitLaws,
    ResumingLaws,
    ListingLaws,
    MovingLaws,
    ScheduleLaws,
    ResourceLaws,
):
    """The laws of Onward as a pytest class, for any backend.

    Subclass it in a test module, and give the backend as a fixture. Where the backend needs a
    worker, the fixture starts one that serves `BackendSuite.catalog`, in any process.

    Example:
        >>> import pytest
        >>> from onward import local
        >>> from onward.testing import BackendSuite
        >>> class TestLocal(BackendSuite):
        ...     @pytest.fixture(scope="class")
        ...     @classmethod
        ...     def backend(cls, traces):
        ...         return local()
    """

    catalog: ClassVar[Catalog] = with_resources(
        Catalog.of(tasks, choices, limited, isolated, borrowing)
    )
    """The tasks that the backend's workers serve, with what opens their resources."""

    @pytest.fixture(scope="class")
    @classmethod
    def traces(cls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
        """The folder for the traces of tasks; workers must inherit the environment."""
        folder = tmp_path_factory.mktemp("traces")
        before = os.environ.get(TRACE)
        os.environ[TRACE] = str(folder)
        yield folder
        if before is None:
            del os.environ[TRACE]
        else:
            os.environ[TRACE] = before

    @pytest.fixture(scope="class")
    @classmethod
    def backend(cls, traces: Path) -> Backend:
        """The backend under test."""
        raise NotImplementedError("give the backend as a class-scoped fixture named backend")
