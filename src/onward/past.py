"""Calls that continue other calls: which outcomes they take over, and how their steps use them.

`evaluate` is pure: given the same outcomes, the same steps run. So a call goes on where another one
stopped if its steps answer with the outcomes that are known, on whichever engine.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from msgspec.structs import replace

from onward.evaluate import Wait, evaluate
from onward.outcome import Outcome, Value
from onward.plan import (
    MAX_DEPTH,
    Args,
    EachNode,
    Node,
    Past,
    Plan,
    Runnable,
    SleepNode,
    Waiting,
    with_parts,
)
from onward.scope import RunStep

_AT_ONCE = 1_000_000_000
_QUIET = 4 * MAX_DEPTH
"""After how many turns of an event loop nothing more comes of what is known. Each level of a flow
needs some turns to begin its branches and to gather them."""


def steps_with_past(run_step: RunStep, past: Past | None) -> RunStep:
    """A runner of steps that answers with the outcomes that a call takes over.

    A backend puts it around its own runner, and inside of a `Scope`.

    Args:
        run_step: Runs a step.
        past: What the call takes over, if it continues another one.
    """
    if past is None:
        return run_step

    async def run_or_take_over(step: Runnable, args: Args, where: str, /) -> Outcome:
        known = past.outcomes.get(where)
        if known is not None:
            return known
        return await run_step(step, past.args.get(where, args), where)

    return run_or_take_over


def waits_with_past(wait: Wait, past: Past | None, now: Callable[[], float] = time.time) -> Wait:
    """Like `steps_with_past`, for waits; one that had begun ends when it would have ended.

    Args:
        wait: Runs a wait.
        past: What the call takes over, if it continues another one.
        now: The time in seconds since 1970.
    """
    if past is None:
        return wait

    async def wait_or_take_over(node: Waiting, where: str, /) -> Outcome:
        known = past.outcomes.get(where)
        if known is not None:
            return known
        return await wait(rest_of(node, past.due.get(where), now()), where)

    return wait_or_take_over


def rest_of(node: Waiting, due: float | None, now: float) -> Waiting:
    """What is left of a wait.

    Args:
        node: The wait.
        due: When it ends, in seconds since 1970, if it had begun.
        now: The time, in the same form.

    Example:
        >>> rest_of(SleepNode(60.0), 100.0, 70.0)
        SleepNode(seconds=30.0)
    """
    if due is None:
        return node
    left = max(0.0, due - now)
    return SleepNode(left) if isinstance(node, SleepNode) else replace(node, timeout=left)


def taken_over(plan: Plan, outcomes: Mapping[str, Outcome]) -> dict[str, Outcome]:
    """The outcomes of a call that a call which continues it takes over.

    These are the values, and the failures that a handler has dealt with. A step whose failure ended
    the call, or a branch of it, has to run again, and so does a cleanup that ran because of it.

    Args:
        plan: The plan of the call.
        outcomes: What is recorded of it, by path.
    """
    kept = {path: each for path, each in outcomes.items() if _is_kept(path, each, outcomes)}
    with ThreadPoolExecutor(1) as thread:  # the caller's own thread may have an event loop
        return thread.submit(asyncio.run, _reached(plan, kept)).result()


def _is_kept(path: str, outcome: Outcome, outcomes: Mapping[str, Outcome]) -> bool:
    return isinstance(outcome, Value) or any(
        other == handler or other.startswith((f"{handler}.", f"{handler}["))
        for handler in _handlers(path)
        for other in outcomes
    )


def _handlers(path: str) -> list[str]:
    """The paths of the handlers that a failure at a path may have gone to."""
    parts = path.split(".")
    tried = [index for index, part in enumerate(parts) if part.split("[")[0] == "try"]
    return [".".join([*parts[:index], "rescue"]) for index in tried]


async def _reached(plan: Plan, known: Mapping[str, Outcome]) -> dict[str, Outcome]:
    """Those of the outcomes that an evaluation asks for that stops where it knows none."""
    reached: dict[str, Outcome] = {}
    turns = 0

    async def answer(where: str) -> Outcome:
        nonlocal turns
        turns = 0
        if where not in known:
            await asyncio.get_running_loop().create_future()
        return reached.setdefault(where, known[where])

    def answer_step(step: Runnable, args: Args, where: str, /) -> Coroutine[Any, Any, Outcome]:
        return answer(where)

    def answer_wait(node: Waiting, where: str, /) -> Coroutine[Any, Any, Outcome]:
        return answer(where)

    root = _without_limits(plan.root)
    evaluation = asyncio.create_task(
        evaluate(root, plan.args, answer_step, in_flight=_AT_ONCE, wait=answer_wait)
    )
    while turns < _QUIET and not evaluation.done():
        turns += 1
        await asyncio.sleep(0)
    evaluation.cancel()
    await asyncio.wait([evaluation])
    return reached


def _without_limits(node: Node) -> Node:
    node = with_parts(node, _without_limits)
    return replace(node, limit=None) if isinstance(node, EachNode) else node
