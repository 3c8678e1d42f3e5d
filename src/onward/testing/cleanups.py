"""The laws of cleanups: `f.finally_(g)`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import pytest
from returns.result import Success

from onward.backend import Backend, Cancels
from onward.backend.features import LACKED_BY_DEFAULT, Feature
from onward.fault import Cancelled, Expired, TimedOut
from onward.flows.flow import AnyFlow, Ref
from onward.flows.waiting import sleep
from onward.interpret import cancel, result, status, submit
from onward.testing import tasks
from onward.testing.oracle import comparable, expect
from onward.testing.strategies import cleaned_flows, flows, numbers
from onward.testing.tools import Tools


class CleanupLaws(Tools):
    """The laws of cleanups, as a part of `BackendSuite`."""

    def test_a_cleanup_runs_whichever_way_the_flow_ends(
        self, backend: Backend, traces: Path
    ) -> None:
        """f.finally_(g)(x) is f(x), and g(x) runs after it, whatever comes of both."""
        _skip_without_cleanups(backend)

        @self.holds(flows(4), flows(3), numbers())
        def law(body: AnyFlow, cleanup: AnyFlow, n: int) -> None:
            one, other = (self.observe(flow(n), backend, traces) for flow in (body, cleanup))
            both = self.observe(body.finally_(cleanup)(n), backend, traces)
            assert both.trace == one.trace + other.trace
            assert comparable(both.result) == comparable(one.result)

    def test_cleanups_compose(self, backend: Backend, traces: Path) -> None:
        """Within each other, in rescues and in fan-outs, they run as the oracle says."""
        _skip_without_cleanups(backend)

        @self.holds(cleaned_flows(), numbers())
        def law(flow: AnyFlow, n: int) -> None:
            assert self.observe(flow(n), backend, traces) == expect(flow, n)

    def test_a_cancelled_call_is_cleaned_up(self, backend: Backend, traces: Path) -> None:
        """It is cancelling until its cleanup has run; no rescue catches the cancel."""
        on = _cancels(backend)
        body = tasks.rest.rescue(tasks.mend) >> tasks.inc
        flow = tasks.inc >> body.finally_(tasks.tidy >> tasks.double) >> tasks.inc
        ref = submit(flow(599), on=on).unwrap()
        self._rests(ref, traces)
        assert cancel(ref, on=on) == Success(None)
        self.until(lambda: status(ref, on=on).unwrap().task == "tidy")
        assert status(ref, on=on).unwrap().state == "cancelling"
        assert cancel(ref, on=on) == Success(None)
        still_running = result(ref, on=on, timeout=0.0).failure()
        assert isinstance(still_running, TimedOut)
        Path(traces, f"{ref.id}.tidy").touch()
        assert isinstance(result(ref, on=on, timeout=self.patience).failure(), Cancelled)
        assert status(ref, on=on).unwrap().state == "cancelled"
        ran = self.trace_of(ref.id, traces)
        assert {line.split()[0] for line in ran} == {"inc", "rest", "tidy", "double"}
        assert {line for line in ran if line[:5] in ("inc 5", "tidy ")} == {
            "inc 599 1",
            "tidy 600 1",
        }

    def test_a_call_past_its_deadline_is_cleaned_up(self, backend: Backend, traces: Path) -> None:
        """As a cancelled one is, and it ends as Expired."""
        _skip_without_cleanups(backend)
        flow = (tasks.rest >> tasks.inc).finally_(tasks.double)
        ran = Counter[str]()
        for seconds in (2.0, 6.0, 24.0):  # in which it has to begin
            ref = submit(flow(600), on=backend, deadline=seconds).unwrap()
            patience = seconds + self.patience
            assert isinstance(result(ref, on=backend, timeout=patience).failure(), Expired)
            assert status(ref, on=backend).unwrap().state == "expired"
            if ran := self.trace_of(ref.id, traces):
                break
        assert ran["double 600 1"] == 1

    def test_a_call_that_waits_is_cleaned_up(self, backend: Backend, traces: Path) -> None:
        """In the middle of a sleep; and what slept before is known when it is cancelled later."""
        on = _cancels(backend)
        _skip_without(backend, "sleep")
        asleep = tasks.inc >> (sleep(600) >> tasks.inc).finally_(sleep(0.01) >> tasks.double)
        after = tasks.inc >> sleep(0.01) >> tasks.rest.finally_(tasks.double)
        ref, other = (submit(flow(599), on=on).unwrap() for flow in (asleep, after))
        self.until(lambda: status(ref, on=on).unwrap().state == "waiting")
        self._rests(other, traces)
        for each in (ref, other):  # one may have the only slot of the other's worker
            assert cancel(each, on=on) == Success(None)
        for each in (ref, other):
            assert isinstance(result(each, on=on, timeout=self.patience).failure(), Cancelled)
            assert self.trace_of(each.id, traces)["double 600 1"] == 1

    def test_a_flow_that_has_not_begun_is_not_cleaned_up(
        self, backend: Backend, traces: Path
    ) -> None:
        """Such a cancelled call ends at once, and so does one that waits for its time."""
        on = _cancels(backend)
        ref = submit((tasks.rest >> tasks.inc.finally_(tasks.double))(600), on=on).unwrap()
        waiting = submit(tasks.inc.finally_(tasks.double)(1), on=on, delay=600).unwrap()
        self._rests(ref, traces)
        for each in (ref, waiting):
            assert cancel(each, on=on) == Success(None)
            assert isinstance(result(each, on=on, timeout=self.patience).failure(), Cancelled)
        assert not [line for line in self.trace_of(ref.id, traces) if line.startswith("double")]

    def _rests(self, ref: Ref[object, object], traces: Path) -> None:
        """Waits until a step of the task `rest` runs."""
        file = traces / ref.id
        self.until(lambda: file.exists() and "begun" in file.read_text())


def _skip_without(backend: Backend, feature: Feature) -> None:
    lacks: Mapping[Feature, str] = getattr(backend, "lacks", LACKED_BY_DEFAULT)
    if feature in lacks:
        pytest.skip(f"this backend has no {feature}: {lacks[feature]}")


def _skip_without_cleanups(backend: Backend) -> None:
    _skip_without(backend, "finally")


def _cancels(backend: Backend) -> Cancels:
    _skip_without_cleanups(backend)
    if not isinstance(backend, Cancels):
        pytest.skip("this backend does not have the capability Cancels")
    on: Cancels = backend
    return on
