"""Decorated functions are called as they are, and held to their own annotations."""

import functools
import sys
from collections.abc import Callable
from typing import (
    Any,
    TypeAlias,
)

import pytest
from returns.result import Success

from onward import local, run, task
from onward.codec import codec
from tests.unit.kinds import (
    Answer,
    Ask,
    Level,
    Pair,
)

Fn: TypeAlias = Callable[..., Any]


def with_seven(fn: Fn) -> Fn:
    @functools.wraps(fn)
    def inner(n: int) -> Any:
        return fn(n, 7)

    return inner


def made_async(fn: Fn) -> Fn:
    @functools.wraps(fn)
    async def inner(*args: Any, **kwargs: Any) -> Any:
        return fn(*args, **kwargs)

    return inner


def as_text(fn: Fn) -> Fn:
    @functools.wraps(fn)
    def inner(*args: Any, **kwargs: Any) -> str:
        return str(fn(*args, **kwargs))

    inner.__annotations__ = {**fn.__annotations__, "return": str}
    return inner


def test_a_wrapper_with_parameters_of_its_own_is_called_with_these() -> None:
    @task
    @with_seven
    def add(n: int, by: int) -> int:
        return n + by

    added: Any = add
    assert run(added(1), on=local()) == Success(8)
    with pytest.raises(TypeError):
        added(1, 2)


def test_a_wrapper_that_is_async_is_awaited_though_its_function_is_not() -> None:
    @task
    @made_async
    def double(n: int) -> int:
        return 2 * n

    doubled: Any = double
    assert run((doubled >> doubled)(1), on=local()) == Success(4)


def test_a_wrapper_of_a_generator_is_no_generator() -> None:
    def collected(fn: Fn) -> Fn:
        @functools.wraps(fn)
        def inner(n: int) -> Any:
            return list(fn(n))

        return inner

    @task
    @collected
    def count(n: int) -> list[int]:  # type: ignore[misc]  # it is the wrapper that gives the list
        yield from range(n)

    counted: Any = count
    assert run(counted(2), on=local()) == Success([0, 1])


def test_a_wrapper_that_gives_another_type_is_held_to_its_own_annotation() -> None:
    @task
    @as_text
    def half(n: int) -> int:
        return n // 2

    halved: Any = half
    assert run(halved(4), on=local()) == Success("2")


@pytest.mark.parametrize("thing", [functools.partial(max, 1), max, Level, Pair(1, [])], ids=repr)
def test_what_is_no_plain_function_is_refused_with_advice(thing: Any) -> None:
    with pytest.raises(TypeError, match=r"a task is a plain function.*write def"):
        task(thing)


if sys.version_info >= (3, 12):

    def test_aliases_by_the_statement_are_taken() -> None:
        names: dict[str, Any] = {"Ask": Ask, "Answer": Answer, "__name__": __name__}
        exec("type Says = Ask | Answer\ntype Tree[T] = tuple[T, list[Tree[T]]]", names)
        for annotation, value in (
            (names["Says"], Answer("a")),
            (names["Tree"][int], (1, [(2, [])])),
        ):
            assert codec(annotation).decode(codec(annotation).encode(value)) == value
