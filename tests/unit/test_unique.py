"""Options that make no sense together are refused before anything is submitted."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from returns.result import Result, Success

from onward import Fault, Misconfigured, Unsupported, local, result, run, submit, task
from onward.backend import Submission
from onward.observe import observed
from onward.observer import Attempt, Sending


@task
def inc(n: int) -> int:
    return n + 1


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"debounce": 1}, "add unique="),
        ({"unique": "a", "key": "b"}, "key= and unique= exclude each other"),
        ({"unique": "a", "debounce": 1, "delay": 1}, "leave delay= out"),
        ({"unique": "a", "debounce": -1}, "debounce is from 0 seconds"),
        ({"unique": "a", "debounce": "1"}, "debounce is a number of seconds"),
        ({"unique": ""}, "unique is a text that is not empty"),
        ({"unique": 7}, "unique is a text that is not empty"),
        ({"unique": "a\0"}, "unique 'a\\x00' has a NUL"),
    ],
)
def test_options_without_a_meaning_are_refused(options: dict[str, Any], why: str) -> None:
    fault = submit(inc(1), on=local(), **options).failure()
    assert isinstance(fault, Misconfigured)
    assert why in fault.message


def test_a_backend_without_unique_calls_refuses_them() -> None:
    class Plain:
        def submit(self, submission: Submission, /) -> Result[str, Fault]:
            raise AssertionError("it submitted the call")

        def submit_all(self, submissions: Iterable[Submission], /) -> Result[list[str], Fault]:
            raise AssertionError("it submitted the calls")

    fault = submit(inc(1), on=Plain(), unique="a").failure()
    assert isinstance(fault, Unsupported)
    assert "unique" in fault.message


def test_run_gives_the_result_of_the_call_that_is_open() -> None:
    backend = local()
    ref = submit(inc(1), on=backend, unique="a", delay=timedelta(seconds=0.1)).unwrap()
    assert run(inc(5), on=backend, unique="a") == Success(2)
    assert result(ref, on=backend) == Success(2)
    assert run(inc(5), on=backend, unique="a") == Success(6)


class Sent:
    """Keeps what was sent."""

    def __init__(self) -> None:
        self.all: list[Sending] = []

    @contextmanager
    def sending(self, sending: Sending) -> Iterator[None]:
        self.all.append(sending)
        yield

    @contextmanager
    def attempt(self, attempt: Attempt) -> Iterator[None]:
        yield


def test_an_observer_sees_the_id_of_the_call_that_is_open() -> None:
    sent = Sent()
    backend = observed(local(), sent)
    refs = [submit(inc(1), on=backend, unique="a", debounce=60).unwrap() for _ in range(2)]
    assert [each.id for each in sent.all] == [ref.id for ref in refs]
    assert refs[0] == refs[1]
