"""Why Onward exists: the same mistakes on Celery and on Onward.

That the type checkers accept every line of `on_celery.py`, and refuse the marked ones of
`on_onward.py`, is in `test_checkers.py`; this is what happens at run time.
"""

import importlib

import pytest
from celery.canvas import Signature

from tests.typing import on_celery

# Not by an import statement, which mypy would follow into mistakes that are there on purpose.
on_onward = importlib.import_module("tests.typing.on_onward")

WRONG_ARGUMENTS = ("a_keyword_that_there_is_not", "an_argument_too_few")


@pytest.mark.parametrize("mistake", ["bytes_for_a_list_of_int", *WRONG_ARGUMENTS])
def test_celery_builds_a_wrong_chain(mistake: str) -> None:
    assert isinstance(getattr(on_celery, mistake)(), Signature)


def test_celery_counts_bytes_as_rows_and_calls_it_a_success() -> None:
    done = on_celery.bytes_for_a_list_of_int().apply()
    assert (done.state, done.result) == ("SUCCESS", len(b"a,b"))


@pytest.mark.parametrize("mistake", WRONG_ARGUMENTS)
def test_celery_finds_a_wrong_argument_when_the_task_runs(mistake: str) -> None:
    assert getattr(on_celery, mistake)().apply().state == "FAILURE"


@pytest.mark.parametrize("mistake", WRONG_ARGUMENTS)
def test_onward_finds_a_wrong_argument_where_the_chain_is_written(mistake: str) -> None:
    with pytest.raises(TypeError, match=r"given\(store, \.\.\.\)"):
        getattr(on_onward, mistake)()


def test_onward_refuses_bytes_for_rows_where_they_are_composed() -> None:
    with pytest.raises(TypeError, match=r"fetch gives bytes, and store takes list\[int\]"):
        on_onward.bytes_for_a_list_of_int()
