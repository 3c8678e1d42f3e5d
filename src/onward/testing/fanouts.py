"""The laws of fan-outs whose first failure cancels the other branches."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import strategies as st
from returns.result import Failure, Success

from onward.backend import Backend
from onward.backend.features import LACKED_BY_DEFAULT
from onward.flows.fanouts import each, together
from onward.flows.flow import AnyFlow, Ref
from onward.flows.signals import Signal
from onward.flows.waiting import awaits, sleep
from onward.interpret import result, submit
from onward.testing import tasks
from onward.testing.oracle import Observed, comparable, expect
from onward.testing.strategies import flows, numbers
from onward.testing.tools import Tools


class FanOutLaws(Tools):
    """The laws of `on_failure="cancel"`, as a part of `BackendSuite`."""

    def test_a_fan_out_that_cancels_gives_all_values_or_one_failure(
        self, backend: Backend, traces: Path
    ) -> None:
        """Without a failure it is the one that settles; else it fails as a branch by itself."""
        _skip_without_cancelling(backend)

        counts = st.none() | st.integers(1, 2)

        @self.holds(flows(3), flows(3) | st.none(), st.lists(numbers(), max_size=4), counts, counts)
        def law(
            a: AnyFlow, b: AnyFlow | None, items: list[int], limit: int | None, chunk: int | None
        ) -> None:
            if b is None:
                flow = each(a, limit=limit, chunk=chunk, on_failure="cancel")
                observed = self.observe(flow(items), backend, traces)
                _check(observed, [expect(a, item) for item in items], list)
            else:
                n = sum(items)
                observed = self.observe(together(a, b, on_failure="cancel")(n), backend, traces)
                _check(observed, [expect(a, n), expect(b, n)], tuple)

    def test_the_first_failure_cancels_the_other_branches(
        self, backend: Backend, traces: Path
    ) -> None:
        """A running step is interrupted, no rescue within its branch catches that, none follows."""
        _skip_without_cancelling(backend)
        resting = tasks.rest.rescue(tasks.mend) >> tasks.double
        branches = together(resting, _FAILING, on_failure="cancel") >> tasks.add
        ref = submit(branches.rescue(tasks.mend)(600), on=backend).unwrap()
        self._fails_while_the_other_rests(ref, traces)
        instead = expect(tasks.hopeless.rescue(tasks.mend), 601).result
        assert result(ref, on=backend, timeout=self.patience) == instead
        self.until(lambda: "interrupted" in Path(traces, ref.id).read_text())
        ran = self.trace_of(ref.id, traces)
        assert {line for line in ran if line.startswith("mend")} == {"mend Raised 1"}
        assert not {line for line in ran if line.startswith(("double", "add"))}

    def test_a_cancelled_branch_is_cleaned_up(self, backend: Backend, traces: Path) -> None:
        """The cleanup of a flow that has begun runs before the fan-out ends."""
        _skip_without_cancelling(backend)
        if "finally" in getattr(backend, "lacks", LACKED_BY_DEFAULT):
            pytest.skip("this backend has no cleanups")
        resting = tasks.rest.finally_(tasks.inc >> tasks.double) >> tasks.inc
        flow = together(resting, _FAILING, on_failure="cancel")
        ref = submit(flow(600), on=backend).unwrap()
        self._fails_while_the_other_rests(ref, traces)
        failure = result(ref, on=backend, timeout=self.patience)
        assert failure.failure().task == "hopeless"
        assert self.trace_of(ref.id, traces)["double 601 1"] == 1

    def test_a_failure_ends_the_waits_of_other_branches(
        self, backend: Backend, traces: Path
    ) -> None:
        """A branch that sleeps, or waits for a signal, is cancelled at once."""
        _skip_without_cancelling(backend)
        lacked = getattr(backend, "lacks", LACKED_BY_DEFAULT)
        if "sleep" in lacked or "awaits" in lacked:
            pytest.skip("this backend cannot wait within a flow")
        never = awaits(Signal("never", int)) >> tasks.double
        flow = together(sleep(600) >> tasks.double, never, _FAILING, on_failure="cancel")
        ref = submit(flow(600), on=backend).unwrap()
        Path(traces, f"{ref.id}.tidy").touch()
        failure = result(ref, on=backend, timeout=self.patience)
        assert failure.failure().task == "hopeless"
        assert not [line for line in self.trace_of(ref.id, traces) if line.startswith("double")]

    def test_no_item_begins_after_a_failure(self, backend: Backend, traces: Path) -> None:
        """With a limit of one, only the items before it have run."""
        _skip_without_cancelling(backend)
        flow = each(tasks.inc >> tasks.halve, limit=1, on_failure="cancel")
        observed = self.observe(flow([1, 2, 3, 4]), backend, traces)
        assert comparable(observed.result) == comparable(expect(tasks.halve, 3).result)
        assert set(observed.trace) == {"inc 1 1", "halve 2 1", "inc 2 1", "halve 3 1"}

    def _fails_while_the_other_rests(self, ref: Ref[object, object], traces: Path) -> None:
        file = traces / ref.id
        self.until(lambda: file.exists() and "begun" in file.read_text())
        Path(traces, f"{ref.id}.tidy").touch()


_FAILING = tasks.tidy >> tasks.inc >> tasks.hopeless
"""Fails, for an even number, once a file allows that."""


def _check(observed: Observed, branches: Sequence[Observed], gather: type) -> None:
    failed = [each for each in branches if isinstance(each.result, Failure)]
    ran = sum((each.trace for each in branches), Counter[str]())
    if failed:
        assert comparable(observed.result) in [comparable(each.result) for each in failed]
        assert observed.trace <= ran
    else:
        assert observed.result == Success(gather(each.result.unwrap() for each in branches))
        assert observed.trace == ran


def _skip_without_cancelling(backend: Backend) -> None:
    why = getattr(backend, "lacks", LACKED_BY_DEFAULT).get("on_failure")
    if why is not None:
        pytest.skip(f"this backend has no fan-outs that cancel: {why}")
