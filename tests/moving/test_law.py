"""Law 11 between engines: a call that goes on elsewhere is the uninterrupted one.

Flows and cuts are generated. `make test` has few examples for each pair of engines.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import permutations
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from returns.result import Success

from onward import awaits, history, keep, move, result, send, spread, status, submit
from onward.backends.celery import celery
from onward.backends.local import local
from onward.backends.sqlite import sqlite
from onward.backends.temporal import temporal as temporal_at
from onward.flows.flow import AnyFlow
from onward.testing import BackendSuite, tasks
from onward.testing.oracle import comparable, expect
from onward.testing.resuming import goes_on_at_any_cut
from onward.testing.strategies import flows, numbers
from onward.testing.tasks import BY
from onward.testing.tools import Tools
from tests.engines.server import HOST
from tests.hatchet.double import Double
from tests.hatchet.served import fresh, serving

NAMES = ("local", "sqlite", "celery", "temporal", "hatchet")
CHEAP = [("local", "sqlite"), ("sqlite", "local")]
PAIRS = list(permutations(NAMES, 2))

Engines: TypeAlias = Callable[[str], Any]


@contextmanager
def served(backend: Any) -> Iterator[Any]:
    worker = backend.serve(BackendSuite.catalog).unwrap()
    yield backend
    worker.stop()
    backend.close()


class Pairs(Tools):
    """Two engines, each opened once for all pairs."""

    @pytest.fixture(scope="class")
    @classmethod
    def engines(
        cls,
        traces: Path,
        tmp_path_factory: pytest.TempPathFactory,
        request: pytest.FixtureRequest,
    ) -> Iterator[Engines]:
        def opened(name: str) -> Any:
            if name == "local":
                return local()
            if name == "sqlite":
                return sqlite(tmp_path_factory.mktemp("pairs") / "onward.db")
            if name == "celery":
                return celery(request.getfixturevalue("valkey").url, queue="pairs")
            port = request.getfixturevalue("temporal").port
            return temporal_at(HOST, port, task_queue="pairs")

        with ExitStack() as stack:
            found: dict[str, Any] = {}

            def engine(name: str) -> Any:
                if name not in found and name == "hatchet":
                    double = stack.enter_context(Double())
                    serves = serving(double, BackendSuite.catalog, namespace=fresh())
                    found[name] = stack.enter_context(serves)
                elif name not in found:
                    found[name] = stack.enter_context(served(opened(name)))
                return found[name]

            yield engine

    traces = BackendSuite.traces

    def at_any_cut(self, engines: Engines, old: str, new: str, traces: Path) -> None:
        here, there = engines(old), engines(new)
        both = self.features(here) & self.features(there) & {"sleep", "finally"}
        goes_on_at_any_cut(self, flows(3, both), here, there, traces)

    def in_flight(self, engines: Engines, old: str, new: str, traces: Path) -> None:
        """Moves a call that waits between two generated parts: each of its steps runs once."""
        here, there = engines(old), engines(new)

        @self.holds(flows(3), flows(3), numbers())
        def law(first: AnyFlow, then: AnyFlow, n: int) -> None:
            before, after = first.rescue(tasks.mend), spread(tasks.shrink) >> then
            flow = before >> keep(awaits(BY)) >> after
            ref = submit(flow(n), on=here).unwrap()
            self.until(lambda: status(ref, on=here).unwrap().state == "waiting")
            moved = move(ref, on=here, to=there).unwrap()
            assert send(moved, BY, 3, on=there) == Success(None)
            found = result(moved, on=there, timeout=self.patience)
            one = expect(before, n)
            other = expect(after, (one.result.unwrap(), 3))
            assert comparable(found) == other.compared
            assert self.trace_of(ref.id, traces) == one.trace + other.trace
            assert history(moved, on=there).unwrap().origin == ref.id


class TestCheapPairs(Pairs):
    examples = 15

    @pytest.mark.parametrize(("old", "new"), CHEAP)
    def test_a_call_goes_on_at_any_cut(
        self, old: str, new: str, engines: Engines, traces: Path
    ) -> None:
        self.at_any_cut(engines, old, new, traces)

    @pytest.mark.parametrize(("old", "new"), CHEAP)
    def test_a_call_moves_in_flight(
        self, old: str, new: str, engines: Engines, traces: Path
    ) -> None:
        self.in_flight(engines, old, new, traces)


class TestPairs(Pairs):
    examples = 2

    @pytest.mark.parametrize(("old", "new"), PAIRS)
    def test_a_call_goes_on_at_any_cut(
        self, old: str, new: str, engines: Engines, traces: Path
    ) -> None:
        self.at_any_cut(engines, old, new, traces)


@pytest.mark.long
class TestPairsThoroughly(Pairs):
    examples = 30

    @pytest.mark.parametrize(("old", "new"), PAIRS)
    def test_a_call_goes_on_at_any_cut(
        self, old: str, new: str, engines: Engines, traces: Path
    ) -> None:
        self.at_any_cut(engines, old, new, traces)

    @pytest.mark.parametrize(("old", "new"), PAIRS)
    def test_a_call_moves_in_flight(
        self, old: str, new: str, engines: Engines, traces: Path
    ) -> None:
        self.in_flight(engines, old, new, traces)
