"""Options, arguments and values of the wrong kind are refused with what to write."""

import asyncio
import math
import re
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any, TypeAlias

import pytest
from returns.result import Result, Success

from onward import (
    BadPayload,
    Catalog,
    Expired,
    Fault,
    Misconfigured,
    TimedOut,
    aio,
    cancel,
    check,
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
    work,
)
from onward.backends.local import Local
from tests.unit.bad import Tree, inc, wrong


@pytest.fixture(scope="module")
def backend() -> Iterator[Local]:
    backend = local()
    yield backend
    backend.close()


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
def test_arguments_of_the_wrong_kind_are_refused_with_what_to_write(
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
    "tags as text": ({"tags": "nightly"}, "tags is a list of short texts"),
    "tags as number": ({"tags": 5}, "tags is a list of short texts"),
    "tag as number": ({"tags": [5]}, "a tag is a text"),
    "empty tag": ({"tags": ["a", ""]}, "a tag is 1 to 100 printable characters"),
    "long tag": ({"tags": ["a" * 101]}, "a tag is 1 to 100 printable characters"),
    "tag of two lines": ({"tags": ["a\nb"]}, "a tag is 1 to 100 printable characters"),
    "tag of surrogates": ({"tags": ["\ud800"]}, "a tag is 1 to 100 printable characters"),
    "tag with a space before": ({"tags": [" a"]}, "without spaces around them"),
    "many tags": ({"tags": [str(each) for each in range(21)]}, "at most 20 tags, not 21"),
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
