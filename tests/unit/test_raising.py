"""Whatever a backend raises, interpreters return a fault."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from returns.result import Result

from onward import Unavailable, aio, cancel, result, results, run, status, submit, submit_all, task

SECRET = "s3cret"


@task
def double(n: int) -> int:
    return 2 * n


class Raising:
    """Of all that a backend has, nothing that answers."""

    def __init__(self, problem: Exception) -> None:
        self._problem = problem

    def _raise(self, *_: object, **__: object) -> Any:
        raise self._problem

    submit = submit_all = outcome = settled = status = cancel = serve = _raise


REF = double.ref("0" * 32)
PROBLEMS = [ValueError(SECRET), AttributeError(SECRET), OSError(SECRET), KeyError(SECRET)]


@pytest.mark.parametrize("problem", PROBLEMS, ids=repr)
@pytest.mark.parametrize(
    "ask",
    [
        lambda on: run(double(1), on=on),
        lambda on: submit(double(1), on=on),
        lambda on: submit_all([double(1)], on=on),
        lambda on: result(REF, on=on),
        lambda on: next(iter(results([REF], on=on)))[1],
        lambda on: status(REF, on=on),
        lambda on: cancel(REF, on=on),
    ],
)
def test_who_blocks_hears_a_fault(
    problem: Exception, ask: Callable[[Any], Result[object, object]]
) -> None:
    fault = ask(Raising(problem)).failure()
    assert isinstance(fault, Unavailable)
    assert f"raised {type(problem).__name__}" in str(fault)
    assert SECRET not in str(fault)


@pytest.mark.parametrize("problem", PROBLEMS, ids=repr)
@pytest.mark.parametrize(
    "ask",
    [
        lambda on: aio.run(double(1), on=on),
        lambda on: aio.submit(double(1), on=on),
        lambda on: aio.submit_all([double(1)], on=on),
        lambda on: aio.result(REF, on=on),
        lambda on: aio.status(REF, on=on),
        lambda on: aio.cancel(REF, on=on),
    ],
)
def test_who_awaits_hears_a_fault(
    problem: Exception, ask: Callable[[Any], Coroutine[Any, Any, Result[object, object]]]
) -> None:
    fault = asyncio.run(ask(Raising(problem))).failure()
    assert isinstance(fault, Unavailable)
    assert SECRET not in str(fault)
