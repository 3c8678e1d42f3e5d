"""The laws of attempts: their contexts, how they end, and what they log."""

from __future__ import annotations

import contextvars
import logging
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

import pytest
from returns.result import Success

from onward.backend import Backend, Cancels, Status
from onward.fault import Cancelled, Expired, TimedOut
from onward.flows.combinators import fused
from onward.flows.fanouts import each, together
from onward.flows.flow import AnyFlow
from onward.flows.passing import keep
from onward.interpret import cancel, result, run, status, submit
from onward.logs import tell
from onward.policy import Constant, Retry
from onward.testing import tasks
from onward.testing.tools import Tools, what_ran


class AttemptLaws(Tools):
    """The laws of attempts, as a part of `BackendSuite`."""

    logs_here: ClassVar[bool] = True
    """Whether the backend's worker runs in this process, so that its log can be read here."""

    # -- contexts -----------------------------------------------------------------------------

    def test_each_attempt_has_a_context_of_its_own(self, backend: Backend, traces: Path) -> None:
        """No other task and no other attempt sees the context variables that a task sets."""
        enter, enter_async = tasks.enter, tasks.enter_async
        flows: list[AnyFlow] = [
            enter >> enter,
            enter_async >> enter_async,
            enter >> enter_async >> enter,
            tasks.enter_again >> enter,
            fused(enter >> enter_async >> enter),
            fused(enter >> enter, timeout=60.0),
        ]
        for flow in flows:
            assert run(flow("a"), on=backend, timeout=self.patience) == Success("nobody"), flow
        for wide in (each(enter, limit=1), each(enter_async), each(enter)):
            seen = run(wide(["a", "b", "c", "d"]), on=backend, timeout=self.patience)
            assert seen == Success(["nobody"] * 4), wide
        both = run(together(enter, enter_async)("a"), on=backend, timeout=self.patience)
        assert both == Success(("nobody", "nobody"))

    def test_tasks_do_not_see_the_callers_context(self, backend: Backend, traces: Path) -> None:
        """The context variables of the caller do not travel."""

        def from_a_caller_with_variables() -> None:
            tasks.TENANT.set("caller")
            for flow in (tasks.enter, tasks.enter_async, fused(tasks.enter >> tasks.enter)):
                assert run(flow("a"), on=backend) == Success("nobody"), flow
                ref = submit(flow("a"), on=backend).unwrap()
                assert result(ref, on=backend, timeout=self.patience) == Success("nobody"), flow
            assert tasks.TENANT.get() == "caller"

        contextvars.copy_context().run(from_a_caller_with_variables)

    def test_a_step_has_the_same_place_everywhere(self, backend: Backend, traces: Path) -> None:
        """`current().step` is the step's place in its flow, on every engine."""
        where, span = tasks.where, tasks.span
        far: AnyFlow = tasks.inc
        for _ in range(20):
            far = far >> tasks.inc
        cases: list[tuple[AnyFlow, object, object]] = [
            (where, 1, "0"),
            (tasks.inc >> where, 1, "1"),
            (far >> where, 1, "21"),
            (fused(where), 1, "0"),
            (tasks.inc >> fused(tasks.inc >> where), 1, "1.1"),
            (each(where), [1, 2], ["[0]", "[1]"]),
            (each(where, chunk=2), [1, 2, 3], ["[0][0]", "[0][1]", "[1][0]"]),
            (span >> each(tasks.inc >> where), 1, ["1[0].1"]),
            (each(span >> each(where)), [2], [["[0].1[0]", "[0].1[1]"]]),
            (together(where, span >> each(where)), 1, ("[0]", ["[1].1[0]"])),
            ((tasks.inc >> where).rescue(tasks.where_failed), 1, "try.1"),
            (each(tasks.picky >> where).rescue(tasks.wheres_failed), [3], ["rescue"]),
            (tasks.inc >> keep(tasks.inc >> where), 1, (2, "1[1].1")),
        ]
        for flow, value, place in cases:
            found = run(flow(value), on=backend, timeout=self.patience)
            assert found == Success(place), flow

    # -- the end of an attempt ----------------------------------------------------------------

    def test_a_step_that_timed_out_sees_cancelled(self, backend: Backend, traces: Path) -> None:
        """`current().cancelled` becomes true, whether the call ends with the step or goes on."""
        alone: AnyFlow = tasks.overrun
        for flow in (alone, fused(alone), alone.rescue(tasks.linger_for)):
            ref = submit(flow(30.0), on=backend).unwrap()
            trace = traces / ref.id
            self.until(lambda: what_ran(trace) != [])  # noqa: B023 - called at once
            assert what_ran(trace) == ["overrun cancelled 1"], flow
            found = result(ref, on=backend, timeout=self.patience)
            assert found == Success(2.0) or isinstance(found.failure(), TimedOut), flow

    def test_an_async_step_is_interrupted_when_its_call_expires(
        self, backend: Backend, traces: Path
    ) -> None:
        """Where it awaits."""
        for seconds in (1.5, 6.0, 24.0):  # in which it has to begin
            ref = submit(tasks.rest(600), on=backend, deadline=seconds).unwrap()
            assert isinstance(result(ref, on=backend).failure(), Expired)
            trace = traces / ref.id
            if what_ran(trace):
                break
        self.until(lambda: what_ran(trace) == ["rest begun 1", "rest interrupted 1"])

    def test_an_async_step_is_interrupted_when_its_call_is_cancelled(
        self, backend: Backend, traces: Path
    ) -> None:
        """Where it awaits, also within a fused step."""
        if not isinstance(backend, Cancels):
            pytest.skip("this backend does not have the capability Cancels")
        for flow in (tasks.rest >> tasks.inc, fused(tasks.inc >> tasks.rest, timeout=600.0)):
            ref = submit(flow(600), on=backend).unwrap()
            trace = traces / ref.id
            self.until(lambda: "rest begun 1" in what_ran(trace))  # noqa: B023 - called at once
            assert cancel(ref, on=backend) == Success(None)
            self.until(lambda: "rest interrupted 1" in what_ran(trace))  # noqa: B023
            assert isinstance(result(ref, on=backend).failure(), Cancelled)

    def test_status_says_where_an_ended_call_ended(self, backend: Backend, traces: Path) -> None:
        """Its last step, and at which attempt; there is no progress any more."""
        picky, twice = tasks.inc >> tasks.picky, Retry(attempts=2, backoff=Constant(0.0))
        failed = Status("failed", "inc >> inc >> picky >> inc", "1", 2)
        rescued = Status("done", "flaky", "2", 1)
        cases: list[tuple[AnyFlow, object, Status]] = [
            (tasks.inc, 1, Status("done", "inc", "0", 1)),
            (tasks.inc >> tasks.double, 1, Status("done", "double", "1", 1)),
            (tasks.inc >> tasks.halve >> tasks.inc, 2, Status("failed", "halve", "1", 1)),
            (tasks.flaky, 1, Status("done", "flaky", "0", 3)),
            (tasks.inc >> tasks.hopeless, 2, Status("failed", "hopeless", "1", 2)),
            (tasks.linger, 0.1, Status("done", "linger", "0", 1)),
            # A fused step is one step, named like its flow.
            (fused(tasks.inc >> tasks.double), 1, Status("done", "inc >> double", "0", 1)),
            (tasks.inc >> fused(picky, retry=twice) >> tasks.inc, 1, failed),
            (each(tasks.inc, chunk=2), [1, 2], Status("done", "each(inc, chunk=2)", "[0]", 1)),
            (tasks.inc >> tasks.halve.rescue(tasks.mend) >> tasks.flaky, 2, rescued),
            (each(tasks.flaky, limit=1), [2, 3], Status("done", "flaky", "[1]", 3)),
        ]
        for flow, value, ended in cases:
            ref = submit(flow(value), on=backend).unwrap()
            result(ref, on=backend, timeout=self.patience)
            assert status(ref, on=backend) == Success(ended), flow

    def test_progress_belongs_to_its_attempt(self, backend: Backend, traces: Path) -> None:
        """The next attempt starts without the progress of the one before it."""
        ref = submit(tasks.relapse(1.5), on=backend).unwrap()
        self.until(lambda: status(ref, on=backend).unwrap().attempt == 2)
        assert status(ref, on=backend).unwrap().progress is None
        assert result(ref, on=backend, timeout=self.patience) == Success(1.5)

    # -- the log ------------------------------------------------------------------------------

    def test_a_step_that_fails_is_logged_once(self, backend: Backend, traces: Path) -> None:
        """At ERROR, with the traceback of what it raised and the call that it was for."""
        if not self.logs_here:
            pytest.skip("the worker's log is another process's")
        cases: list[tuple[AnyFlow, object, str, str]] = [
            (tasks.picky, 3, "ValueError: 3 is a multiple of three", "in picky"),
            (fused(tasks.inc >> tasks.picky), 2, "3 is a multiple of three", "in picky"),
            (tasks.leave, 7, "SystemExit: 7", "in leave"),
            (tasks.oversleep, 1.0, "no value after 0.2 s", ""),
            (tasks.lie, 1, "lie failed", ""),
            (tasks.picky.rescue(tasks.mend), 3, "3 is a multiple of three", "in picky"),
        ]
        for flow, value, text, traceback in cases:
            with logged() as records:
                ref = submit(flow(value), on=backend).unwrap()
                result(ref, on=backend, timeout=self.patience)
                # The log may come after the outcome; and a step of another law may still fail.
                self.until(lambda: len(severe(records, ref.id)) >= 1)  # noqa: B023 - at once
            [record] = severe(records, ref.id)
            assert record.levelno == logging.ERROR, flow
            assert text in record.getMessage(), flow
            assert traceback in (record.exc_text or ""), flow
            assert vars(record)["ref"] == ref.id

    def test_an_attempt_that_is_tried_again_is_a_warning(
        self, backend: Backend, traces: Path
    ) -> None:
        """And only the last one is an error."""
        if not self.logs_here:
            pytest.skip("the worker's log is another process's")
        with logged() as records:
            ref = submit(tasks.hopeless(1), on=backend).unwrap()
            result(ref, on=backend, timeout=self.patience)
            self.until(lambda: len(severe(records, ref.id)) >= 2)
        first, last = severe(records, ref.id)
        assert (first.levelno, last.levelno) == (logging.WARNING, logging.ERROR)
        assert "attempt 1 of 2" in first.getMessage()
        assert [vars(record)["attempt"] for record in (first, last)] == [1, 2]

    def test_a_domain_error_is_logged_at_info(self, backend: Backend, traces: Path) -> None:
        """With its type, and without its fields."""
        if not self.logs_here:
            pytest.skip("the worker's log is another process's")
        with logged() as records:
            ref = submit(tasks.halve(41), on=backend).unwrap()
            result(ref, on=backend, timeout=self.patience)
            self.until(lambda: any("Odd" in each.getMessage() for each in records))
        assert severe(records, ref.id) == []
        [record] = [each for each in records if "Odd" in each.getMessage()]
        assert record.levelno == logging.INFO
        assert "41" not in record.getMessage()


@contextmanager
def logged() -> Generator[list[logging.LogRecord]]:
    """Collects the records that this process logs, with the call that they belong to."""
    records: list[logging.LogRecord] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            self.format(record)  # this sets the text of the traceback
            records.append(record)

    root, step, handler = logging.getLogger(), logging.getLogger("onward.step"), tell(Keep())
    before = step.level
    root.addHandler(handler)
    step.setLevel(logging.INFO)
    try:
        yield records
    finally:
        step.setLevel(before)
        root.removeHandler(handler)


def severe(records: list[logging.LogRecord], call: str) -> list[logging.LogRecord]:
    """The records at WARNING and above, but for those that name another call."""
    return [
        record
        for record in list(records)
        if record.levelno >= logging.WARNING and getattr(record, "ref", call) == call
    ]
