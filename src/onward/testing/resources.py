"""The laws of resources."""

from __future__ import annotations

from pathlib import Path

from returns.result import Failure, Success

from onward.backend import Backend
from onward.flows.combinators import fused
from onward.flows.fanouts import each
from onward.flows.flow import AnyFlow
from onward.interpret import result, results, run, submit, submit_all
from onward.testing import borrowing, tasks
from onward.testing.kinds import Odd
from onward.testing.tools import Tools, what_ran


class ResourceLaws(Tools):
    """The laws of resources, as a part of `BackendSuite`."""

    def test_a_resource_is_opened_once_in_a_process(self, backend: Backend, traces: Path) -> None:
        """However many attempts need it first at the same time, sync and async."""
        wanted = [
            flow(n) for n in range(8) for flow in (borrowing.at_desk, borrowing.at_desk_async)
        ]
        refs = submit_all(wanted, on=backend).unwrap()
        found = results(refs, on=backend, timeout=self.patience)
        desks = {each.unwrap() for _, each in found}
        assert len({process for process, _ in desks}) == len(desks)

    def test_each_attempt_has_a_resource_of_its_own(self, backend: Backend, traces: Path) -> None:
        """It sees how the attempt ended: by an exception, a Failure or a value."""
        begun = ["opened 1", "ConnectionResetError 1", "opened 2"]
        for task in (
            borrowing.fill_form,
            borrowing.fill_form_async,
            borrowing.fill_sheet,
            borrowing.fill_sheet_async,
        ):
            for n, expected, end in (
                (2, Success(2), "kept 2"),
                (3, Failure(Odd(3)), "UnwrapFailedError 2"),
            ):
                ref = submit(task(n), on=backend).unwrap()
                assert result(ref, on=backend, timeout=self.patience) == expected, task
                lines = [f"{task.name} {line}" for line in [*begun, end]]
                assert what_ran(traces / ref.id) == lines

    def test_resources_work_within_flows(self, backend: Backend, traces: Path) -> None:
        """In fused steps, fan-outs and chains, in which no step passes them."""
        flows: list[tuple[AnyFlow, object, object]] = [
            (tasks.inc >> borrowing.fill_form >> tasks.inc, 1, 3),
            (fused(tasks.inc >> borrowing.fill_sheet_async), 1, 2),
            (each(tasks.inc >> borrowing.fill_form_async), [1, 3], [2, 4]),
        ]
        for flow, value, expected in flows:
            assert run(flow(value), on=backend, timeout=self.patience) == Success(expected), flow
