"""A task is a value: a name, a function and a policy."""

import functools
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, ParamSpec, TypeVar

import pytest
from returns.result import Success

from onward import Policy, Retry, Task, local, run, task

P = ParamSpec("P")
R = TypeVar("R")


def add(a: int, b: int = 10) -> int:
    return a + b


def everything(a: int, /, b: int, *rest: int, c: int = 3, **others: int) -> list[int]:
    return [a, b, *rest, c, *others.values()]


def asynchronously(fn: Callable[P, R]) -> Callable[P, Coroutine[Any, Any, R]]:
    @functools.wraps(fn)
    async def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        return fn(*args, **kwargs)

    return wrapper


def transparently(fn: Callable[P, R]) -> Callable[P, R]:
    @functools.wraps(fn)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        return fn(*args, **kwargs)

    return wrapper


async def later(n: int) -> int:
    return n + 1


def promise(n: int) -> Awaitable[int]:
    return later(n)


def test_decorating_keeps_the_function_as_it_is() -> None:
    assert task(add).fn is add
    assert task(add).fn(1) == 11


def test_a_task_goes_by_its_functions_name_unless_it_is_given_one() -> None:
    assert task(add).name == "add"
    assert task(name="sum-of-two")(add).name == "sum-of-two"


def test_a_task_is_tried_once_and_without_limit_by_default() -> None:
    assert task(add).policy == Policy(Retry(attempts=1), timeout=None, queue=None, priority=None)
    with_options = task(retry=Retry(attempts=2), timeout=1.5, queue="db", priority=9)(add)
    assert with_options.policy == Policy(Retry(attempts=2), 1.5, "db", 9)


def test_two_tasks_are_equal_if_name_function_and_policy_are() -> None:
    assert task(add) == task(add)
    assert hash(task(add)) == hash(task(add))
    assert task(add) != task(name="other")(add)
    assert task(add) != task(timeout=1)(add)
    others: list[object] = [task(name="add")(later), add]
    assert task(add) not in others


def test_with_changes_the_given_fields_and_nothing_else() -> None:
    before = task(retry=Retry(attempts=2), timeout=1.5, queue="db", priority=9)(add)
    after = before.with_(timeout=None, priority=0)
    assert after.policy == Policy(Retry(attempts=2), None, "db", 0)
    assert before.policy == Policy(Retry(attempts=2), 1.5, "db", 9)
    assert after.with_(retry=None, queue=None).policy == Policy(priority=0)
    assert after.with_(timeout=1.5, priority=9) == before


def test_a_task_with_all_kinds_of_parameters_takes_them_as_its_function_does() -> None:
    backend = local()
    flow = task(everything)
    assert run(flow(1, 2), on=backend) == Success(everything(1, 2))
    assert run(flow(1, b=2, c=4), on=backend) == Success(everything(1, b=2, c=4))
    assert run(flow(1, 2, 5, 6, c=7, d=8, a=9), on=backend) == Success([1, 2, 5, 6, 7, 8, 9])
    assert run(task(add)(b=1, a=2), on=backend) == Success(3)


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [((), {}), ((1, 2, 3), {}), ((1,), {"c": 2}), ((1,), {"a": 2})],
    ids=["missing", "too many", "unknown name", "twice"],
)
def test_a_call_that_python_would_refuse_is_refused_where_it_stands(
    args: tuple[int, ...], kwargs: dict[str, int]
) -> None:
    flow: Task[..., int] = task(add)
    with pytest.raises(TypeError, match=r"^add: "):
        flow(*args, **kwargs)


def test_a_decorated_function_is_a_task_like_another() -> None:
    backend = local()
    assert run(task(transparently(add))(1), on=backend) == Success(11)
    assert run(task(asynchronously(add))(1), on=backend) == Success(11)
    assert run(task(transparently(later))(1), on=backend) == Success(2)


def test_a_function_that_gives_an_awaitable_says_so_as_a_coroutine() -> None:
    with pytest.raises(TypeError, match="the value of task 'promise'"):
        task(promise)


def test_a_closure_keeps_what_it_closed_over() -> None:
    def made_for(by: int) -> Task[[int], int]:
        @task
        def times(n: int) -> int:
            return n * by

        return times

    backend = local()
    assert run(made_for(3)(2), on=backend) == Success(6)
    assert run(made_for(5)(2), on=backend) == Success(10)
