"""The laws of sleeps and signals."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st
from returns.result import Failure, Success

from onward import aio
from onward.backend import Backend, Cancels, Signals
from onward.fault import BadPayload, Cancelled, Conflict, Expired, Unknown, Unsupported
from onward.flows.fanouts import together
from onward.flows.flow import AnyFlow, Call, Ref
from onward.flows.passing import keep, spread
from onward.flows.waiting import awaits, sleep
from onward.interpret import cancel, check, result, run, send, status, submit
from onward.testing import tasks
from onward.testing.oracle import expect
from onward.testing.strategies import flows, numbers
from onward.testing.tasks import BY, DONE
from onward.testing.tools import Tools
from onward.unanswered import Unanswered

APPROVED = tasks.inc >> keep(awaits(BY)) >> spread(tasks.shrink)


class WaitingLaws(Tools):
    """The laws of `sleep`, `awaits` and `send`, as a part of `BackendSuite`."""

    def test_a_sleep_gives_its_input(self, backend: Backend, traces: Path) -> None:
        """A >> sleep(d) >> b is a >> b, wherever it stands, and nothing runs after a failure."""
        _needs(tasks.inc(1), sleep(0)(1), on=backend)

        @self.holds(flows(3), flows(3), numbers(), st.sampled_from([0.0, 0.001]))
        def law(a: AnyFlow, b: AnyFlow, n: int, delay: float) -> None:
            assert self.observe((a >> sleep(delay) >> b)(n), backend, traces) == expect(a >> b, n)

        both = together(sleep(0) >> tasks.inc, tasks.inc >> sleep(0.01)) >> tasks.add
        assert self.observe(both(1), backend, traces) == expect(both, 1)

    def test_a_sleep_lasts_at_least_its_delay(self, backend: Backend, traces: Path) -> None:
        """Status says until when, and a call that sleeps keeps nobody from running."""
        _needs(sleep(0)(1), on=backend)
        start = time.monotonic()
        slow = (tasks.inc >> sleep(0.3) >> tasks.inc)(1)
        assert run(slow, on=backend, timeout=self.patience) == Success(3)
        assert time.monotonic() - start >= 0.3
        asleep = [submit((tasks.inc >> sleep(600))(1), on=backend).unwrap() for _ in range(20)]
        for ref in asleep:
            self.until(lambda ref=ref: status(ref, on=backend).unwrap().state == "waiting")  # type: ignore[misc]  # its default
        now = status(asleep[0], on=backend).unwrap()
        assert (now.signal, now.settled) == ("", False)
        assert now.until is not None
        assert 500 < now.until.timestamp() - time.time() < 610
        assert run(tasks.inc(1), on=backend, timeout=self.patience) == Success(2)
        if isinstance(backend, Cancels):
            for ref in asleep:
                cancel(ref, on=backend)
            assert isinstance(
                result(asleep[0], on=backend, timeout=self.patience).failure(), Cancelled
            )

    def test_a_signal_ends_a_wait(self, backend: Backend, traces: Path) -> None:
        """With the value, as its type. What came before the wait is kept, and runs once."""
        on = _signals(backend)
        ref = self._waiting(APPROVED(4), on)
        now = status(ref, on=on).unwrap()
        assert (now.signal, now.until, now.settled) == ("by", None, False)
        assert send(ref, BY, 3, on=on) == Success(None)
        assert result(ref, on=on, timeout=self.patience) == Success(2)
        assert self.trace_of(ref.id, traces) == Counter(["inc 4 1", "shrink 5 1"])

    def test_a_signal_that_comes_early_is_kept(self, backend: Backend, traces: Path) -> None:
        """Also for several waits, one after the other and side by side."""
        on = _signals(backend)
        ref = self._waiting((tasks.inc >> awaits(DONE) >> keep(awaits(BY)))(1), on)
        assert send(ref, BY, 3, on=on) == Success(None)
        assert send(ref, DONE, True, on=on) == Success(None)
        late = submit(APPROVED(4), on=on, delay=0.3).unwrap()
        assert send(late, BY, 3, on=on) == Success(None)
        both = together(awaits(BY), tasks.inc >> awaits(BY)) >> keep(awaits(BY))
        beside = submit(both(1), on=on).unwrap()
        assert send(beside, BY, 7, on=on) == Success(None)
        assert result(ref, on=on, timeout=self.patience) == Success((True, 3))
        assert result(late, on=on, timeout=self.patience) == Success(2)
        assert result(beside, on=on, timeout=self.patience) == Success(((7, 7), 7))

    def test_the_first_signal_counts(self, backend: Backend, traces: Path) -> None:
        """And whoever sends a second one, or one to a call that has ended, is told so."""
        on = _signals(backend)
        ref = submit((tasks.inc >> keep(awaits(BY)) >> keep(awaits(DONE)))(1), on=on).unwrap()
        assert send(ref, BY, 3, on=on) == Success(None)
        second = send(ref, BY, 4, on=on).failure()
        assert isinstance(second, Conflict)
        assert "sent to this call before" in second.message
        assert send(ref, DONE, True, on=on) == Success(None)
        assert result(ref, on=on, timeout=self.patience) == Success(((2, 3), True))
        assert isinstance(send(ref, BY, 4, on=on).failure(), Conflict)
        failed = submit((tasks.halve >> awaits(BY))(1), on=on).unwrap()
        result(failed, on=on, timeout=self.patience)
        ended = send(failed, BY, 4, on=on).failure()
        assert isinstance(ended, Conflict)
        assert "has ended" in ended.message
        nobody = APPROVED.ref("0" * 32)
        assert isinstance(send(nobody, BY, 4, on=on).failure(), Unknown)

    def test_a_wrong_value_is_refused_at_its_sender(self, backend: Backend, traces: Path) -> None:
        """And the wait goes on."""
        on = _signals(backend)
        ref = submit(APPROVED(4), on=on).unwrap()
        wrong: Any = "three"
        assert isinstance(send(ref, BY, wrong, on=on).failure(), BadPayload)

        async def main() -> None:
            assert await aio.send(ref, BY, 3, on=on) == Success(None)

        asyncio.run(main())
        assert result(ref, on=on, timeout=self.patience) == Success(2)

    def test_a_wait_ends_with_its_timeout(self, backend: Backend, traces: Path) -> None:
        """As `Unanswered`, which a rescue takes."""
        on = _signals(backend)
        flow = tasks.inc >> awaits(BY, timeout=0.2) >> tasks.inc
        assert run(flow(1), on=on, timeout=self.patience) == Failure(Unanswered("by", 0.2))
        rescued = flow.rescue(tasks.instead)(1)
        assert run(rescued, on=on, timeout=self.patience) == Success(-1)
        answered = submit(flow(1), on=on, delay=0.1).unwrap()
        assert send(answered, BY, 5, on=on) == Success(None)
        assert result(answered, on=on, timeout=self.patience) == Success(6)
        timed = self._waiting((tasks.inc >> awaits(BY, timeout=600))(1), on)
        now = status(timed, on=on).unwrap()
        assert now.signal == "by"
        assert now.until is not None
        assert send(timed, BY, 5, on=on) == Success(None)
        assert result(timed, on=on, timeout=self.patience) == Success(5)

    def test_cancel_and_deadline_end_a_wait(self, backend: Backend, traces: Path) -> None:
        """And nothing can be sent to it any more."""
        on = _signals(backend)
        late = submit(APPROVED(4), on=on, deadline=0.7).unwrap()
        if isinstance(on, Cancels):
            ref = self._waiting(APPROVED(4), on)
            assert cancel(ref, on=on) == Success(None)
            assert isinstance(result(ref, on=on, timeout=self.patience).failure(), Cancelled)
            assert isinstance(send(ref, BY, 3, on=on).failure(), Conflict)
        assert isinstance(result(late, on=on, timeout=self.patience).failure(), Expired)
        assert status(late, on=on).unwrap().state == "expired"

    def _waiting(self, call: Call[Any, Any], on: Backend) -> Ref[Any, Any]:
        ref = submit(call, on=on).unwrap()
        self.until(lambda: status(ref, on=on).unwrap().state == "waiting")
        return ref


def _signals(backend: Backend) -> Signals:
    """The backend, as one that can send signals; skips the test if it cannot."""
    _needs(APPROVED(1), on=backend)
    assert isinstance(backend, Signals)
    return backend


def _needs(*calls: Call[Any, Any], on: Backend) -> None:
    for call in calls:
        found = check(call, on=on)
        for fault in found.failure() if isinstance(found, Failure) else ():
            assert isinstance(fault, Unsupported)
            pytest.skip(fault.message)
