"""Invalid tasks and compositions are refused with what to write."""

import functools
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from returns.result import Success

from onward import (
    TimedOut,
    each,
    explain,
    fused,
    given,
    local,
    run,
    task,
    together,
)
from onward.backends.local import Local
from tests.unit.bad import Tree, inc, wrong


@pytest.fixture(scope="module")
def backend() -> Iterator[Local]:
    backend = local()
    yield backend
    backend.close()


# -- functions that are no tasks --------------------------------------------------------------


class Service:
    def method(self, n: int) -> int:
        return n

    @classmethod
    def class_method(cls, n: int) -> int:
        return n

    @staticmethod
    def static_method(n: int) -> int:
        return n

    def __call__(self, n: int) -> int:
        return n


def generator(n: int) -> Iterator[int]:
    yield n


async def async_generator(n: int) -> AsyncIterator[int]:
    yield n


def without_annotation(n, m: int) -> int:  # type: ignore[no-untyped-def]  # which is what is tried
    return m


def without_return(n: int):  # type: ignore[no-untyped-def]  # which is what is tried
    return n


def without_rest(*rest) -> int:  # type: ignore[no-untyped-def]  # which is what is tried
    return len(rest)


def from_nowhere(n: "Nowhere") -> int:  # type: ignore[name-defined]  # noqa: F821 - which is what is tried
    return 0


def size(n: int) -> int:
    return n


size.__name__ = "größe"


NO_TASKS: dict[str, tuple[Any, type[Exception], str]] = {
    "a lambda": (lambda n: n, TypeError, "a lambda .* has no name .* write def"),
    "a method": (Service().method, TypeError, "is a method.*make it a function"),
    "a method in its class": (Service.method, TypeError, "is a method.*self cannot travel"),
    "a class method": (Service.class_method, TypeError, "is a method.*make it a function"),
    "an unbound class method": (
        classmethod(wrong(generator)),
        TypeError,
        "a task is a plain function",
    ),
    "a static method as such": (staticmethod(inc.fn), TypeError, "a task is a plain function"),
    "a class": (Service, TypeError, "a task is a plain function"),
    "something callable": (Service(), TypeError, "a task is a plain function"),
    "a partial": (functools.partial(inc.fn, 1), TypeError, "write def, and put @task on it"),
    "a builtin": (len, TypeError, "a task is a plain function"),
    "a generator": (generator, TypeError, "is a generator.*return a list"),
    "an async generator": (async_generator, TypeError, "is a generator.*return a list"),
    "no annotation": (without_annotation, TypeError, "parameter 'n' .* needs an annotation"),
    "no return annotation": (without_return, TypeError, "does not say what it returns"),
    "no annotation of the rest": (
        without_rest,
        TypeError,
        "parameter 'rest' .* needs an annotation",
    ),
    "an unknown annotation": (from_nowhere, TypeError, "'Nowhere' is not defined.*top of the"),
    "a name in German": (size, ValueError, "ASCII"),
    "a task": (inc, TypeError, "a task is a plain function"),
    "a name alone": ("fetch", TypeError, "a task is a plain function, not 'fetch'"),
    "a number": (5, TypeError, "a task is a plain function, not 5"),
}


@pytest.mark.parametrize("case", NO_TASKS.values(), ids=NO_TASKS)
def test_a_function_that_cannot_be_a_task_is_refused_with_what_to_write(
    case: tuple[Any, type[Exception], str],
) -> None:
    fn, kind, message = case
    with pytest.raises(kind, match=message) as refused:
        task(fn)
    assert refused.value.__cause__ is None
    assert refused.value.__suppress_context__ or refused.value.__context__ is None


def test_a_static_method_is_a_task_inside_its_class(backend: Local) -> None:
    class Namespace:
        @staticmethod
        @task
        def double(n: int) -> int:
            return 2 * n

    assert run(Namespace.double(2), on=backend) == Success(4)


@pytest.mark.parametrize("name", ["", "two words", "tab\t", "größe", "x" * 201, "\0"])
def test_a_name_that_some_engine_would_refuse_is_refused_at_once(name: str) -> None:
    with pytest.raises(ValueError, match="name"):
        task(name=name)(inc.fn)
    with pytest.raises(ValueError, match="name"):
        inc.named(name)


def test_a_name_that_is_no_text_is_refused() -> None:
    with pytest.raises(TypeError, match="a task's name is a text, not 5"):
        task(name=wrong(5))(inc.fn)
    with pytest.raises(TypeError, match="a flow's name is a text, not 5"):
        inc.named(wrong(5))


# -- compositions that are none ---------------------------------------------------------------


NO_FLOWS: dict[str, Callable[[], object]] = {
    ">> a function": lambda: inc >> wrong(inc.fn),
    ">> a number": lambda: inc >> wrong(5),
    ">> a call": lambda: inc >> wrong(inc(1)),
    ">> None": lambda: inc >> wrong(None),
    "rescue a function": lambda: inc.rescue(wrong(len)),
    "each of a number": lambda: each(wrong(5)),
    "each of a function": lambda: each(wrong(inc.fn)),
    "together with a function": lambda: together(inc, wrong(inc.fn)),
    "given to a function": lambda: given(wrong(inc.fn)),
    "fused function": lambda: fused(wrong(inc.fn)),
    "explained number": lambda: explain(wrong(5)),
}


@pytest.mark.parametrize("compose", NO_FLOWS.values(), ids=NO_FLOWS)
def test_what_is_no_flow_does_not_compose(compose: Callable[[], object]) -> None:
    with pytest.raises(TypeError, match=r"is not a flow: (put @task on it|only tasks and flows)"):
        compose()


@pytest.mark.parametrize("annotation", [Any, str, Tree, dict[str, Any], TimedOut | None], ids=str)
def test_a_handler_says_that_it_takes_errors_and_faults(annotation: Any) -> None:
    def handler(error: object) -> int:
        return 0

    handler.__annotations__["error"] = annotation
    with pytest.raises(TypeError, match=r"handler.*\| Fault"):
        inc.rescue(wrong(task(handler)))
