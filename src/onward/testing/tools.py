"""What all parts of the suite share: testing a law, observing a call, waiting."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar, TypeVar, get_args

from hypothesis import HealthCheck, given, settings
from hypothesis.strategies import SearchStrategy
from returns.result import Failure

from onward.backend import Backend
from onward.backend.features import LACKED_BY_DEFAULT, Feature
from onward.flows.flow import Call
from onward.interpret import (
    result,
    submit,
)
from onward.testing.oracle import Observed

Law = TypeVar("Law", bound=Callable[..., None])


class Tools:
    """The base class of the parts of `BackendSuite`."""

    examples: ClassVar[int] = 50
    """How many examples test each law."""

    patience: ClassVar[float] = 60.0
    """How long a test waits for a result, in seconds, before it fails."""

    def holds(self, *strategies: SearchStrategy[Any], share: float = 1.0) -> Callable[[Law], Law]:
        """Tests a law at once, on as many examples as the class says, or on a share of these."""

        def attempt(law: Law) -> Law:
            tried = settings(
                max_examples=max(1, round(self.examples * share)),
                deadline=None,
                suppress_health_check=[HealthCheck.too_slow, HealthCheck.nested_given],
            )(given(*strategies)(law))
            tried()
            return law

        return attempt

    def features(self, backend: Backend) -> frozenset[Feature]:
        """What flows may have that not every backend can run, and this one can."""
        lacks: Mapping[Feature, str] = getattr(backend, "lacks", LACKED_BY_DEFAULT)
        return frozenset(get_args(Feature)) - frozenset(lacks)

    def observe(self, call: Call[Any, Any], backend: Backend, traces: Path) -> Observed:
        """Runs a call, and gives its result and the trace of its tasks."""
        submitted = submit(call, on=backend)
        if isinstance(submitted, Failure):
            return Observed(submitted)
        ref = submitted.unwrap()
        found = result(ref, on=backend, timeout=self.patience)
        return Observed(found, self.trace_of(ref.id, traces))

    def trace_of(self, id: str, traces: Path) -> Counter[str]:
        """Reads and removes the trace of a call's tasks: their names, values and attempts."""
        return Counter(what for what, _ in _trace(id, traces))

    def ran(self, id: str, traces: Path) -> Counter[str]:
        """Reads and removes the trace of a call's tasks: the paths of the steps that ran."""
        return Counter(path for _, path in _trace(id, traces))

    def until(self, condition: Callable[[], bool], patience: float | None = None) -> None:
        """Waits until a condition is true, and fails if it does not become true in time."""
        end = time.monotonic() + (self.patience if patience is None else patience)
        while not condition():
            assert time.monotonic() < end, "it never came to be true"
            time.sleep(0.005)


def what_ran(file: Path) -> list[str]:
    """What the tasks of a call have written so far: their names, values and attempts.

    Args:
        file: The call's trace, which may not be there yet.
    """
    return [what for what, _ in _lines(file)]


def _trace(id: str, traces: Path) -> list[tuple[str, str]]:
    file = traces / id
    lines = _lines(file)
    file.unlink(missing_ok=True)
    return lines


def _lines(file: Path) -> list[tuple[str, str]]:
    if not file.exists():
        return []
    lines = [line.rpartition("\t") for line in file.read_text().splitlines()]
    return [(what, path) for what, _, path in lines]
