"""The laws of values, errors and faults on the wire."""

from __future__ import annotations

import os
from pathlib import Path
from typing import cast

from msgspec import Raw
from returns.result import Failure, Success

from onward.backend import Backend, Submission
from onward.fault import (
    BadPayload,
    Raised,
    TimedOut,
    Unknown,
)
from onward.flows.combinators import given as given_
from onward.flows.fanouts import each
from onward.interpret import (
    run,
    submit,
)
from onward.plan import VERSION, Args, ChainNode, Plan, StepNode
from onward.testing import tasks
from onward.testing.kinds import Odd, Parcel, Patch, TooSmall
from onward.testing.strategies import parcels
from onward.testing.tools import Tools


class ValueLaws(Tools):
    """The laws of values, errors and faults, as a part of `BackendSuite`."""

    def test_values_survive_the_wire(self, backend: Backend, traces: Path) -> None:
        """Law 8: they arrive as their annotations say."""

        @self.holds(parcels())
        def law(parcel: Parcel) -> None:
            back = run(tasks.echo(parcel), on=backend)
            assert back == Success(parcel)
            assert type(back.unwrap()) is Parcel

    def test_data_is_not_taken_for_a_type(self, backend: Backend, traces: Path) -> None:
        """Law 8: whatever the names of its fields, and however it reaches a union."""
        assert run((tasks.measure >> tasks.name_kind)(2), on=backend) == Success("Reading")
        assert run((tasks.measure_some >> tasks.name_kind)(2), on=backend) == Success("Reading")
        assert run((tasks.measure_some >> tasks.name_kind)(3), on=backend) == Success("Gap")
        several = each(tasks.measure_some) >> tasks.name_kinds
        assert run(several([2, 3]), on=backend) == Success(["Reading", "Gap"])
        assert run(tasks.misread.rescue(tasks.name_error)(2), on=backend) == Success("Reading")

    def test_unset_fields_stay_unset(self, backend: Backend, traces: Path) -> None:
        """Law 8: and values that a constraint forbids are refused."""
        flow = tasks.patched >> tasks.patched
        assert run(flow(Patch(size=1)), on=backend) == Success(Patch(size=1))
        assert run(flow(Patch(name=None)), on=backend) == Success(Patch())
        assert isinstance(run(flow(Patch(size=-1)), on=backend).failure(), BadPayload)

    def test_wrong_values_are_refused_first(self, backend: Backend, traces: Path) -> None:
        """Law 8: before anything is submitted."""
        before = set(traces.iterdir())
        wrong = cast(int, "three")
        refused = submit((tasks.inc >> tasks.inc)(wrong), on=backend).failure()
        assert isinstance(refused, BadPayload)
        assert (refused.task, refused.path) == ("inc >> inc", "$.n")
        assert isinstance(run(each(tasks.inc)([1, wrong]), on=backend).failure(), BadPayload)
        assert set(traces.iterdir()) == before

    def test_domain_errors_arrive_as_themselves(self, backend: Backend, traces: Path) -> None:
        """And are not retried."""
        assert run(tasks.halve(3), on=backend) == Failure(Odd(3))
        assert run((tasks.inc >> given_(tasks.shrink, by=5))(1), on=backend) == Failure(
            TooSmall(2, 5)
        )

    def test_exceptions_arrive_as_raised(self, backend: Backend, traces: Path) -> None:
        """With the exception's type and text, the worker's traceback, and the attempts made."""
        fault = run(tasks.hopeless(1), on=backend).failure()
        assert isinstance(fault, Raised)
        assert (fault.task, fault.error_type, fault.message) == (
            "hopeless",
            "OSError",
            "no hope for 1",
        )
        assert fault.attempts == 2
        assert "in hopeless" in fault.traceback
        assert "OSError" in fault.kinds

    def test_a_returned_value_is_checked(self, backend: Backend, traces: Path) -> None:
        """A value that is not what the annotation says is a fault of the task that gave it."""
        fault = run((tasks.lie >> tasks.inc)(1), on=backend).failure()
        assert isinstance(fault, BadPayload)
        assert fault.task == "lie"
        assert "it returned a value" in fault.message
        assert fault.cure.startswith("Return what the annotation says")

    def test_a_task_cannot_end_the_worker(self, backend: Backend, traces: Path) -> None:
        """SystemExit is a fault like any other, and the next call runs."""
        fault = run(tasks.leave(3), on=backend).failure()
        assert isinstance(fault, Raised)
        assert fault.error_type == "SystemExit"
        assert run(tasks.inc(1), on=backend) == Success(2)

    def test_an_attempt_ends_with_its_timeout(self, backend: Backend, traces: Path) -> None:
        """As TimedOut; an attempt that ends in time is not affected."""
        fault = run(tasks.oversleep(2.0), on=backend).failure()
        assert isinstance(fault, TimedOut)
        assert (fault.task, fault.seconds, fault.still_running) == ("oversleep", 0.2, False)
        assert run(tasks.oversleep(0.0), on=backend) == Success(0.0)

    def test_a_task_that_nobody_serves_is_unknown(self, backend: Backend, traces: Path) -> None:
        """Within bounded time, anywhere in a flow."""
        root = ChainNode((StepNode(task="inc"), StepNode(task="ghost")))
        plan = Plan(
            v=VERSION,
            id=os.urandom(16).hex(),
            flow="inc >> ghost",
            root=root,
            args=Args((Raw(b"1"),)),
        )
        id = backend.submit(Submission(plan)).unwrap()
        outcome = backend.outcome(id, self.patience).unwrap()
        assert outcome is not None
        fault = tasks.inc.read(outcome).failure()
        assert isinstance(fault, Unknown)
        assert fault.task == "ghost"
