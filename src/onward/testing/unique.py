"""The laws of calls that share a key: `unique=` and `debounce=`."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from returns.result import Failure, Success

from onward.backend import Backend, Cancels, SubmitsUnique
from onward.fault import Cancelled, Expired, Unsupported
from onward.flows.flow import Ref
from onward.interpret import cancel, result, run, status, submit
from onward.testing import tasks
from onward.testing.kinds import Odd
from onward.testing.tools import Tools

_AT_ONCE = 32
"""How many threads submit at the same time."""


class UniqueLaws(Tools):
    """The laws of calls that share a key, as a part of `BackendSuite`."""

    def test_of_a_unique_key_one_call_is_open(self, backend: Backend, traces: Path) -> None:
        """However many submit at once, and only of one flow."""
        _skip_without_unique(backend)
        key = os.urandom(8).hex()

        def one(n: int) -> Ref[int, object]:
            return submit(tasks.inc(n), on=backend, unique=key, delay=600, deadline=1200).unwrap()

        refs = _at_once(one)
        assert len(refs) == 1
        other = submit(tasks.double(1), on=backend, unique=key).unwrap()
        assert {other.id}.isdisjoint(ref.id for ref in refs)
        assert result(other, on=backend, timeout=self.patience) == Success(2)
        if isinstance(backend, Cancels):
            cancel(refs.pop(), on=backend).unwrap()

    def test_the_next_unique_call_comes_when_one_has_ended(
        self, backend: Backend, traces: Path
    ) -> None:
        """By a value, a domain error, a cancel, or a deadline."""
        _skip_without_unique(backend)
        key = os.urandom(8).hex()

        def once(n: int, delay: float = 0.0, deadline: float | None = None) -> Ref[int, Odd]:
            made = submit(tasks.halve(n), on=backend, unique=key, delay=delay, deadline=deadline)
            return made.unwrap()

        first = once(2, delay=0.2)
        assert once(4) == first
        assert result(first, on=backend, timeout=self.patience) == Success(1)
        second = once(3, delay=0.2)
        assert once(4) == second != first
        assert result(second, on=backend, timeout=self.patience) == Failure(Odd(3))
        third = once(2, delay=600, deadline=0.3)
        assert isinstance(result(third, on=backend, timeout=self.patience).failure(), Expired)
        if isinstance(backend, Cancels):
            fourth = once(2, delay=600)
            cancel(fourth, on=backend).unwrap()
            assert isinstance(result(fourth, on=backend).failure(), Cancelled)
        assert run(tasks.halve(8), on=backend, unique=key, timeout=self.patience) == Success(4)
        assert result(first, on=backend, timeout=self.patience) == Success(1)

    def test_debounce_runs_the_last_arguments(self, backend: Backend, traces: Path) -> None:
        """Once, as the call that the first submission made, which it had its ref of."""
        key = os.urandom(8).hex()
        _skip_without_debounce(backend, key)

        def early(n: int) -> Ref[int, object]:
            return submit(tasks.inc(n), on=backend, unique=key, debounce=600).unwrap()

        [ref] = _at_once(early)
        assert status(ref, on=backend).unwrap().state == "queued"
        assert submit(tasks.inc(50), on=backend, unique=key).unwrap() == ref
        assert submit(tasks.inc(100), on=backend, unique=key, debounce=0).unwrap() == ref
        assert result(ref, on=backend, timeout=self.patience) == Success(101)
        assert self.trace_of(ref.id, traces) == Counter(["inc 100 1"])

    def test_debounce_after_the_start_comes_next(self, backend: Backend, traces: Path) -> None:
        """As one call with the last arguments, when the one that runs has ended."""
        key = os.urandom(8).hex()
        _skip_without_debounce(backend, key)

        def submitted(seconds: float) -> Ref[float, object]:
            return submit(tasks.linger(seconds), on=backend, unique=key, debounce=0).unwrap()

        first = submit(tasks.linger(600.0), on=backend, unique=key, deadline=600).unwrap()
        self.until(lambda: status(first, on=backend).unwrap().progress is not None)
        second = submitted(0.1)
        assert submitted(0.2) == second != first
        assert status(second, on=backend).unwrap().state == "queued"
        assert isinstance(backend, Cancels)
        cancel(first, on=backend).unwrap()
        assert result(second, on=backend, timeout=self.patience) == Success(0.2)
        assert self.trace_of(second.id, traces) == Counter(["linger 0.2 1"])


def _at_once(submit_one: Callable[[int], Ref[int, object]]) -> set[Ref[int, object]]:
    with ThreadPoolExecutor(_AT_ONCE) as threads:
        return set(threads.map(submit_one, range(_AT_ONCE)))


def _skip_without_unique(backend: Backend) -> None:
    if not isinstance(backend, SubmitsUnique):
        pytest.skip("this backend does not have the capability SubmitsUnique")


def _skip_without_debounce(backend: Backend, key: str) -> None:
    """Skips the law where debounced calls are refused, which happens before any is submitted."""
    _skip_without_unique(backend)
    tried = submit(tasks.double(1), on=backend, unique=key, debounce=0)
    if isinstance(tried, Failure):
        assert isinstance(tried.failure(), Unsupported)
        pytest.skip(f"this backend has no debounced calls: {tried.failure().message}")
