"""Lowers a plan to Celery's terms: tasks, chains and chords."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

from msgspec import Raw, Struct
from msgspec.structs import replace

from onward.backends.celery.message import (
    CLEANUP,
    SETTLES,
    CallState,
    StepMessage,
    state_after_cleanup,
)
from onward.plan import (
    NO_ARGS,
    Args,
    AwaitsNode,
    CaseNode,
    ChainNode,
    EachNode,
    FinallyNode,
    FixedNode,
    FusedNode,
    KeepNode,
    NamedNode,
    Node,
    Plan,
    RescueNode,
    Runnable,
    SleepNode,
    SpreadNode,
    StepNode,
    TeeNode,
    TogetherNode,
    cancels_on_failure,
    walk,
)
from onward.policy import Delivery
from onward.scope import in_cleanup

AWAITS = "onward.awaits"
CASE = "onward.case"
EACH = "onward.each"
FINALLY = "onward.finally"
FIXED = "onward.fixed"
FUSED = "onward.fused"
GATHER = "onward.gather"
INPUT = "onward.input"
PASS = "onward.pass"
SLEEP = "onward.sleep"
SPREAD = "onward.spread"
TAG = "onward.tag"
"""Like `onward.pass`, but adds the name of the value's type."""

TEE = "onward.tee"
"""Like `onward.gather`, but passes on only the first value."""

PLUMBING = (FUSED, EACH, PASS, SPREAD, FIXED, INPUT, FINALLY, SLEEP, AWAITS, CASE, TAG)
"""The tasks of ours that take a single state, as tasks of the user's do."""

GATHERS = (GATHER, TEE)
"""Those that take the states of all branches."""

_GATHER = ".gather"


class SingleTask(Struct, frozen=True):
    """SingleTask Celery task: a step, or a task that gathers or passes on values."""

    name: str
    message: StepMessage


class Chord(Struct, frozen=True):
    """A chord: branches that run in parallel, and the task that gathers their values."""

    branches: tuple[tuple[Part, ...], ...]
    gather: SingleTask


Part: TypeAlias = SingleTask | Chord


def to_parts(plan: Plan, *, is_again: bool = False, is_cancelled: bool = False) -> list[Part]:
    """Lowers a plan to a sequence of tasks and chords.

    Args:
        plan: The plan.
        is_again: Whether the call was sent before.
        is_cancelled: Whether the call is cancelling.
    """
    message = StepMessage(
        call=plan.id,
        flow=plan.flow,
        at="",
        key=plan.key,
        deadline=plan.deadline,
        queue=plan.queue,
        priority=plan.priority,
        trace=plan.trace,
        is_again=is_again,
        is_cancelled=is_cancelled,
        origin="" if plan.past is None else plan.past.origin,
    )
    return mark_last(node_to_parts(plan.root, message), message)


def is_step(name: str, message: StepMessage) -> bool:
    """Whether a task runs a step; some of Onward's own have one only for earlier releases."""
    is_plain = message.case is None and message.ends is None and message.wait is None
    is_plain = is_plain and name not in (SPREAD, INPUT, FIXED)
    return is_plain and isinstance(message.do, Runnable)


def mark_last(parts: list[Part], message: StepMessage) -> list[Part]:
    """Marks the last task of a sequence: the call ends with it."""
    if not parts:
        return [SingleTask(PASS, replace(message, at="0", is_last=True))]
    *rest, last = parts
    if isinstance(last, Chord):
        gather = replace(last.gather, message=replace(last.gather.message, is_last=True))
        return [*rest, replace(last, gather=gather)]
    return [*rest, replace(last, message=replace(last.message, is_last=True))]


def output_path(part: Part) -> str:
    """Returns the path of the task whose value a part gives.

    For the fan-out that a worker makes of an `each`, it is the path of the `each`.
    """
    return output_path_of(part.gather.message if isinstance(part, Chord) else part.message)


def output_path_of(message: StepMessage) -> str:
    """Returns the path under which a message's task signs its value."""
    return message.at.removesuffix(_GATHER)


def render(parts: Sequence[Part]) -> str:
    """Renders a sequence as Celery code."""
    texts = [
        f"chord([{', '.join(map(render, part.branches))}], {_render(part.gather)})"
        if isinstance(part, Chord)
        else _render(part)
        for part in parts
    ]
    return texts[0] if len(texts) == 1 else f"chain({', '.join(texts)})"


def _render(task: SingleTask) -> str:
    do = task.message.do
    if isinstance(do, EachNode):
        return f"{EACH}({render(node_to_parts(do.body, task.message))})"
    if isinstance(do, FusedNode):
        return f"{FUSED}({render(node_to_parts(do.body, task.message))})"
    if task.message.case is not None:
        return f"{CASE}({_render_branches(task.message.case, replace(task.message, case=None))})"
    if task.message.rescue is not None:
        tried = task.message.rescue
        parts = _rescue(tried.body, tried.handler, replace(task.message, rescue=None))
        return f"{INPUT}({render(parts)})"
    if task.message.ends is not None:
        inner = replace(task.message, ends=None)
        node = task.message.ends
        flows = [render(node_to_parts(each, inner)) for each in (node.body, node.cleanup)]
        return f"{FINALLY}({', '.join(flows)})"
    return f"{task.name} (rescue)" if task.message.handles else task.name


def _render_branches(node: CaseNode, message: StepMessage) -> str:
    texts: list[str] = []
    for branch, route in zip(node.branches, node.routes, strict=True):
        parts = node_to_parts(branch, message) or [_pass(message)]
        texts.append(f"{route.text}: {render(parts)}")
    return ", ".join(texts)


def queues(plan: Plan) -> set[str]:
    """Returns the queues that a plan and its steps name."""
    nodes = (node for node in walk(plan.root) if isinstance(node, Delivery))
    return {name for name in (plan.queue, *(node.queue for node in nodes)) if name is not None}


def node_to_parts(node: Node, message: StepMessage) -> list[Part]:
    """Lowers a node to a sequence of parts; `message` has its path and its context."""
    at = message.at
    match node:
        case StepNode() | FusedNode() if message.is_cancelled and not in_cleanup(at):
            return [SingleTask(PASS, replace(message, at=at or "0", do=node))]
        case StepNode():
            return [SingleTask(node.task, replace(message, at=at or "0", do=node))]
        case FusedNode():
            return [SingleTask(FUSED, replace(message, at=at or "0", do=node))]
        case EachNode():
            return [SingleTask(EACH, replace(message, do=node))]
        case NamedNode(_, body):
            return node_to_parts(body, message)
        case ChainNode(steps):
            prefix = f"{at}." if at else ""
            return [
                part
                for index, step in enumerate(steps)
                for part in node_to_parts(step, replace(message, at=f"{prefix}{index}"))
            ]
        case TogetherNode(branches):
            return [branches_to_chord(branches, message, cancels=cancels_on_failure(node))]
        case RescueNode(with_input=True):
            return [SingleTask(INPUT, replace(message, do=StepNode(INPUT), rescue=node))]
        case RescueNode(body, handler):
            return _rescue(body, handler, message)
        case FinallyNode():
            return [SingleTask(FINALLY, replace(message, do=StepNode(FINALLY), ends=node))]
        case KeepNode():
            return [branches_to_chord(_beside(node).branches, message)]
        case TeeNode():
            return [branches_to_chord(_beside(node).branches, message, gather=TEE)]
        case SpreadNode(body):
            return [_args_task(SPREAD, message), *node_to_parts(body, message)]
        case SleepNode() | AwaitsNode():
            name = SLEEP if isinstance(node, SleepNode) else AWAITS
            wait = replace(message, at=at or "0", do=StepNode(name), wait=node)
            return [
                SingleTask(name, wait)
            ]  # an earlier release would say that it knows no such step
        case CaseNode():
            return [SingleTask(CASE, replace(message, do=StepNode(CASE), case=node))]
        case FixedNode(body, given):
            return [_args_task(FIXED, message, given=given), *node_to_parts(body, message)]


def _args_task(name: str, message: StepMessage, **fields: Any) -> SingleTask:
    """Makes a task that changes the arguments of the next one.

    Its step has the task's own name. A worker of an earlier release would ignore the fields; this
    way it says that it does not know the step.
    """
    path = f"{message.at or '0'}.{name.removeprefix('onward.')}"
    return SingleTask(name, replace(message, at=path, do=StepNode(name), **fields))


def branches_to_chord(
    branches: Sequence[Node],
    message: StepMessage,
    *,
    is_flat: bool = False,
    first: int = 0,
    gather: str = GATHER,
    cancels: bool = False,
) -> Chord:
    """Lowers parallel branches, whose paths are `at[first]`, `at[first + 1]` and so on."""
    path = f"{message.at or '0'}{_GATHER}"
    last = SingleTask(gather, replace(message, at=path, do=None, handles="", is_flat=is_flat))
    fans = message.fans
    if cancels or fans:
        fans = (message.at if cancels else SETTLES, *fans)
    inner = replace(message, is_top=False, is_last=False, do=None, handles="", fans=fans)
    sequences: list[tuple[Part, ...]] = []
    for index, branch in enumerate(branches, first):
        branch_message = replace(inner, at=f"{message.at}[{index}]")
        sequences.append(
            tuple(node_to_parts(branch, branch_message) or [SingleTask(PASS, branch_message)])
        )
    return Chord(tuple(sequences), last)


def items_to_chord(
    items: Sequence[Raw], message: StepMessage, each: EachNode, before: Sequence[CallState]
) -> Chord:
    """Lowers the next items of an `each`, as many as its limit allows.

    Args:
        items: The items that have not run.
        message: The message of the task that sends them on.
        each: The `each`.
        before: The states after the items that have run.
    """
    # The items are its own: a fan-out within one of them would take them for its values.
    message = replace(message, before=(), after=())
    count = min(each.limit or len(items), len(items))
    fan = branches_to_chord(
        [each.body] * count,
        message,
        is_flat=each.chunk is not None,
        first=len(before),
        cancels=each.on_failure == "cancel",
    )
    rest = replace(
        fan.gather.message,
        at=message.at,
        do=each,
        before=tuple(before),
        after=tuple(items[count:]),
    )
    return replace(fan, gather=replace(fan.gather, message=rest))


def with_input(node: RescueNode, given: Raw, message: StepMessage) -> list[Part]:
    """Lowers a rescue whose handler takes the input too, once the input is known.

    Args:
        node: The rescue.
        given: The input.
        message: The message of the task that sends these parts on.
    """
    last = replace(message, do=None, rescue=None, handles="")
    inner = replace(last, is_last=False)
    return [*_rescue(node.body, node.handler, inner, given), SingleTask(PASS, last)]


def branch_of(node: CaseNode, index: int, message: StepMessage) -> list[Part]:
    """Lowers the branch of a case that a value goes to.

    Args:
        node: The case.
        index: The branch's index.
        message: The message of the task that sends these parts on.
    """
    last = replace(message, do=None, case=None, handles="")
    inner = replace(last, at=f"{message.at}[{index}]", is_last=False)
    parts = node_to_parts(node.branches[index], inner)
    if node.routes[index].gives:
        return [*parts, SingleTask(TAG, replace(last, route=node.routes[index]))]
    return [*parts, _pass(last)]


def _pass(message: StepMessage) -> SingleTask:
    return SingleTask(PASS, message)


def with_cleanup(node: FinallyNode, given: Raw, message: StepMessage) -> list[Part]:
    """Lowers a flow with a cleanup, once the input is known: its steps, and what sends the cleanup.

    Args:
        node: The flow and its cleanup.
        given: Their input.
        message: The message of the task that sends these parts on.
    """
    name = f"{message.at}{CLEANUP}"
    inner = replace(message, do=None, ends=None, handles="", is_last=False)
    inside = (name, *message.inside)
    tried = node_to_parts(node.body, replace(inner, at=_below(message, "try"), inside=inside))
    entry = replace(message, handles=name, given=Args((given,)))
    return [*tried, SingleTask(FINALLY, entry)]


def cleanup(node: FinallyNode, state: CallState, message: StepMessage) -> list[Part]:
    """Lowers a cleanup once its flow has ended: its steps, and a task that gives the flow's state.

    Args:
        node: The flow and its cleanup.
        state: The state after the flow.
        message: The message of the task that sends these parts on, with the input as `given`.
    """
    name = message.handles
    last = replace(message, ends=None, given=NO_ARGS, before=(state_after_cleanup(state, name),))
    inner = replace(last, do=None, handles="", is_last=False, before=())
    at = _below(message, "finally")
    steps = node_to_parts(node.cleanup, replace(inner, at=at, inside=(name, *message.inside)))
    return [*steps, SingleTask(FINALLY, last)]


def _below(message: StepMessage, name: str) -> str:
    return f"{message.at}.{name}" if message.at else name


def _rescue(
    body: Node, handler: Node, message: StepMessage, given: Raw | None = None
) -> list[Part]:
    name = f"{message.at}?"
    prefix = f"{message.at}." if message.at else ""
    tried = node_to_parts(body, replace(message, at=f"{prefix}try", inside=(name, *message.inside)))
    entry = SingleTask(
        PASS, replace(message, at=f"{prefix}rescue.0", handles=name, skips=(name, *message.skips))
    )
    rescued = node_to_parts(
        handler, replace(message, at=f"{prefix}rescue", skips=(name, *message.skips))
    )
    if given is not None:
        pair = replace(entry.message, do=StepNode(INPUT), given=Args((given,)))
        return [*tried, SingleTask(INPUT, pair), *rescued]
    first = rescued[0] if rescued else None
    if isinstance(first, SingleTask):
        # The handler's first step itself checks whether there is a failure to rescue.
        return [*tried, replace(first, message=replace(first.message, handles=name)), *rescued[1:]]
    return [*tried, entry, *rescued]


def _beside(node: KeepNode | TeeNode) -> TogetherNode:
    """The `TogetherNode` that gives a body's input together with its value."""
    return TogetherNode((ChainNode(()), node.body))
