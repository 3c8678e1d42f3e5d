"""The laws of limits."""

from __future__ import annotations

import secrets
from collections.abc import Collection, Generator, Iterable, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from returns.result import Success

from onward.backend import Backend, Cancels
from onward.backend.features import Feature
from onward.fault import Cancelled, Expired, Misconfigured
from onward.flows.combinators import fused, given
from onward.flows.fanouts import each
from onward.flows.flow import Call, Ref
from onward.flows.passing import keep, spread
from onward.interpret import cancel, check, result, results, run, status, submit, submit_all
from onward.limit import Limit
from onward.testing import limited, tasks
from onward.testing.limited import AT_ONCE, RATE, Span
from onward.testing.tools import Tools

_LIMIT: Feature = "limit"
_CALL_LIMIT: Feature = "call_limit"
_RATE: Feature = "rate"


class LimitLaws(Tools):
    """The laws of `Limit`, as a part of `BackendSuite`."""

    def test_so_many_run_at_a_time(self, backend: Backend, traces: Path) -> None:
        """Of single calls, and of the items of an `each`, together."""
        law = self._law(backend)
        calls = [limited.few_at_once(law, str(number)) for number in range(2 * AT_ONCE)]
        refs = submit_all(calls, on=backend).unwrap()
        items = [(law, f"item{number}") for number in range(AT_ONCE + 1)]
        wide = submit(each(spread(limited.few_at_once))(items), on=backend).unwrap()
        assert self._ended(refs, backend) == len(refs)
        assert result(wide, on=backend, timeout=self.patience).unwrap() == [key for _, key in items]
        spans = spans_of(traces, law)
        assert len(spans) == 3 * AT_ONCE + 1
        assert most_at_once(spans) <= AT_ONCE

    def test_so_many_begin_within_a_window(self, backend: Backend, traces: Path) -> None:
        """In any window, wherever it begins."""
        law = self._law(backend)
        if _RATE not in self.features(backend):
            pytest.skip("the backend cannot keep to rates in any window")
        calls = [limited.paced(law, str(number)) for number in range(2 * RATE + 1)]
        refs = submit_all(calls, on=backend).unwrap()
        assert self._ended(refs, backend) == len(refs)
        began = sorted(span.began for span in spans_of(traces, law))
        assert len(began) == len(refs)
        windows = [later - first for first, later in zip(began, began[RATE:], strict=False)]
        # A busy machine may stop a task between its place and its first line.
        assert min(windows) >= 0.75

    def test_each_key_has_a_limit_of_its_own(self, backend: Backend, traces: Path) -> None:
        """And what waits for one key holds no place of another, and no slot."""
        law = self._law(backend)
        with gate(traces, law, "a"):
            first = self._began(limited.own(law, "a"), backend, traces, law)
            waiting = submit_all([limited.own(law, "a")] * 2, on=backend).unwrap()
            assert self._result(limited.own(law, "b"), backend) == Success("b")
            assert began_of(traces, law) == ["a", "b"]
        assert self._ended([first, *waiting], backend) == 3
        spans = [span for span in spans_of(traces, law) if span.key == "a"]
        assert most_at_once(spans) == 1

    def test_a_fair_limit_takes_turns_by_key(self, backend: Backend, traces: Path) -> None:
        """The only call of one key does not wait for the many of another."""
        law = self._law(backend)
        with gate(traces, law, "first"):
            first = self._began(limited.turns(law, "first"), backend, traces, law)
            many = submit_all([limited.turns(law, "many")] * 4, on=backend).unwrap()
            self._waits(many, "turns", backend)
            few = submit(limited.turns(law, "few"), on=backend).unwrap()
            self._waits([few], "turns", backend)
        assert self._ended([first, *many, few], backend) == 6
        order = [span.key for span in sorted(spans_of(traces, law), key=lambda span: span.began)]
        assert order.index("few") <= 2
        assert most_at_once(spans_of(traces, law)) == 1

    def test_what_waits_for_a_limit_holds_no_slot(self, backend: Backend, traces: Path) -> None:
        """However much waits, other tasks run; two tasks can share a limit."""
        law = self._law(backend)
        with gate(traces, law, "first"):
            first = self._began(limited.one_of_two(law, "first"), backend, traces, law)
            calls = [limited.other_of_two(law, str(number)) for number in range(8)]
            waiting = submit_all(calls, on=backend).unwrap()
            self._waits(waiting, "onward-suite", backend)
            assert self._result(limited.free(law, "x"), backend) == Success("x")
            assert began_of(traces, law) == ["first"]
        assert self._ended([first, *waiting], backend) == 9
        assert most_at_once(spans_of(traces, law)) == 1

    def test_a_place_is_given_back_between_attempts(self, backend: Backend, traces: Path) -> None:
        """While a step waits for its next attempt, others have its place."""
        law = self._law(backend)
        ref = submit(limited.stumbles(law, "stumble"), on=backend).unwrap()
        self.until(lambda: len(spans_of(traces, law)) == 1)
        assert self._result(limited.stumbles(law, "walk"), backend) == Success("walk")
        assert [span.key for span in spans_of(traces, law)] == ["stumble", "walk"]
        if isinstance(backend, Cancels):
            cancel(ref, on=backend)

    def test_what_ends_while_it_waits_leaves_the_limit(
        self, backend: Backend, traces: Path
    ) -> None:
        """By a cancel or its deadline, at once, and whoever waits behind it has its turn."""
        law = self._law(backend)
        with gate(traces, law, "a"):
            first = self._began(limited.own(law, "a"), backend, traces, law)
            late = submit(limited.own(law, "a"), on=backend, deadline=0.7).unwrap()
            if isinstance(backend, Cancels):
                gone = submit(limited.own(law, "a"), on=backend).unwrap()
                self._waits([gone], "own", backend)
                cancel(gone, on=backend)
                fault = result(gone, on=backend, timeout=self.patience).failure()
                assert isinstance(fault, Cancelled)
            last = submit(limited.own(law, "a"), on=backend).unwrap()
            assert isinstance(result(late, on=backend, timeout=self.patience).failure(), Expired)
        assert self._ended([first, last], backend) == 2
        assert began_of(traces, law) == ["a", "a"]

    def test_a_fused_flow_has_a_limit_as_a_whole(self, backend: Backend, traces: Path) -> None:
        """And flows of limited tasks mean what they mean without."""
        law = self._law(backend)
        whole = fused(tasks.inc >> tasks.double, limit=Limit(1, name=f"fused-{law}"))
        assert run(each(whole)([1, 2, 3]), on=backend, timeout=self.patience) == Success([4, 6, 8])
        flow = spread(limited.few_at_once) >> keep(given(limited.free, "x"))
        assert self._result(flow((law, "x")), backend) == Success(("x", "x"))

    def test_a_flow_has_so_many_calls_at_a_time(self, backend: Backend, traces: Path) -> None:
        """From the first step of a call to its last; other keys do not wait."""
        law = self._law(backend)
        if _CALL_LIMIT not in self.features(backend):
            pytest.skip("the backend cannot keep to limits of whole calls")
        calls = [limited.whole_calls(law, key) for key in ("a", "a", "b", "a")]
        refs = submit_all(calls, on=backend).unwrap()
        assert self._ended(refs, backend) == 4
        spans = spans_of(traces, law)
        assert sorted(span.key for span in spans) == ["a", "a", "a", "b"]
        assert most_at_once([span for span in spans if span.key == "a"]) == 1
        within = check((limited.whole_calls >> limited.same)(law, "a"), on=backend).failure()
        assert isinstance(within[0], Misconfigured)

    def test_a_key_that_raises_is_a_fault_of_its_step(self, backend: Backend, traces: Path) -> None:
        """With the reason, and without a place taken."""
        law = self._law(backend)
        for _ in range(2):
            fault = self._result(limited.unkeyed(law, "other"), backend).failure()
            assert isinstance(fault, Misconfigured)
            assert "key= raised KeyError" in fault.message
        assert self._result(limited.unkeyed(law, "known"), backend) == Success("known")

    # -- how ----------------------------------------------------------------------------------

    def _law(self, backend: Backend) -> str:
        """A name for what one test records; skips it if the backend has no limits."""
        if _LIMIT not in self.features(backend):
            pytest.skip("the backend cannot keep to limits")
        return secrets.token_hex(4)

    def _result(self, call: Call[Any, Any], backend: Backend) -> Any:
        return run(call, on=backend, timeout=self.patience)

    def _began(
        self, call: Call[Any, Any], backend: Backend, traces: Path, law: str
    ) -> Ref[Any, Any]:
        """Submits a call, and waits until its task has begun."""
        ref = submit(call, on=backend).unwrap()
        self.until(lambda: bool(began_of(traces, law)))
        return ref

    def _waits(self, refs: Iterable[Ref[Any, Any]], limit: str, backend: Backend) -> None:
        """Waits until calls wait for a limit."""
        for ref in refs:

            def is_waiting(ref: Ref[Any, Any] = ref) -> bool:
                now = status(ref, on=backend).unwrap()
                return (now.state, now.limit) == ("waiting", limit)

            self.until(is_waiting)

    def _ended(self, refs: Collection[Ref[Any, Any]], backend: Backend) -> int:
        """Waits until calls have ended; gives how many have a value."""
        ended = results(refs, on=backend, timeout=self.patience)
        return sum(isinstance(each, Success) for _, each in ended)


@contextmanager
def gate(traces: Path, law: str, key: str) -> Generator[None]:
    """Keeps the tasks of a key from ending while this is entered."""
    file = traces / f"gate-{law}-{key}"
    file.touch()
    try:
        yield
    finally:
        file.unlink()


def spans_of(traces: Path, law: str) -> list[Span]:
    """The attempts of a law that have ended."""
    file = traces / f"spans-{law}"
    return [Span(line) for line in file.read_text().splitlines()] if file.exists() else []


def began_of(traces: Path, law: str) -> list[str]:
    """The keys of the attempts of a law that have begun, in this order."""
    file = traces / f"began-{law}"
    return file.read_text().splitlines() if file.exists() else []


def most_at_once(spans: Sequence[Span]) -> int:
    """How many attempts ran at the same time, where that were most."""
    return max(sum(other.began <= span.began < other.ended for other in spans) for span in spans)
