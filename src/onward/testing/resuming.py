"""The laws of calls that continue others, and of what is recorded of a call."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy
from msgspec import Raw
from msgspec.structs import replace
from returns.result import Failure, Success

from onward.backend import Backend, Cancels, Histories, Signals, Submission
from onward.backend.features import LACKED_BY_DEFAULT, Feature
from onward.backends.local import local
from onward.fault import BadPayload, Cancelled, Conflict, Raised, Unknown
from onward.flows.fanouts import together
from onward.flows.flow import AnyFlow, Ref
from onward.flows.passing import keep, spread
from onward.flows.waiting import awaits, sleep
from onward.interpret import cancel, fork, history, result, resume, send, submit
from onward.outcome import Outcome, Value
from onward.past import taken_over
from onward.plan import NEWEST, Past, Plan
from onward.testing import tasks
from onward.testing.oracle import comparable
from onward.testing.strategies import Numeric, cleaned_flows, flows, numbers
from onward.testing.tasks import BY
from onward.testing.tools import Tools


class ResumingLaws(Tools):
    """The laws of `history`, `resume` and `fork`, as a part of `BackendSuite`."""

    def test_a_call_that_goes_on_is_the_uninterrupted_one(
        self, backend: Backend, traces: Path
    ) -> None:
        """At any cut: the outcome is the same, and nothing runs that has an outcome."""
        on = _repairs(backend)
        composed = flows(4) if "finally" in _lacks(on) else cleaned_flows()
        goes_on_at_any_cut(self, composed, on, on, traces, share=0.5)

    def test_what_failed_goes_on_where_it_stopped(self, backend: Backend, traces: Path) -> None:
        """Once, however often it is resumed; with the same id within, and a record of it all."""
        on = _repairs(backend)
        branches = together(tasks.double, tasks.fragile >> tasks.inc)
        flow = tasks.inc >> branches >> tasks.add >> tasks.inc
        ref = submit(flow(1), on=on).unwrap()
        failure = result(ref, on=on, timeout=self.patience)
        assert isinstance(failure.failure(), Raised)
        found = history(ref, on=on).unwrap()
        assert found.state == "failed"
        assert comparable(found.result or failure) == comparable(failure)
        steps = {step.path: step for step in found.steps}
        assert {path: step.task for path, step in steps.items()} == {
            "0": "inc",
            "1[0]": "double",
            "1[1].0": "fragile",
        }
        assert steps["1[0]"].result == Success(4)
        broken = steps["1[1].0"].result
        assert broken is not None
        assert isinstance(broken.failure(), Raised)
        Path(traces, f"{ref.id}.mended").touch()
        again = resume(ref, on=on).unwrap()
        assert resume(ref, on=on) == Success(again)
        assert result(again, on=on, timeout=self.patience) == Success(8)
        assert self.ran(ref.id, traces) == Counter(
            ["0", "1[0]", "1[1].0", "1[1].0", "1[1].1", "2", "3"]
        )
        taken = history(again, on=on).unwrap()
        assert (taken.state, taken.origin) == ("done", ref.id)
        assert {step.path for step in taken.steps if step.taken_over} == {"0", "1[0]"}
        assert {step.path for step in taken.steps} == {"0", "1[0]", "1[1].0", "1[1].1", "2", "3"}
        assert isinstance(resume(again, on=on).failure(), Conflict)
        assert isinstance(resume(tasks.inc.ref("0" * 32), on=on).failure(), Unknown)

    def test_a_cleanup_runs_again_for_what_failed(self, backend: Backend, traces: Path) -> None:
        """After the flow has failed, and after it has gone on; that of a success does not."""
        on = _repairs(backend)
        _skip_without(on, "finally")
        flow = tasks.inc.finally_(tasks.double) >> tasks.fragile.finally_(tasks.double) >> tasks.inc
        ref = submit(flow(1), on=on).unwrap()
        assert isinstance(result(ref, on=on, timeout=self.patience), Failure)
        Path(traces, f"{ref.id}.mended").touch()
        again = resume(ref, on=on).unwrap()
        assert result(again, on=on, timeout=self.patience) == Success(3)
        assert self.ran(ref.id, traces) == Counter(
            ["0.try", "0.finally", *["1.try", "1.finally"] * 2, "2"]
        )

    def test_a_cancelled_call_goes_on(self, backend: Backend, traces: Path) -> None:
        """With the step that was interrupted."""
        on = _repairs(backend)
        if not isinstance(on, Cancels):
            pytest.skip("this backend does not have the capability Cancels")
        n = int.from_bytes(os.urandom(4))
        ref = submit((tasks.inc >> tasks.hold >> tasks.inc)(n), on=on).unwrap()
        self.until(lambda: self._has_run("1", ref, traces))
        assert isinstance(resume(ref, on=on).failure(), Conflict)
        assert cancel(ref, on=on) == Success(None)
        assert isinstance(result(ref, on=on, timeout=self.patience).failure(), Cancelled)
        self.until(lambda: "0" in _recorded(ref, on)[1])  # an engine may show it a moment later
        Path(traces, f"go.{n + 1}").touch()
        again = resume(ref, on=on).unwrap()
        assert result(again, on=on, timeout=self.patience) == Success(n + 2)
        ran = self.ran(ref.id, traces)
        assert (ran["0"], ran["2"]) == (1, 1)

    def test_signals_go_along(self, backend: Backend, traces: Path) -> None:
        """Those that the old call has waited for, and those that it has only got."""
        on = _repairs(backend)
        _skip_without(on, "awaits")
        assert isinstance(on, Signals)
        flow = tasks.inc >> keep(awaits(BY)) >> spread(tasks.shrink) >> tasks.fragile
        ref = submit((flow >> keep(awaits(BY)))(4), on=on).unwrap()
        assert send(ref, BY, 3, on=on) == Success(None)
        assert isinstance(result(ref, on=on, timeout=self.patience), Failure)
        assert history(ref, on=on).unwrap().signals == {"by": 3}
        Path(traces, f"{ref.id}.mended").touch()
        again = resume(ref, on=on).unwrap()
        assert result(again, on=on, timeout=self.patience) == Success((2, 3))
        assert self.ran(ref.id, traces) == Counter(["0", "2", "3", "3"])

    def test_a_wait_that_had_begun_keeps_its_end(self, backend: Backend, traces: Path) -> None:
        """So one that is past by then is over at once."""
        on = _repairs(backend)
        _skip_without(on, "sleep")
        flow = tasks.inc >> sleep(600) >> tasks.inc
        ref = submit(flow(1), on=on, delay=600).unwrap()
        plan, _ = _recorded(ref, on)
        past = Past(ref.id, {"0": Value(Raw(b"2"))}, {"1": time.time() - 60})
        again = _go_on(flow, plan, past, on)
        assert result(again, on=on, timeout=self.patience) == Success(3)
        assert self.ran(ref.id, traces) == Counter(["2"])
        if isinstance(on, Cancels):
            cancel(ref, on=on)

    def test_a_failed_step_takes_other_arguments(self, backend: Backend, traces: Path) -> None:
        """If they suit it."""
        on = _repairs(backend)
        ref = submit((tasks.inc >> tasks.picky >> tasks.inc)(2), on=on).unwrap()
        assert isinstance(result(ref, on=on, timeout=self.patience), Failure)
        assert isinstance(resume(ref, on=on, args=["four"]).failure(), BadPayload)
        again = resume(ref, on=on, args=[4]).unwrap()
        assert result(again, on=on, timeout=self.patience) == Success(5)
        assert self.trace_of(ref.id, traces) == Counter(
            ["inc 2 1", "picky 3 1", "picky 4 1", "inc 4 1"]
        )

    def test_a_fork_begins_at_its_step(self, backend: Backend, traces: Path) -> None:
        """As a call of its own, with the outcomes of the steps before."""
        on = _repairs(backend)
        ref = submit((tasks.inc >> tasks.double >> tasks.inc)(1), on=on).unwrap()
        assert result(ref, on=on, timeout=self.patience) == Success(5)
        other = fork(ref, "1", on=on).unwrap()
        assert result(other, on=on, timeout=self.patience) == Success(5)
        assert self.ran(ref.id, traces) == Counter(["0", "1", "2"])
        assert self.ran(other.id, traces) == Counter(["1", "2"])
        unknown = fork(ref, "7", on=on).failure()
        assert isinstance(unknown, Unknown)
        assert "0, 1, 2" in unknown.message

    def test_a_call_goes_on_on_another_backend(self, backend: Backend, traces: Path) -> None:
        """From this one to one in this process, and back."""
        on = _repairs(backend)
        flow = tasks.inc >> tasks.fragile >> tasks.double
        here = local()
        pairs: list[tuple[Histories, Histories]] = [(on, here), (here, on)]
        for one, other in pairs:
            ref = submit(flow(1), on=one).unwrap()
            assert isinstance(result(ref, on=one, timeout=self.patience), Failure)
            Path(traces, f"{ref.id}.mended").touch()
            moved = resume(ref, on=one, to=other).unwrap()
            assert result(moved, on=other, timeout=self.patience) == Success(4)
            assert self.ran(ref.id, traces) == Counter(["0", "1", "1", "2"])
        here.close()

    def _has_run(self, path: str, ref: Ref[Any, Any], traces: Path) -> bool:
        file = traces / ref.id
        return file.exists() and f"\t{path}\n" in file.read_text()


def goes_on_at_any_cut(
    tools: Tools,
    composed: SearchStrategy[Numeric],
    old: Histories,
    new: Backend,
    traces: Path,
    *,
    share: float = 1.0,
) -> None:
    """Tests that a call which goes on on a backend, at any cut, is the uninterrupted one.

    Args:
        tools: How many examples there are, and how long each waits.
        composed: The flows.
        old: The backend that the call runs on first.
        new: The backend that it goes on on.
        traces: Where tasks write that they have run.
        share: The share of the examples.
    """

    @tools.holds(composed, numbers(), st.data(), share=share)
    def law(flow: AnyFlow, n: int, draw: st.DataObject) -> None:
        ref = submit(flow(n), on=old).unwrap()
        whole = result(ref, on=old, timeout=tools.patience)
        ran = tools.ran(ref.id, traces)
        plan, outcomes = _recorded(ref, old)
        assert {path for path in ran if not _stands_in(path, outcomes)} == set()
        cut = draw.draw(st.sets(st.sampled_from(sorted(outcomes)))) if outcomes else set()
        known = taken_over(plan, {path: outcomes[path] for path in cut})
        again = _go_on(flow, plan, Past(ref.id, known), new)
        assert comparable(result(again, on=new, timeout=tools.patience)) == comparable(whole)
        left = {path: times for path, times in ran.items() if not _stands_in(path, known)}
        assert tools.ran(ref.id, traces) == Counter(left)


def _go_on(flow: AnyFlow, plan: Plan, past: Past, on: Backend) -> Ref[Any, Any]:
    """Submits the call that continues the one of a plan."""
    continued = replace(plan, v=NEWEST, id=os.urandom(16).hex(), past=past)
    return flow.ref(on.submit(Submission(continued, flow=flow)).unwrap())


def _recorded(ref: Ref[Any, Any], on: Histories) -> tuple[Plan, dict[str, Outcome]]:
    """The plan of a call, and the outcomes of its steps."""
    outcomes: dict[str, Outcome] = {}
    plan = None
    for page in _pages(ref.id, on):
        plan = page.plan
        outcomes |= {step.path: step.outcome for step in page.steps if step.outcome is not None}
    assert plan is not None
    return plan, outcomes


def _pages(id: str, on: Histories) -> Iterator[Any]:
    after = None
    while after != "":
        page = on.history(id, after or "", 3).unwrap()
        yield page
        after = page.next


def _stands_in(path: str, steps: Mapping[str, object]) -> bool:
    """Whether a step is one of these, or stands within a fused one of them."""
    return any(path == each or path.startswith((f"{each}.", f"{each}[")) for each in steps)


def _lacks(backend: Backend) -> Mapping[Feature, str]:
    lacks: Mapping[Feature, str] = getattr(backend, "lacks", LACKED_BY_DEFAULT)
    return lacks


def _skip_without(backend: Backend, feature: Feature) -> None:
    if feature in _lacks(backend):
        pytest.skip(f"this backend has no {feature}: {_lacks(backend)[feature]}")


def _repairs(backend: Backend) -> Histories:
    """The backend, as one whose calls can be read and continued; skips the test otherwise."""
    _skip_without(backend, "past")
    if not isinstance(backend, Histories):
        pytest.skip("this backend does not have the capability Histories")
    on: Histories = backend
    return on
