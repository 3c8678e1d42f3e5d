"""Lowers a flow to the nodes of a plan, which travel."""

from __future__ import annotations

from onward import plan
from onward.fault import BadPayload
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
from onward.flows.render import name_of
from onward.limit import on_wire
from onward.plan import NO_ARGS, Args
from onward.policy import delivery


def lower(flow: Node) -> plan.Node:
    """The flow as a plan's node, which is computed once."""
    known = flow.computed.lowered
    if known is None:
        known = flow.computed.lowered = _lower(flow, NO_ARGS)
    return known


def travelling(flow: Node) -> tuple[plan.Node, int] | BadPayload:
    """The flow as a plan's node, and the version of the plan; or the fault of a flow too large."""
    known = flow.computed.travelling
    if known is None and isinstance(flow, Chain):
        known = flow.computed.travelling = _of_tasks(flow)
    if known is None:
        root = lower(flow)
        version = plan.checked_version(root)
        if isinstance(version, BadPayload):
            return version
        known = flow.computed.travelling = (root, version)
    return known


def _of_tasks(chain: Chain) -> tuple[plan.Node, int] | None:
    """What `travelling` gives for a chain of tasks whose own nodes are known; None for others.

    This flow is the most common one, and some programs make it for each call. So one walk finds its
    node and its tasks.
    """
    tasks: dict[str, Task] = {}
    inside: list[plan.Node] = []
    for step in chain.steps:
        if not isinstance(step, Task):
            return None
        known = step.computed
        if known.lowered is None or known.tasks is None:
            return None
        if step.policy.limit is not None or step.policy.isolate:  # the plan has a later version
            return None
        tasks[step.name] = step
        inside.append(known.lowered)
    if len(tasks) < len(inside) or len(inside) >= plan.MAX_NODES:
        return None
    chain.computed.tasks = tasks
    root = chain.computed.lowered = plan.ChainNode(tuple(inside))
    return root, plan.VERSION


def _lower(flow: Node, given: Args) -> plan.Node:
    """The flow as a plan's node, with the bound arguments of its first step."""
    if isinstance(flow, Chain) and given is NO_ARGS:
        # No arguments are bound, so each step's own node will do.
        return plan.ChainNode(tuple([step.computed.lowered or lower(step) for step in flow.steps]))
    match kind(flow):
        case Chain(steps):
            return plan.ChainNode((_lower(steps[0], given), *map(lower, steps[1:])))
        case Task(name, _, policy):
            return plan.StepNode(task=name, given=given, **delivery(policy, name))
        case Identity():
            return plan.ChainNode(())
        case Given(inner, rest):
            return _lower(inner, rest)
        case Together(branches, on_failure):
            return plan.TogetherNode(tuple(map(lower, branches)), on_failure)
        case Each(step, limit, chunk, on_failure):
            body = lower(step)
            if chunk is not None:
                body = plan.FusedNode(body=plan.EachNode(body, on_failure=on_failure))
            return plan.EachNode(body, limit, chunk, on_failure)
        case Rescue(body, handler, with_input):
            return plan.RescueNode(_lower(body, given), lower(handler), with_input)
        case Finally(body, cleanup):
            return plan.FinallyNode(lower(body), lower(cleanup))
        case Fused(body, policy):
            name = "" if policy.limit is None else name_of(body)
            return plan.FusedNode(body=_lower(body, given), **delivery(policy, name))
        case Named(body, label) as named:
            calls = None if named.limit is None else on_wire(named.limit, label)
            return plan.NamedNode(label, _lower(body, given), calls)
        case Keep(step):
            return plan.KeepNode(lower(step))
        case Tee(step):
            return plan.TeeNode(lower(step))
        case Spread(step):
            return plan.SpreadNode(lower(step))
        case Fixed(inner, args):
            return plan.FixedNode(lower(inner), args)
        case Sleep(seconds):
            return plan.SleepNode(seconds)
        case Awaits(signal, timeout):
            return plan.AwaitsNode(signal.name, timeout)
        case Case(_, branches) as choice:
            from onward.flows.routes import routes_of  # only flows with cases pay for it

            return plan.CaseNode(tuple(map(lower, branches)), routes_of(choice))
