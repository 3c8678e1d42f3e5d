"""The laws of steps that run in child processes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from returns.result import Success

from onward.backend import Backend, Cancels
from onward.context import Progress
from onward.fault import Cancelled, Lost, TimedOut
from onward.flows.combinators import fused
from onward.interpret import cancel, result, run, status, submit
from onward.testing import isolated, tasks
from onward.testing.tools import Tools, what_ran


class IsolationLaws(Tools):
    """The laws of isolated steps, as a part of `BackendSuite`."""

    def test_an_isolated_step_means_the_same(self, backend: Backend, traces: Path) -> None:
        """Sync or async, alone, in a chain and in a fused step."""
        chain = tasks.inc >> isolated.apart_async >> fused(tasks.inc >> isolated.apart)
        found = run(chain(1), on=backend, timeout=self.patience)
        assert found == Success((5, "2.1"))

    def test_a_step_whose_process_dies_is_lost_alone(self, backend: Backend, traces: Path) -> None:
        """Its worker runs the next ones, and its retries count as for any failure."""
        fault = run(isolated.die(1), on=backend, timeout=self.patience).failure()
        assert isinstance(fault, Lost)
        assert "SIGKILL" in str(fault)
        assert run(isolated.die_once(7), on=backend, timeout=self.patience) == Success(7)

    def test_a_timeout_ends_the_code_of_an_isolated_step(
        self, backend: Backend, traces: Path
    ) -> None:
        """When the outcome is there, nothing runs any more."""
        pids: set[int] = set()
        for _ in range(5):  # a busy machine may take all of its time
            ref = submit(isolated.beat(1), on=backend).unwrap()
            found = result(ref, on=backend, timeout=self.patience).failure()
            assert isinstance(found, TimedOut)
            assert not found.still_running
            pids = {int(what.split()[1]) for what in what_ran(traces / ref.id)}
            if pids:
                break
        [pid] = pids
        assert not is_alive(pid)

    def test_a_cancel_ends_the_code_of_an_isolated_step(
        self, backend: Backend, traces: Path
    ) -> None:
        """Soon after the worker hears of it."""
        if not isinstance(backend, Cancels):
            pytest.skip("this backend does not have the capability Cancels")
        ref = submit(isolated.sit(1), on=backend).unwrap()
        self.until(lambda: what_ran(traces / ref.id) != [])
        self.until(lambda: status(ref, on=backend).unwrap().progress == Progress(1.0, 2.0))
        [what] = what_ran(traces / ref.id)
        pid = int(what.split()[1])
        assert is_alive(pid)
        assert cancel(ref, on=backend) == Success(None)
        self.until(lambda: not is_alive(pid))
        assert isinstance(result(ref, on=backend).failure(), Cancelled)


def is_alive(pid: int) -> bool:
    """Whether a process of this machine runs."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
