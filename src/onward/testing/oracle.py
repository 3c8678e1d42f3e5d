"""The oracle: the expected outcome of a flow, computed in the plainest way.

It calls the functions one after the other, without plans, codecs or the evaluator.
"""

from __future__ import annotations

import asyncio
import inspect
from collections import Counter
from collections.abc import Awaitable
from dataclasses import dataclass, field
from typing import Any

from returns.result import Failure, Result, Success

from onward.context import CURRENT, Context
from onward.fault import Fault, Raised
from onward.flows.node import Node
from onward.flows.nodes import (
    Awaits,
    Case,
    Chain,
    Each,
    Finally,
    Fixed,
    Fused,
    Given,
    Identity,
    Keep,
    Named,
    Rescue,
    Sleep,
    Spread,
    Task,
    Tee,
    Together,
    kind,
)
from onward.flows.values import decode
from onward.policy import type_name


@dataclass(frozen=True)
class Observed:
    """What a test can see of a call: its result, and which functions ran on which values."""

    result: Result[Any, Any] = field(compare=False)
    trace: Counter[str] = field(default_factory=Counter[str])
    compared: object = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "compared", comparable(self.result))


def comparable(result: Result[Any, Any]) -> object:
    """A result without the parts that may differ between backends, such as tracebacks."""
    if isinstance(result, Success):
        return ("value", result.unwrap())
    error = result.failure()
    if isinstance(error, Raised):
        return ("raised", error.task, error.error_type, error.message, error.attempts)
    if isinstance(error, Fault):
        return ("fault", type(error).__name__, error.task)
    return ("error", error)


def expect(flow: Node, value: Any) -> Observed:
    """The expected observation of a flow of the tasks of `onward.testing`, applied to a value."""
    trace: Counter[str] = Counter()
    return Observed(_run(flow, (value,), {}, trace), trace)


def _run(
    flow: Node, args: tuple[Any, ...], kwargs: dict[str, Any], trace: Counter[str]
) -> Result[Any, Any]:
    match kind(flow):
        case Identity() | Sleep():
            return Success(args[0])
        case Awaits():
            raise NotImplementedError("what an awaits gives depends on who sends it")
        case Task() as task:
            return _call(task, args, kwargs, trace)
        case Given(inner, rest):
            positional, keyword = decode(inner, rest, 1)
            return _run(inner, (*args, *positional), {**kwargs, **keyword}, trace)
        case Chain(steps):
            first, *others = steps
            result = _run(first, args, kwargs, trace)
            for step in others:
                if isinstance(result, Failure):
                    break
                result = _run(step, (result.unwrap(),), {}, trace)
            return result
        case Together(branches):
            return _all([_run(branch, args, kwargs, trace) for branch in branches]).map(tuple)
        case Each(step):
            return _all([_run(step, (item,), {}, trace) for item in args[0]])
        case Rescue(body, handler, with_input):
            result = _run(body, args, kwargs, trace)
            if isinstance(result, Failure):
                failure = result.failure()
                return _run(handler, ((args[0], failure) if with_input else failure,), {}, trace)
            return result
        case Finally(body, cleanup):
            result = _run(body, args, kwargs, trace)
            _run(cleanup, args, {}, trace)
            return result
        case Keep(step):
            return _all([Success(args[0]), _run(step, args, kwargs, trace)]).map(tuple)
        case Spread(step):
            return _run(step, args[0], {}, trace)
        case Fixed(inner, own):
            positional, keyword = decode(inner, own)
            return _run(inner, tuple(positional), keyword, trace)
        case Tee(step):
            return _run(step, args, kwargs, trace).map(lambda _: args[0])
        case Case(kinds, branches):
            [branch] = [
                branch
                for kind, branch in zip(kinds, branches, strict=True)
                if isinstance(kind, type) and isinstance(args[0], kind)
            ]
            return _run(branch, args, kwargs, trace)
        case Named(body) | Fused(body):
            return _run(body, args, kwargs, trace)


def _all(results: list[Result[Any, Any]]) -> Result[list[Any], Any]:
    for result in results:
        if isinstance(result, Failure):
            return result
    return Success([result.unwrap() for result in results])


def _call(
    task: Task, args: tuple[Any, ...], kwargs: dict[str, Any], trace: Counter[str]
) -> Result[Any, Any]:
    retry = task.policy.retry
    attempt = 0
    while True:
        attempt += 1
        value = type(args[0]).__name__ if task.name.startswith("mend") else args[0]
        trace[f"{task.name} {value} {attempt}"] += 1
        token = CURRENT.set(Context(task=task.name, attempt=attempt))
        try:
            returned: Any = task.fn(*args, **kwargs)
            if inspect.isawaitable(returned):
                returned = asyncio.run(_finish(returned))
            return returned if isinstance(returned, Result) else Success(returned)
        except Exception as problem:
            fault = Raised(task.name, type_name(type(problem)), str(problem), attempts=attempt)
            again = isinstance(problem, retry.on) and not isinstance(problem, retry.never)
            if attempt == retry.attempts or not again:
                return Failure(fault)
        finally:
            CURRENT.reset(token)


async def _finish(value: Awaitable[Any]) -> Any:
    return await value
