"""Policies are checked where they are made, and their delays are exact."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from returns.result import Failure, Result

from onward import Constant, Exponential, Isolation, Policy, Raised, Retry, fused, local, run, task
from onward.checks import MAX_SECONDS
from onward.policy import (
    Backoff,
    CallDelivery,
    CallOptions,
    Delivery,
    PolicyOptions,
    delivery,
)

shares = st.floats(0, 1)
seconds = st.floats(0, MAX_SECONDS)
attempts = st.integers(1, 10_000)


@given(seconds, shares, attempts, shares)
def test_a_constant_wait_stays_within_its_jitter(
    wait: float, jitter: float, attempt: int, chance: float
) -> None:
    delay = Constant(wait, jitter=jitter).delay(attempt, chance)
    assert wait * (1 - jitter) <= delay * (1 + 1e-9)
    assert delay <= wait * (1 + jitter) * (1 + 1e-9)


@given(st.just(0.0) | st.floats(1e-6, MAX_SECONDS), st.floats(1, 1000), seconds, attempts)
def test_an_exponential_wait_grows_by_its_factor_up_to_its_maximum(
    first: float, factor: float, most: float, attempt: int
) -> None:
    delay = Exponential(first, factor=factor, max=most).delay(attempt)
    try:
        expected = min(first * math.pow(factor, attempt - 1), most)
    except OverflowError:
        expected = most if first else 0.0
    assert math.isclose(delay, expected, rel_tol=1e-6)


@given(seconds, st.floats(1, 1000), seconds, shares, attempts, shares)
def test_an_exponential_wait_is_never_longer_than_its_maximum(
    first: float, factor: float, most: float, jitter: float, attempt: int, chance: float
) -> None:
    delay = Exponential(first, factor=factor, max=most, jitter=jitter).delay(attempt, chance)
    assert 0 <= delay <= most


@given(st.floats(0, MAX_SECONDS / 2), shares, attempts)
def test_jitter_spreads_a_wait_evenly_around_it(wait: float, jitter: float, attempt: int) -> None:
    wait /= 2  # so that the jitter finds room below the maximum
    for backoff in (
        Constant(wait, jitter=jitter),
        Exponential(wait, factor=1, max=MAX_SECONDS, jitter=jitter),
    ):
        low, middle, high = (backoff.delay(attempt, chance) for chance in (0.0, 0.5, 1.0))
        assert middle == wait
        assert math.isclose(low, wait * (1 - jitter), abs_tol=1e-6)
        assert math.isclose(high, wait * (1 + jitter))


WRONG: dict[str, tuple[Any, type[Exception], str]] = {
    "negative seconds": (lambda: Constant(-1), ValueError, "0 or more"),
    "endless seconds": (lambda: Constant(math.inf), ValueError, "at most"),
    "no number of seconds": (lambda: Constant(math.nan), ValueError, "at most"),
    "seconds as text": (lambda: Constant(wrong("1")), TypeError, r"write seconds=30\.0"),
    "seconds as truth": (lambda: Constant(True), TypeError, "number of seconds"),
    "first as text": (lambda: Exponential(wrong("1")), TypeError, r"write first=30\.0"),
    "max below zero": (lambda: Exponential(1, max=-1), ValueError, "max is 0 or more"),
    "shrinking": (lambda: Exponential(1, factor=0.5), ValueError, "factor=2 to double"),
    "factor as text": (lambda: Exponential(1, factor=wrong("2")), ValueError, "factor=2"),
    "factor not a number": (lambda: Exponential(1, factor=math.nan), ValueError, "factor=2"),
    "jitter over one": (lambda: Constant(1, jitter=20), ValueError, r"write jitter=0\.2"),
    "jitter as text": (lambda: Constant(1, jitter=wrong("x")), ValueError, r"write jitter=0\.2"),
    "no attempt": (lambda: Retry(attempts=0), ValueError, "first one included"),
    "endless attempts": (lambda: Retry(attempts=10**9), ValueError, "10000"),
    "attempts as text": (lambda: Retry(attempts=wrong("3")), TypeError, "write attempts=3"),
    "attempts as truth": (lambda: Retry(attempts=True), TypeError, "write attempts=3"),
    "attempts and a half": (lambda: Retry(attempts=wrong(2.5)), TypeError, "write attempts=3"),
    "backoff as number": (lambda: Retry(backoff=wrong(1.0)), TypeError, r"Constant\(seconds\)"),
    "one class for on": (lambda: Retry(on=wrong(OSError)), TypeError, r"on=\(ConnectionError,\)"),
    "names for on": (lambda: Retry(on=wrong(("OSError",))), TypeError, "tuple of exception"),
    "no exception in never": (lambda: Retry(never=wrong((int,))), TypeError, "never is a tuple"),
    "retry as number": (lambda: Policy(retry=wrong(3)), TypeError, r"retry=Retry\(attempts=3\)"),
    "no time at all": (lambda: Policy(timeout=0), ValueError, "more than 0"),
    "timeout as text": (lambda: Policy(timeout=wrong("1 s")), TypeError, r"timeout=30\.0"),
    "queue as number": (lambda: Policy(queue=wrong(5)), TypeError, "is a text"),
    "queue without name": (lambda: Policy(queue=""), ValueError, "1 to 200"),
    "queue with a space": (lambda: Policy(queue="a b"), ValueError, "write 'a_b'"),
    "queue in Greek": (lambda: Policy(queue="βάση"), ValueError, "ASCII"),
    "priority over nine": (lambda: Policy(priority=10), ValueError, "most urgent"),
    "isolate as text": (lambda: Policy(isolate=wrong("yes")), TypeError, "write isolate=True"),
    "no task at all": (lambda: Isolation(max_tasks=0), ValueError, "1 or more"),
    "tasks and a half": (lambda: Isolation(max_tasks=wrong(1.5)), TypeError, "max_tasks=100"),
    "no memory": (lambda: Isolation(max_memory=0), ValueError, "more than 0"),
    "memory as text": (lambda: Isolation(max_memory=wrong("1G")), TypeError, "max_memory=500"),
    "limit as number": (lambda: Policy(limit=wrong(5)), TypeError, r"Limit\(concurrency=5\)"),
    "priority as text": (lambda: Policy(priority=wrong("high")), TypeError, "from 0 to 9"),
    "priority as truth": (lambda: Policy(priority=True), TypeError, "from 0 to 9"),
}


def wrong(value: object) -> Any:
    """A value that the type checker would refuse here, and that a user may pass all the same."""
    return value


@pytest.mark.parametrize("case", WRONG.values(), ids=WRONG)
def test_what_makes_no_sense_is_refused_with_what_to_write_instead(
    case: tuple[Any, type[Exception], str],
) -> None:
    make, kind, message = case
    with pytest.raises(kind, match=message):
        make()


def test_a_task_and_with_refuse_the_same() -> None:
    @task
    def fetch(n: int) -> int:
        return n

    with pytest.raises(ValueError, match="more than 0"):
        task(timeout=0)
    with pytest.raises(ValueError, match="more than 0"):
        fetch.with_(timeout=0)
    with pytest.raises(TypeError, match="attempts=3"):
        fetch.with_(retry=wrong(3))
    with pytest.raises(ValueError, match="most urgent"):
        (fetch >> fetch).with_(priority=10)


@pytest.mark.parametrize(
    ("retry", "error", "attempts"),
    [
        (Retry(3, Constant(0)), ConnectionResetError, 3),
        (Retry(3, Constant(0), on=(OSError,)), ConnectionResetError, 3),
        (Retry(3, Constant(0), on=(OSError,)), ValueError, 1),
        (Retry(3, Constant(0), never=(ConnectionError,)), ConnectionResetError, 1),
        (Retry(3, Constant(0), on=(OSError,), never=(OSError,)), OSError, 1),
        (Retry(3, Constant(0), on=()), OSError, 1),
        (Retry(3, Constant(0)), SystemExit, 1),
        (Retry(3, Constant(0), on=(BaseException,)), SystemExit, 3),
        (Retry(1, Constant(0)), OSError, 1),
    ],
)
def test_on_and_never_say_which_exceptions_are_tried_again(
    retry: Retry, error: type[BaseException], attempts: int
) -> None:
    made = 0

    @task(retry=retry)
    def fails() -> int:
        nonlocal made
        made += 1
        raise error

    fault = run(fails(), on=local()).failure()
    assert isinstance(fault, Raised)
    assert fault.attempts == made == attempts


def test_a_domain_error_is_an_answer_and_never_tried_again() -> None:
    made = 0

    @task(retry=Retry(attempts=5, backoff=Constant(0), on=(BaseException,)))
    def answers() -> Result[int, str]:
        nonlocal made
        made += 1
        return Failure("no")

    assert run(answers(), on=local()) == Failure("no")
    assert made == 1


def test_backoffs_are_values() -> None:
    one: Backoff = Exponential(1, factor=3)
    assert one == Exponential(1.0, factor=3.0)
    assert len({one, Exponential(1, factor=3), Constant(1)}) == 2


def test_every_list_of_policy_fields_has_the_same_fields() -> None:
    fields = set(Policy.__struct_fields__)
    assert set(PolicyOptions.__annotations__) == fields
    assert set(CallOptions.__annotations__) <= fields
    assert set(CallDelivery.__struct_fields__) == set(CallOptions.__annotations__)
    assert set(Delivery.__struct_fields__) == set(delivery(Policy(Retry(2)), "task"))
    assert set(Delivery.__struct_fields__) >= fields - {"retry"}


def test_none_brings_back_a_default() -> None:
    @task(retry=Retry(5), timeout=3, queue="bulk", priority=9)
    def hurried() -> None: ...

    plain: Any = dict.fromkeys(Policy.__struct_fields__)
    assert hurried.with_(**plain).policy == Policy()
    assert fused(hurried, **plain) == fused(hurried)
    assert task(hurried.fn, **plain).policy == Policy()


def test_an_option_that_there_is_not_says_which_function_has_no_such_option() -> None:
    @task
    def plain() -> None: ...

    wrong: Any = {"retries": 3}
    with pytest.raises(TypeError, match=r"with_ has no option 'retries': write retry=Retry"):
        plain.with_(**wrong)
    with pytest.raises(TypeError, match=r"fused has no option 'retries': write retry=Retry"):
        fused(plain, **wrong)
    with pytest.raises(TypeError, match=r"a call has no option 'retries'.*flow\.with_\(\.\.\.\)"):
        run(plain(), on=local(), **wrong)
