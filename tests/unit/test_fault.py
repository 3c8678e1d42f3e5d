"""Faults are values that say what happened and what to do about it."""

import traceback
from typing import Any

import msgspec
import pytest
from returns.primitives.exceptions import UnwrapFailedError
from returns.result import Failure, Result, Success

from onward import (
    BadPayload,
    Expired,
    Fault,
    Lost,
    Raised,
    TimedOut,
    TooLarge,
    fault,
    local,
    plan,
    run,
    task,
    unwrap,
)
from onward.answers import UnwrapError
from onward.fault import KINDS
from onward.outcome import Faulted


def made(kind: Any) -> Fault:
    """A fault of a kind, with no more than it must have."""
    texts = ["OSError", "something went wrong."] if kind is Raised else ["something went wrong."]
    fault: Fault = kind("fetch", *texts)
    return fault


FAULTS = [made(kind) for kind in KINDS.values()]
kinds = pytest.mark.parametrize("each", FAULTS, ids=lambda each: type(each).__name__)


@kinds
def test_a_fault_is_a_frozen_value(each: Fault) -> None:
    same = msgspec.json.decode(msgspec.json.encode(each), type=type(each))
    assert same == each
    assert hash(same) == hash(each)
    assert not hasattr(each, "__dict__")
    with pytest.raises(AttributeError):
        each.message = "another"  # type: ignore[misc]  # which is what is tried
    assert [other for other in FAULTS if other == each] == [each]


@kinds
def test_a_fault_reads_like_the_code_that_made_it(each: Fault) -> None:
    assert eval(repr(each), vars(fault)) == each


@kinds
def test_a_fault_tells_a_person_where_it_was_and_what_to_do(each: Fault) -> None:
    text = str(each)
    assert text.startswith("fetch: ")
    assert "something went wrong. " in text
    assert text.endswith(each.cure)
    assert each.cure.endswith(".")
    assert ".." not in text


def test_every_kind_of_fault_is_known_by_its_name() -> None:
    assert set(KINDS.values()) == set(Fault.__subclasses__())
    assert all(name == kind.__name__ for name, kind in KINDS.items())


def test_a_fault_without_a_task_does_not_speak_of_one() -> None:
    assert str(Expired("", "too late")).startswith("too late. ")


def test_a_fault_is_taken_apart_by_match() -> None:
    match TimedOut("fetch", "no value", seconds=3.0, attempts=2):
        case TimedOut(task, message, seconds, attempts, still_running):
            assert (task, message, seconds, attempts) == ("fetch", "no value", 3.0, 2)
            assert not still_running


def test_raised_without_a_text_says_what_was_raised() -> None:
    assert str(Raised("parse", "KeyError", "")).startswith("parse: raised KeyError. Fix the task")


def test_raised_says_how_often_it_was_tried() -> None:
    assert "in the last of 3 attempts" in str(Raised("a", "OSError", "down", attempts=3))
    assert "attempts" not in str(Raised("a", "OSError", "down"))


@pytest.mark.parametrize(
    ("each", "text"),
    [
        (BadPayload("parse", "Expected `int`", "$.rows[3].n"), "Expected `int`, at $.rows[3].n. "),
        (BadPayload("parse", "Expected `int` at $.n", "$.n"), "Expected `int` at $.n. "),
        (Lost("parse", "its worker died", 3), "its worker died, delivered to a worker 3 times. "),
        (TooLarge("parse", "its value is too large", 9, 4), "large, 9 bytes, the limit is 4. "),
        (TooLarge("parse", "9 bytes, and 4 are carried", 9, 4), "9 bytes, and 4 are carried. "),
        (TimedOut("parse", "no value after 1 s", 1.0, 3), "1 s, in the last of 3 attempts. "),
        (TimedOut("parse", "no value", 1.5), "no value, 1.5 s were allowed. "),
        (BadPayload("parse", "no plan", advice="Nest less."), "parse: no plan. Nest less."),
    ],
)
def test_a_fault_says_all_it_knows_once(each: Fault, text: str) -> None:
    assert text in str(each)


def test_a_retry_is_advised_to_who_has_none() -> None:
    assert "have a Retry cover OSError." in str(Raised("a", "OSError", "down"))
    assert "Retry" not in str(Raised("a", "OSError", "down", attempts=3))


def test_a_wait_that_ended_is_no_step_that_took_too_long() -> None:
    waited = TimedOut("a", "no outcome yet", 1.0, 0, still_running=True)
    assert "make the step shorter" not in str(waited)
    assert "with its ref" in str(waited)


@task
def misses(n: int) -> Result[list[int], str]:
    wrong: Any = {0: "text", 1: Success([1, "two"]), 2: Failure(3)}
    answer: Result[list[int], str] = wrong[n]
    return answer


@pytest.mark.parametrize(
    ("n", "text"),
    [
        (0, "misses: its annotation says Result, and it returned str. Return "),
        (1, "misses: it returned a value that cannot travel: Expected `int`, got `str`, at $[1]. "),
        (2, "misses: it returned an error that cannot travel: int is not one of str"),
    ],
)
def test_what_a_task_returned_is_no_matter_of_its_arguments(n: int, text: str) -> None:
    said = str(run(misses(n), on=local()).failure())
    assert said.startswith(text)
    assert said.endswith("Return what the annotation says, or change the annotation.")


def test_what_onward_cannot_read_is_no_matter_of_an_annotation() -> None:
    for found in (plan.decode(b"{}").failure(), Faulted(msgspec.Raw(b"{}")).fault):
        assert "annotation" not in str(found)
        assert "Let only Onward write there" in str(found)


@task
def fails(n: int) -> int:
    raise ValueError(f"{n} is no good")


def test_unwrap_says_what_the_fault_says() -> None:
    assert unwrap(Success(3)) == 3
    failed = run(fails(7), on=local())
    with pytest.raises(UnwrapError, match="fails: raised ValueError: 7 is no good") as caught:
        unwrap(failed)
    assert caught.value.error == failed.failure()
    assert isinstance(caught.value, UnwrapFailedError)
    assert "in fails" in "".join(traceback.format_exception(caught.value))


def test_unwrap_says_which_domain_error_it_was() -> None:
    with pytest.raises(UnwrapError, match=r"ValueError\('not today'\)"):
        unwrap(Failure(ValueError("not today")))
    with pytest.raises(TypeError, match="not a Result"):
        unwrap(3)  # type: ignore[arg-type]  # which is what is tried
