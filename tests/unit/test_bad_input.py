"""What users get wrong is answered with what to write instead, and nothing hangs or blows up."""

import asyncio
import contextlib
import functools
import math
import re
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any, NoReturn, TypeAlias

import pytest
from returns.result import Failure, Result, Success

from onward import (
    BadPayload,
    Catalog,
    Constant,
    Expired,
    Fault,
    Misconfigured,
    Raised,
    Retry,
    TimedOut,
    aio,
    cancel,
    check,
    each,
    explain,
    fused,
    given,
    identity,
    local,
    result,
    results,
    run,
    status,
    submit,
    submit_all,
    task,
    together,
    work,
)
from onward.backends.local import Local
from onward.flows.flow import AnyFlow

PATIENCE = 30.0


def wrong(value: object) -> Any:
    """A value that the type checker would refuse here, and that a user may pass all the same."""
    return value


@dataclass
class Tree:
    name: str
    children: "list[Tree]" = field(default_factory=list)


@task
def inc(n: int) -> int:
    return n + 1


@task
def instead(error: Fault) -> int:
    return -1


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
def test_what_can_be_no_task_is_refused_with_what_to_write(
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


# -- options and arguments of the wrong kind --------------------------------------------------

Answer: TypeAlias = Callable[[Local], object]
REFUSED: dict[str, tuple[Answer, str]] = {
    "run a flow": (
        lambda on: run(wrong(inc), on=on),
        r"inc is a flow, not a call: write inc\(...\)",
    ),
    "run a function": (lambda on: run(wrong(len), on=on), "is not a call: apply a flow"),
    "run None": (lambda on: run(wrong(None), on=on), "None is not a call"),
    "run on a URL": (lambda on: run(inc(1), on=wrong("redis://")), "'redis://' is not a backend"),
    "run on nothing": (lambda on: run(inc(1), on=wrong(None)), "None is not a backend"),
    "run on the function": (lambda on: run(inc(1), on=wrong(local)), r"write on=local\(\)"),
    "submit a flow": (lambda on: submit(wrong(inc), on=on), "is a flow, not a call"),
    "submit nowhere": (lambda on: submit(inc(1), on=wrong(None)), "is not a backend"),
    "submit one as many": (lambda on: submit_all(wrong(inc(1)), on=on), r"write \[inc\(1\)\]"),
    "submit many flows": (lambda on: submit_all([wrong(inc)], on=on), "is a flow, not a call"),
    "result of a text": (lambda on: result(wrong("abc"), on=on), r"write flow\.ref\(text\)"),
    "result of a call": (lambda on: result(wrong(inc(1)), on=on), "is not a ref"),
    "result of a list": (lambda on: result(inc.ref(wrong([])), on=on), "id is a text"),
    "result nowhere": (lambda on: result(inc.ref("a"), on=wrong(5)), "is not a backend"),
    "results of one": (lambda on: list(results(wrong(inc.ref("a")), on=on)), r"write \[ref\]"),
    "results of texts": (lambda on: list(results([wrong("a")], on=on)), "is not a ref"),
    "progress as number": (
        lambda on: list(results([inc.ref("a")], on=on, progress=wrong(5))),
        "progress is a function of two numbers",
    ),
    "status of a text": (lambda on: status(wrong("a"), on=on), "is not a ref"),
    "cancel a text": (lambda on: cancel(wrong("a"), on=on), "is not a ref"),
    "cancel nowhere": (lambda on: cancel(inc.ref("a"), on=wrong(None)), "is not a backend"),
    "check a flow": (lambda on: check(wrong(inc), on=on), "is a flow, not a call"),
    "check nowhere": (lambda on: check(inc(1), on=wrong(5)), "is not a backend"),
    "work for tasks": (lambda on: work(wrong(inc), on=on), r"write Catalog\("),
    "work nowhere": (lambda on: work(Catalog(inc), on=wrong(5)), "is not a backend"),
    "stop as truth": (lambda on: work(Catalog(inc), on=on, stop=wrong(True)), "Event of threading"),
    "await a flow": (lambda on: asyncio.run(aio.run(wrong(inc), on=on)), "is a flow, not a call"),
    "await nowhere": (lambda on: asyncio.run(aio.run(inc(1), on=wrong(5))), "is not a backend"),
    "await a text": (lambda on: asyncio.run(aio.result(wrong("a"), on=on)), "is not a ref"),
    "workers as text": (lambda on: local(workers=wrong("4")), "workers is a whole number"),
    "workers as truth": (lambda on: local(workers=True), "workers is a whole number"),
    "workers and a half": (lambda on: local(workers=wrong(2.5)), "workers is a whole number"),
    "keep as text": (lambda on: local(keep=wrong("1 h")), "keep is a number of seconds"),
}


@pytest.mark.parametrize("case", REFUSED.values(), ids=REFUSED)
def test_what_makes_no_sense_at_all_is_refused_with_what_to_write(
    backend: Local, case: tuple[Answer, str]
) -> None:
    ask, message = case
    with pytest.raises(TypeError, match=message):
        ask(backend)


def stopped() -> threading.Event:
    stop = threading.Event()
    stop.set()
    return stop


OPTIONS: dict[str, tuple[dict[str, Any], str]] = {
    "key as number": ({"key": 5}, "key is a text"),
    "empty key": ({"key": ""}, "key is a text that is not empty"),
    "key of surrogates": ({"key": "\ud800"}, "key"),
    "key with a NUL": ({"key": "a\0b"}, "has a NUL"),
    "delay as text": ({"delay": "1 s"}, "delay is a number of seconds or a timedelta"),
    "delay as None": ({"delay": None}, "delay is a number of seconds"),
    "delay as truth": ({"delay": True}, "delay is a number of seconds"),
    "delay of an age ago": ({"delay": -1e12}, "delay is from 0 seconds to ten years"),
    "delay as date": ({"delay": date(2024, 1, 1)}, "delay is a number of seconds"),
    "endless delay": ({"delay": math.inf}, "delay is from 0 seconds to ten years"),
    "delay not a number": ({"delay": math.nan}, "delay is from 0 seconds to ten years"),
    "delay of 400 digits": ({"delay": 10**400}, "delay is from 0 seconds to ten years"),
    "delay of an age": ({"delay": timedelta.max}, "delay is from 0 seconds to ten years"),
    "deadline as text": ({"deadline": "tomorrow"}, "deadline is a number of seconds"),
    "deadline as date": ({"deadline": date(2999, 1, 1)}, "deadline is a number of seconds"),
    "deadline of nowhere": (
        {"deadline": datetime(2999, 1, 1)},  # noqa: DTZ001 - which is what is tried
        r"no time zone: write datetime\.now\(UTC\)",
    ),
    "deadline not a number": ({"deadline": math.nan}, "deadline is from 0 seconds"),
    "endless deadline": ({"deadline": math.inf}, "deadline is from 0 seconds to ten years"),
    "deadline of 400 digits": ({"deadline": 10**400}, "deadline is from 0 seconds"),
    "deadline at the end of time": ({"deadline": datetime.max.replace(tzinfo=UTC)}, "ten years"),
    "queue as number": ({"queue": 5}, "queue"),
    "empty queue": ({"queue": ""}, "queue"),
    "priority as text": ({"priority": "high"}, "priority is a whole number from 0 to 9"),
    "priority ten": ({"priority": 10}, "priority is from 0"),
    "priority as truth": ({"priority": True}, "priority is a whole number from 0 to 9"),
}


@pytest.mark.parametrize("case", OPTIONS.values(), ids=OPTIONS)
def test_an_option_that_makes_no_sense_is_a_fault_of_every_interpreter(
    backend: Local, case: tuple[dict[str, Any], str]
) -> None:
    options, message = case
    many = {name: value for name, value in options.items() if name != "key"}
    answers: list[Result[Any, Fault]] = [
        run(inc(1), on=backend, **options),
        submit(inc(1), on=backend, **options),
        asyncio.run(aio.run(inc(1), on=backend, **options)),
        asyncio.run(aio.submit(inc(1), on=backend, **options)),
    ]
    if many:
        answers.append(submit_all([inc(1)], on=backend, **many))
        answers.append(asyncio.run(aio.submit_all([inc(1)], on=backend, **many)))
    for answer in answers:
        fault = answer.failure()
        assert isinstance(fault, Misconfigured)
        assert re.search(message, fault.message)
        assert fault.task == "inc"


@pytest.mark.parametrize("timeout", ["1 s", -1, math.nan, math.inf, True, 10**400, [1]], ids=str)
def test_a_wait_that_makes_no_sense_is_a_fault(backend: Local, timeout: Any) -> None:
    ref = submit(inc(1), on=backend).unwrap()
    for answer in (
        run(inc(1), on=backend, timeout=timeout),
        result(ref, on=backend, timeout=timeout),
        dict(results([ref], on=backend, timeout=timeout))[ref],
        asyncio.run(aio.result(ref, on=backend, timeout=timeout)),
    ):
        fault = answer.failure()
        assert isinstance(fault, Misconfigured)
        assert "timeout is " in fault.message


def test_a_wait_may_be_a_timedelta(backend: Local) -> None:
    ref = submit(inc(1), on=backend).unwrap()
    wait, never = timedelta(seconds=30), timedelta()
    for answer in (
        run(inc(1), on=backend, timeout=wait),
        result(ref, on=backend, timeout=wait),
        dict(results([ref], on=backend, timeout=wait))[ref],
        asyncio.run(aio.run(inc(1), on=backend, timeout=wait)),
        asyncio.run(aio.result(ref, on=backend, timeout=wait)),
    ):
        assert answer.unwrap() == 2
    later = submit(inc(1), on=backend, delay=60).unwrap()
    for _, given_up in results([later], on=backend, timeout=never):
        assert isinstance(given_up.failure(), TimedOut)


@pytest.mark.parametrize("concurrency", [0, -1, "4", 2.5, True], ids=str)
def test_a_concurrency_that_makes_no_sense_is_a_fault(backend: Local, concurrency: Any) -> None:
    for answer in (
        work(Catalog(inc), on=backend, concurrency=concurrency, stop=stopped()),
        asyncio.run(aio.work(Catalog(inc), on=backend, concurrency=concurrency)),
    ):
        fault = answer.failure()
        assert isinstance(fault, Misconfigured)
        assert "concurrency is a whole number" in fault.message


@pytest.mark.parametrize("queues", ["db", [], [""], ["a b"], [None], 5], ids=str)
def test_queues_that_make_no_sense_are_a_fault(backend: Local, queues: Any) -> None:
    for answer in (
        work(Catalog(inc), on=backend, queues=queues, stop=stopped()),
        asyncio.run(aio.work(Catalog(inc), on=backend, queues=queues)),
    ):
        fault = answer.failure()
        assert isinstance(fault, Misconfigured)
        assert fault.task == "queues"


@pytest.mark.parametrize("grace", ["1 s", -1, math.nan, None], ids=str)
def test_a_grace_that_makes_no_sense_is_a_fault(backend: Local, grace: Any) -> None:
    fault = work(Catalog(inc), on=backend, grace=grace, stop=stopped()).failure()
    assert isinstance(fault, Misconfigured)
    assert "grace is " in fault.message


def test_workers_and_keep_out_of_bounds_are_refused() -> None:
    for workers in (0, -1):
        with pytest.raises(ValueError, match="workers is 1 or more"):
            local(workers=workers)
    for keep in (-1, math.nan):
        with pytest.raises(ValueError, match="keep is a number of seconds from 0 up"):
            local(keep=keep)


def test_a_long_key_is_a_key_like_another(backend: Local) -> None:
    assert run(inc(1), on=backend, key="k" * 10_000) == Success(2)
    assert run(inc(5), on=backend, key="k" * 10_000) == Success(2)
    assert run(inc(5), on=backend, key="k" * 9_999) == Success(6)


def test_a_deadline_in_the_past_is_expired(backend: Local) -> None:
    for deadline in (0, -5, timedelta(seconds=-1), datetime.min.replace(tzinfo=UTC)):
        fault = run(inc(1), on=backend, deadline=deadline).failure()
        assert isinstance(fault, Expired)
        assert fault.task == "inc"


# -- values -----------------------------------------------------------------------------------


@task
def measure(tree: Tree) -> int:
    return 1 + sum(map(measure.fn, tree.children))


@task
def echo(value: str) -> str:
    return value


@task
def half(value: float) -> float:
    return value / 2


def test_a_recursive_dataclass_travels(backend: Local) -> None:
    assert run(measure(Tree("a", [Tree("b"), Tree("c", [Tree("d")])])), on=backend) == Success(4)


def test_a_value_that_contains_itself_is_refused(backend: Local) -> None:
    tree = Tree("a")
    tree.children.append(tree)
    fault = run(measure(tree), on=backend).failure()
    assert isinstance(fault, BadPayload)
    assert "nested too deeply" in fault.message


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_numbers_that_json_has_not_are_refused_both_ways(backend: Local, value: float) -> None:
    @task
    def gives(n: int) -> float:
        return value

    for call, name in ((half(value), "half"), (gives(1), "gives")):
        fault = run(call, on=backend).failure()
        assert isinstance(fault, BadPayload)
        assert fault.task == name
        assert "NaN and infinity have no JSON form" in fault.message
    with pytest.raises(ValueError, match="NaN and infinity"):
        given(pair, value)


@task
def pair(n: int, by: float) -> int:
    return n


def test_ten_megabytes_travel(backend: Local) -> None:
    large = "x" * 10_000_000
    assert run((echo >> echo)(large), on=backend) == Success(large)
    ref = submit(echo(large), on=backend).unwrap()
    assert result(ref, on=backend) == Success(large)


@pytest.mark.parametrize("is_submitted", [True, False])
def test_lone_surrogates_are_refused_both_ways(backend: Local, is_submitted: bool) -> None:
    @task
    def gives(n: int) -> str:
        return "\ud800"

    for call in (echo("\ud800"), gives(1), identity("\ud800")):
        if isinstance(call.args, BadPayload) or not is_submitted:
            fault = run(call, on=backend).failure()
        else:
            fault = result(submit(call, on=backend).unwrap(), on=backend).failure()
        assert isinstance(fault, BadPayload)
        assert r"\ud800" in fault.message


# -- steps that misbehave ---------------------------------------------------------------------


class Unprintable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


class Quits(Exception):
    def __str__(self) -> NoReturn:
        raise SystemExit(3)


class NoText(Exception):
    def __str__(self) -> str:
        return wrong(5)  # type: ignore[no-any-return]  # which is what is tried


class Hostile(Exception):
    def __str__(self) -> str:
        return "lone \ud800, zero \0, " + "x" * 1_000_000


Hostile.__qualname__ = "Hostile\ud800"


def nested_groups(depth: int) -> ExceptionGroup[Exception]:
    group = ExceptionGroup("innermost", [ValueError("a"), OSError("b")])
    for _ in range(depth):
        group = ExceptionGroup("outer", [group])
    return group


def endless_chain() -> Exception:
    one, other = ValueError("one"), ValueError("other")
    one.__cause__, other.__cause__ = other, one
    return one


RAISES: dict[str, tuple[Callable[[], BaseException], str, str]] = {
    "an exception": (lambda: ValueError("bad header"), "ValueError", "bad header"),
    "one without text": (ValueError, "ValueError", ""),
    "one of the user's": (lambda: LookupError(1, 2), "LookupError", "(1, 2)"),
    "one whose text raises": (Unprintable, "Unprintable", "cannot be read"),
    "one whose text quits": (Quits, "Quits", "cannot be read"),
    "one whose text is none": (NoText, "NoText", "cannot be read"),
    "one that no JSON holds": (Hostile, "Hostile", "lone \\ud800"),
    "a group": (lambda: nested_groups(0), "ExceptionGroup", "innermost (2 sub-exceptions)"),
    "a deep group": (lambda: nested_groups(2_000), "ExceptionGroup", "outer (1 sub-exception)"),
    "one that causes itself": (endless_chain, "ValueError", "one"),
    "SystemExit": (lambda: SystemExit(3), "SystemExit", "3"),
    "KeyboardInterrupt": (KeyboardInterrupt, "KeyboardInterrupt", ""),
    "GeneratorExit": (GeneratorExit, "GeneratorExit", ""),
    "StopIteration": (lambda: StopIteration(5), "StopIteration", "5"),
    "CancelledError": (asyncio.CancelledError, "asyncio.exceptions.CancelledError", ""),
    "TimeoutError": (lambda: TimeoutError("slow"), "TimeoutError", "slow"),
    "MemoryError": (MemoryError, "MemoryError", ""),
    "RecursionError": (lambda: RecursionError("deep"), "RecursionError", "deep"),
}


def ways(fn: Callable[[int], int], backend: Local) -> Iterator[Result[int, Fault]]:
    """What comes of a function as a step, in each place where steps are run."""

    @task
    def step(n: int) -> int:
        return fn(n)

    @task(name="step")
    async def async_step(n: int) -> int:
        return fn(n)

    flows: list[AnyFlow] = [step, step.with_(timeout=PATIENCE), async_step]
    for flow in flows:
        yield run(flow(1), on=backend, timeout=PATIENCE)
        yield run((inc >> flow)(1), on=backend)
        yield result(submit(fused(flow)(1), on=backend).unwrap(), on=backend, timeout=PATIENCE)
        both: AnyFlow = together(flow, inc)
        yield run(both(1), on=backend, timeout=PATIENCE)
        assert run(flow.rescue(instead)(1), on=backend, timeout=PATIENCE) == Success(-1)


@pytest.mark.parametrize("case", RAISES.values(), ids=RAISES)
def test_whatever_a_step_raises_is_raised_and_nothing_worse(
    backend: Local, case: tuple[Callable[[], BaseException], str, str]
) -> None:
    make, error_type, message = case

    def raises(n: int) -> int:
        raise make()

    for answer in ways(raises, backend):
        fault = answer.failure()
        assert isinstance(fault, Raised)
        if error_type == "StopIteration" and fault.error_type == "RuntimeError":
            continue  # which is what Python itself makes of it in a coroutine
        assert fault.task == "step"
        assert error_type in fault.error_type
        assert message in fault.message
        assert len(fault.message) < 20_000
        assert len(fault.traceback) < 20_000
        assert str(fault)
    assert run(inc(1), on=backend) == Success(2)


def test_a_step_that_cancels_itself_is_a_step_that_raised(backend: Local) -> None:
    @task
    async def cancels_itself(n: int) -> int:
        current = asyncio.current_task()
        assert current is not None
        current.cancel()
        await asyncio.sleep(0)
        return n

    flows: list[AnyFlow] = [
        cancels_itself,
        cancels_itself.with_(timeout=PATIENCE),
        together(cancels_itself, inc),
        fused(cancels_itself),
        inc >> cancels_itself,
    ]
    for flow in flows:
        fault = run(flow(1), on=backend, timeout=PATIENCE).failure()
        assert isinstance(fault, Raised)
        assert (fault.task, fault.error_type) == (
            "cancels_itself",
            "asyncio.exceptions.CancelledError",
        )


def test_a_step_that_gives_something_else_is_told_what_it_promised(backend: Local) -> None:
    for value in ("text", None, 1.5, [1], True, object(), Success(1), {1: 2}):
        for answer in ways(lambda n, value=value: value, backend):  # type: ignore[misc]  # which is what is tried
            fault = answer.failure()
            assert isinstance(fault, BadPayload)
            assert fault.task == "step"
            assert "Expected `int`, got " in fault.message or "no JSON form" in fault.message


def test_a_step_that_promised_a_result_and_gives_none_is_told(backend: Local) -> None:
    @task
    def fails(n: int) -> Result[int, str]:
        return wrong(n)  # type: ignore[no-any-return]  # which is what is tried

    fault = run(fails(1), on=backend).failure()
    assert isinstance(fault, BadPayload)
    assert fault.message == "its annotation says Result, and it returned int"


def test_a_step_that_forgets_to_await_is_told(backend: Local) -> None:
    made: list[Any] = []

    async def work_of(n: int) -> int:
        return n

    def forgets(n: int) -> int:
        made.append(work_of(n))
        return made[-1]  # type: ignore[no-any-return]  # which is what is tried

    forgets_step = task(forgets)
    fault = run(forgets_step(1), on=backend).failure()
    for coroutine in made:
        coroutine.close()
    assert isinstance(fault, BadPayload)
    assert "coroutine" in fault.message


def test_an_error_that_is_none_of_those_promised_is_told(backend: Local) -> None:
    @task
    def fails(n: int) -> Result[int, str]:
        return Failure(wrong(n))

    fault = run(fails(1), on=backend).failure()
    assert isinstance(fault, BadPayload)
    assert "int is not one of str" in fault.message


def test_a_step_cannot_change_what_another_attempt_or_branch_is_given(backend: Local) -> None:
    seen: list[list[int]] = []

    @task(retry=Retry(attempts=2, backoff=Constant(0)))
    def spoils(numbers: list[int]) -> int:
        seen.append(list(numbers))
        numbers.clear()
        if len(seen) == 1:
            raise OSError("once")
        return 0

    assert run(together(spoils, spoils)([1, 2]), on=backend) == Success((0, 0))
    assert seen == [[1, 2]] * 3


def test_a_generator_that_is_thrown_away_leaves_nothing_running(backend: Local) -> None:
    refs = submit_all([inc(n) for n in range(3)], on=backend).unwrap()
    coming = results(refs, on=backend)
    next(coming)
    with contextlib.closing(coming):  # type: ignore[type-var]  # an iterator that happens to be a generator
        pass
    assert {result(ref, on=backend) for ref in refs} == {Success(1), Success(2), Success(3)}
