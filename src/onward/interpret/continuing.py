"""Submits calls that continue other calls: `resume` and `fork`."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence
from typing import TypeAlias, TypeVar

from msgspec import Raw
from msgspec.structs import replace
from returns.result import Failure, Result, Success

from onward.backend import Histories, Signals, StepRecord, Submission, Submits
from onward.backend.features import lacking
from onward.codec import Refused
from onward.fault import BadPayload, Cancelled, Conflict, Expired, Fault, Misconfigured, Unknown
from onward.flows.flow import AnyFlow, Ref
from onward.interpret import core
from onward.interpret.callers import Caller
from onward.interpret.keys import new_id
from onward.interpret.prepare import Deadline, expiry, unsupported
from onward.interpret.recorded import Recorded, recorded, without_plan
from onward.outcome import Failed, Faulted, moved_by
from onward.past import before, node_at, taken_over
from onward.plan import (
    NEWEST,
    NO_ARGS,
    Args,
    ChainNode,
    FusedNode,
    NamedNode,
    Node,
    Past,
    Plan,
    RescueNode,
    StepNode,
    walk,
)
from onward.scope import in_cleanup
from onward.sealing import outgoing_value
from onward.signature import Signature

V = TypeVar("V")
E = TypeVar("E")

NewArgs: TypeAlias = Sequence[object] | Mapping[str, object]
"""Arguments by position, or by name; as `Raw`, they are JSON that is read by the step's types."""


async def resume(
    caller: Caller,
    ref: Ref[V, E],
    on: Histories,
    to: Submits | None,
    args: NewArgs | None,
    deadline: Deadline,
    *,
    dry_run: bool = False,
) -> Result[Ref[V, E], Fault]:
    """See `onward.resume`."""
    _check_args(args)
    target = on if to is None else to
    answer = await recorded(caller, ref, on)
    if isinstance(answer, Failure):
        return Failure(answer.failure())
    found = answer.unwrap()
    plan = _resumed(found, ref, deadline)
    if isinstance(plan, Fault):
        return Failure(plan)
    if target is not on and isinstance(await caller.ask(on.status, plan.id), Success):
        return Failure(_resumed_here(ref, plan.id))
    if args is not None:
        known = await caller.ask(on.status, plan.id)
        if isinstance(known, Success):
            return Failure(_resumed_before(ref, plan.id))
        changed = _with_args(plan, found, ref.flow, args)
        if isinstance(changed, Fault):
            return Failure(changed)
        plan = changed
    if dry_run:
        lacks = lacking(target, plan)
        return Failure(lacks[0]) if lacks else Success(ref.flow.ref(plan.id))
    submitted = await core.submit(caller, ref.flow, submission_of(plan, ref.flow), target)
    if isinstance(submitted, Failure):
        return submitted
    new = submitted.unwrap()
    if args is not None and new.id != plan.id and isinstance(target, Histories):
        # An engine with ids of its own does not find the call by the plan's id.
        there = (await recorded(caller, new, target)).map(lambda call: call.plan).value_or(None)
        if there is not None and _args_of(there) != _args_of(plan):
            return Failure(_resumed_before(ref, new.id))
    sent = await send_again(caller, found.signals, new, target)
    return sent.bind(lambda _: submitted)


async def fork(caller: Caller, ref: Ref[V, E], at: str, on: Histories) -> Result[Ref[V, E], Fault]:
    """See `onward.fork`."""
    answer = await recorded(caller, ref, on)
    if isinstance(answer, Failure):
        return Failure(answer.failure())
    found = answer.unwrap()
    plan = found.plan
    if plan is None:
        return Failure(without_plan(ref, found))
    outcomes, id = found.outcomes, new_id()
    if at not in outcomes and at not in found.steps:
        return Failure(_no_step(ref, at, [*outcomes, *found.steps]))
    past = Past("", before(at, outcomes), args={} if plan.past is None else plan.past.args)
    forked = replace(plan, v=NEWEST, id=id, key=None, deadline=None, trace={}, past=past)
    return await core.submit(caller, ref.flow, submission_of(forked, ref.flow), on)


def submission_of(plan: Plan, flow: AnyFlow) -> Submission:
    """A submission of a plan that continues a call of a flow."""
    needed = {node.task for node in walk(plan.root) if isinstance(node, StepNode)}
    # A flow that only reads the outcome, such as `identity`, has no tasks to run it with.
    return Submission(plan, flow=flow if needed <= flow.tasks.keys() else None)


# -- resume -----------------------------------------------------------------------------------


def _resumed(found: Recorded, ref: Ref[V, E], deadline: Deadline) -> Plan | Fault:
    """The plan of the call that continues one that has ended without a value."""
    plan, state = found.plan, found.call.state
    moved = moved_by(found.outcome)
    if moved is not None:
        return moved
    if state == "done":
        advice = "To run a part of it again, fork it at a step."
        return Conflict(ref.id, "the call is done, so there is nothing to resume", advice)
    if state not in ("failed", "cancelled", "expired"):
        advice = "Wait for its result, or cancel it first."
        return Conflict(ref.id, f"the call is {state}, and goes on by itself", advice)
    if plan is None:
        return without_plan(ref, found)
    try:
        expires = _unless_past(plan.deadline) if deadline is None else expiry(deadline)
    except (TypeError, ValueError) as problem:
        return Misconfigured("deadline", str(problem))
    if expires is not None and expires <= time.time():
        return Expired(plan.flow, "its deadline had passed before it was submitted")
    id = continued_id(plan.id, "resume")
    return replace(continued(plan, found, id), deadline=expires)


def continued(plan: Plan, found: Recorded, id: str) -> Plan:
    """The plan of the call that continues a call.

    Args:
        plan: The plan of the old call.
        found: What is recorded of it.
        id: The id of the new call.
    """
    outcomes = found.outcomes
    kept = taken_over(plan, outcomes)
    before_it = Past(plan.id) if plan.past is None else plan.past
    due = {path: at for path, at in before_it.due.items() if path not in outcomes}
    due |= {
        path: step.until.timestamp()
        for path, step in found.steps.items()
        if path not in kept and step.until is not None and not isinstance(step.outcome, Failed)
    }
    args = {path: each for path, each in before_it.args.items() if path not in kept}
    past = Past(before_it.origin or plan.id, kept, due, args)
    return replace(plan, v=NEWEST, id=id, trace={}, past=past)


def continued_id(id: str, how: str) -> str:
    """An id for the call that continues a call: always the same, so that there is one."""
    return hashlib.sha256(f"{how}\n{id}".encode()).hexdigest()[:32]


def _unless_past(deadline: float | None) -> float | None:
    return None if deadline is None or deadline <= time.time() else deadline


def _resumed_before(ref: Ref[V, E], id: str) -> Conflict:
    message = f"the call was resumed before, as {id}, so other arguments come too late for it"
    return Conflict(ref.id, message, f"Resume {id} with these arguments, once it has failed.")


def _resumed_here(ref: Ref[V, E], id: str) -> Conflict:
    message = f"the call goes on where it was already, as {id}: elsewhere it would be a second one"
    return Conflict(ref.id, message, f"Move {id}; or resume it there, once it has failed.")


def _no_step(ref: Ref[V, E], at: str, known: Sequence[str]) -> Unknown:
    paths = list(dict.fromkeys(known))
    shown = ", ".join(paths[:20]) + (", ..." if len(paths) > 20 else "")
    there = f"there are {shown}" if paths else "none has begun"
    return Unknown(ref.id, f"no step of the call has begun at {at!r}; {there}")


async def send_again(
    caller: Caller, signals: Mapping[str, Raw], ref: Ref[V, E], on: Submits
) -> Result[None, Fault]:
    """Sends the signals of the old call to the new one, that of the ref."""
    for name, raw in signals.items():
        missing = unsupported(on, ref.flow.name, "send")
        if missing is not None:
            return Failure(missing)
        assert isinstance(on, Signals)
        sealed = outgoing_value(on, raw)
        if isinstance(sealed, Failure):
            return Failure(sealed.failure())
        sent = await caller.ask(on.send, ref.id, name, sealed.unwrap())
        # A Conflict says that it has this signal already, or has ended without it.
        if isinstance(sent, Failure) and not isinstance(sent.failure(), Conflict):
            return sent
    return Success(None)


# -- other arguments --------------------------------------------------------------------------


def _args_of(plan: Plan) -> Mapping[str, Args]:
    return {} if plan.past is None else plan.past.args


def _check_args(args: object) -> None:
    is_list = isinstance(args, Sequence) and not isinstance(args, str | bytes | bytearray)
    if args is not None and not is_list and not isinstance(args, Mapping):
        raise TypeError(f"args holds the arguments of a step: write args=[{args!r}]")


def _with_args(plan: Plan, found: Recorded, flow: AnyFlow, args: NewArgs) -> Plan | Fault:
    """The plan with other arguments for the step that failed."""
    path = _failed_step(plan, found)
    if isinstance(path, Fault):
        return path
    step = _first_task(node_at(plan.root, path))
    task = None if step is None else flow.tasks.get(step.task)
    if step is None or task is None:
        message = f"the step at {path} has no task in {flow.name} that could check its arguments"
        return Misconfigured("args", message)
    try:
        encoded = _encoded(task.signature, step.given, args)
    except Refused as refused:
        return BadPayload(task.name, refused.reason, refused.path)
    except TypeError as problem:
        return BadPayload(task.name, f"args for the step at {path}: {problem}")
    assert plan.past is not None
    return replace(plan, past=replace(plan.past, args=plan.past.args | {path: encoded}))


def _encoded(signature: Signature, given: Args, args: NewArgs) -> Args:
    """Encodes the arguments that come before those that the plan has given to a step.

    Raises:
        TypeError: If the function does not take both.
        Refused: If a value does not fit its annotation.
    """
    positional: Sequence[object] = () if isinstance(args, Mapping) else args
    keyword: Mapping[str, object] = args if isinstance(args, Mapping) else {}
    positional = [
        signature.at(at).decode(bytes(each)) if isinstance(each, Raw) else each
        for at, each in enumerate(positional)
    ]
    keyword = {
        name: codec.decode(bytes(each))
        if isinstance(each, Raw) and (codec := signature.keyword.get(name, signature.others))
        else each
        for name, each in keyword.items()
    }
    if given == NO_ARGS:
        return signature.encode(positional, keyword)
    if keyword:
        raise TypeError("some of its arguments are given, so write those before them as a list")
    signature.python.bind(*positional, *given.positional, **given.keyword)
    return Args(tuple(Raw(signature.at(at).encode(each)) for at, each in enumerate(positional)))


def _failed_step(plan: Plan, found: Recorded) -> str | Fault:
    """The path of the one step that failed."""
    assert plan.past is not None
    left = [
        step
        for step in found.steps.values()
        if step.kind == "step" and step.path not in plan.past.outcomes and not in_cleanup(step.path)
    ]
    failed = [step.path for step in left if _has_failed(step)]
    # The engine may not have recorded the step of a call whose worker died.
    paths = failed or [step.path for step in left if step.outcome is None]
    if len(paths) == 1:
        return paths[0]
    which = f"these did: {', '.join(paths)}" if paths else "none did"
    return Misconfigured("args", f"they are for a step that failed, if one alone did; {which}")


def _has_failed(step: StepRecord) -> bool:
    match step.outcome:
        case Failed():
            return True
        case Faulted() as outcome:
            return not isinstance(outcome.fault, Cancelled | Expired)
        case _:
            return False


def _first_task(node: Node | None) -> StepNode | None:
    """The step that takes the arguments of a node, if a task takes them."""
    match node:
        case StepNode():
            return node
        case ChainNode(steps) if steps:
            return _first_task(steps[0])
        case FusedNode(body=body) | NamedNode(_, body):
            return _first_task(body)
        case RescueNode(body, _, False):
            return _first_task(body)
        case _:
            return None
