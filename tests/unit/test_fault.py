"""Faults are values that say what happened and what to do about it."""

from typing import Any

import msgspec
import pytest

from onward import Expired, Fault, Raised, TimedOut, fault
from onward.fault import KINDS


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
    assert text.endswith(type(each).cure)
    assert type(each).cure.endswith(".")
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
    assert str(Raised("parse", "KeyError", "")).startswith("parse: raised KeyError. Mend the task")


def test_raised_says_how_often_it_was_tried() -> None:
    assert "in the last of 3 attempts" in str(Raised("a", "OSError", "down", attempts=3))
    assert "attempts" not in str(Raised("a", "OSError", "down"))
