"""The kinds of node that a flow is made of: frozen data, and the walk over it.

What is done with nodes are functions that match on `Kind`, the closed set, in modules above.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import FrozenInstanceError, InitVar, dataclass, field, fields, replace
from functools import reduce
from typing import Any, Self, TypeAlias, TypeVar, cast

from msgspec.structs import replace as replace_struct

from onward.plan import MAX_DEPTH, Args
from onward.plan import Node as PlanNode
from onward.policy import PLAIN, Policy, check_name, check_reserved
from onward.signature import Signature, place, signature_of

_Sealed = TypeVar("_Sealed")


def sealed(kind: type[_Sealed]) -> type[_Sealed]:
    """Refuses any attribute set or deleted on a frozen class, also one that is no field.

    On Python 3.11 a dataclass with slots fails at that with a TypeError about `super`.
    """
    kind.__setattr__ = _refuse_set  # type: ignore[method-assign]  # on purpose
    kind.__delattr__ = _refuse_delete  # type: ignore[method-assign]  # on purpose
    return kind


def _refuse_set(self: object, name: str, value: object) -> None:
    raise FrozenInstanceError(f"{type(self).__name__} is frozen: cannot set {name!r} of {self!r}")


def _refuse_delete(self: object, name: str) -> None:
    raise FrozenInstanceError(
        f"{type(self).__name__} is frozen: cannot delete {name!r} of {self!r}"
    )


class Node:
    """A flow as data, with room for what is worked out from it once."""

    __slots__ = ("__weakref__", "_lowered", "_tasks", "depth")

    depth: int
    """How deep its parts nest; a chain nests nothing."""

    _lowered: PlanNode
    _tasks: Mapping[str, Any]

    def __post_init__(self) -> None:
        object.__setattr__(self, "depth", _depth_over(*parts(self)))

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        kept: Any = self  # every kind is a dataclass
        return type(self), tuple(getattr(self, each.name) for each in fields(kept))


class _Signed(Node):
    # A base of its own, for what is no field.
    __slots__ = ("signature",)

    signature: Signature


@dataclass(frozen=True, slots=True, repr=False)
class Task(_Signed):
    """A named function with a policy."""

    name: str
    fn: Callable[..., Any]
    policy: Policy = PLAIN
    declared: Policy | None = field(default=None, compare=False)
    known: InitVar[Signature | None] = None

    __match_args__ = ("name", "fn", "policy")

    def __post_init__(self, known: Signature | None) -> None:
        signature = signature_of(self.fn, self.name) if known is None else known
        check_name("task", self.name)
        object.__setattr__(self, "signature", signature)
        object.__setattr__(self, "depth", 1)


@dataclass(frozen=True, slots=True, repr=False)
class Identity(Node):
    """The flow that gives what it takes."""


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class Given(Node):
    """A flow with all of its arguments but the first."""

    flow: Node
    rest: Args


class _Flat(Node):
    __slots__ = ("_steps",)

    _steps: tuple[Node, ...]


@dataclass(frozen=True, slots=True, repr=False, eq=False, match_args=False)
class Chain(_Flat):
    """One flow after another. However the two were grouped, equal steps make equal chains."""

    # Pairs, so that building a chain of n steps takes n pairs and not n tuples of up to n; the flat
    # form is made when it is first asked for.
    first: Node
    then: Node

    __match_args__ = ("steps",)

    def __post_init__(self) -> None:
        object.__setattr__(self, "depth", max(self.first.depth, self.then.depth))

    @property
    def steps(self) -> tuple[Node, ...]:
        """Its steps, none of them a chain."""
        try:
            known = self._steps
        except AttributeError:
            flat: list[Node] = []
            todo: list[Node] = [self]
            while todo:
                flow = todo.pop()
                if isinstance(flow, Chain):
                    todo += (flow.then, flow.first)
                else:
                    flat.append(flow)
            known = tuple(flat)
            object.__setattr__(self, "_steps", known)
        return known

    def __eq__(self, other: object) -> bool:
        return self.steps == other.steps if isinstance(other, Chain) else NotImplemented

    def __hash__(self) -> int:
        return hash((Chain, self.steps))

    def __reduce__(self) -> tuple[Any, ...]:
        return reduce, (type(self), self.steps)


@dataclass(frozen=True, slots=True, repr=False)
class Together(Node):
    """Several flows on the same value."""

    branches: tuple[Node, ...]


@dataclass(frozen=True, slots=True, repr=False)
class Each(Node):
    """A flow on every item of a list."""

    step: Node
    limit: int | None = None
    chunk: int | None = None


@dataclass(frozen=True, slots=True, repr=False)
class Rescue(Node):
    """A flow, and what to do with its failure."""

    body: Node
    handler: Node


@dataclass(frozen=True, slots=True, repr=False)
class Fused(Node):
    """A flow that is delivered and retried as one step."""

    body: Node
    policy: Policy = PLAIN


@dataclass(frozen=True, slots=True, repr=False)
class Named(Node):
    """A flow that goes by a name."""

    body: Node
    label: str

    def __post_init__(self) -> None:
        check_name("flow", self.label)
        Node.__post_init__(self)  # the `super()` of a dataclass with slots is another class's


@dataclass(frozen=True, slots=True, repr=False)
class Keep(Node):
    """A flow whose value comes beside the one that went into it."""

    step: Node


@dataclass(frozen=True, slots=True, repr=False)
class Tee(Node):
    """A flow that is run, and then the value that went into it."""

    step: Node


Kind: TypeAlias = (
    Task | Identity | Given | Chain | Together | Each | Rescue | Fused | Named | Keep | Tee
)
"""The closed set: what a function over nodes matches on."""


def kind(flow: Node) -> Kind:
    """The node as one of the closed set, so that a checker sees whether a match is exhaustive."""
    return cast(Kind, flow)


def parts(flow: Node) -> tuple[Node, ...]:
    """The flows that a flow is composed of, in the order in which they run."""
    match kind(flow):
        case Task() | Identity():
            return ()
        case Chain(steps) | Together(steps):
            return steps
        case Rescue(body, handler):
            return (body, handler)
        case Given(inner) | Each(inner) | Fused(inner) | Named(inner) | Keep(inner) | Tee(inner):
            return (inner,)


def head(flow: Node) -> Node:
    """The part that takes a flow's arguments; the flow itself where it has no parts."""
    match kind(flow):
        case Task() | Identity():
            return flow
        case Chain():
            # Not by way of the steps, which every chain on the way to a long one would then keep.
            while isinstance(flow, Chain):
                flow = flow.first
            return flow
        case Together(branches):
            # identity takes anything, so it says nothing of what the others take.
            plain = (branch for branch in branches if not isinstance(branch, Identity))
            return next(plain, branches[0])
        case Rescue(inner) | Given(inner) | Each(inner) | Fused(inner) | Named(inner):
            return inner
        case Keep(inner) | Tee(inner):
            return inner


def is_single(flow: Node) -> bool:
    """Whether it takes exactly one value by its kind, whatever its parts take."""
    return isinstance(flow, Identity | Given | Together | Each | Keep | Tee)


def with_policy(flow: Node, changes: Mapping[str, Any]) -> Node:
    """The same flow with these fields changed in the policy of each task and fused part."""
    match kind(flow):
        case Task(name, fn, policy) as task:
            declared = task.declared or policy
            policy = replace_struct(policy, **changes)
            return type(task)(name, fn, policy, declared, task.signature)
        case Identity():
            return flow
        case Given(inner) as given:
            return replace(given, flow=with_policy(inner, changes))
        case Chain(steps) as chain:
            return reduce(type(chain), [with_policy(step, changes) for step in steps])
        case Together(branches) as together:
            return replace(together, branches=tuple(with_policy(it, changes) for it in branches))
        case (Each(step) | Keep(step) | Tee(step)) as one:
            return replace(one, step=with_policy(step, changes))
        case Rescue(body, handler) as rescue:
            return type(rescue)(with_policy(body, changes), with_policy(handler, changes))
        case Fused(policy=policy) as fused:
            return replace(fused, policy=replace_struct(policy, **changes))
        case Named(body) as named:
            return replace(named, body=with_policy(body, changes))


def walk(flow: Node) -> Iterator[Node]:
    """A flow and all that it is composed of, in the order in which it runs."""
    todo = [flow]
    while todo:
        flow = todo.pop()
        yield flow
        todo.extend(reversed(parts(flow)))


def tasks_of(flow: Node) -> dict[str, Task]:
    """The tasks of a flow by their names.

    Raises:
        ValueError: If two different ones share a name, or a name is reserved.
    """
    found: dict[str, Task] = {}
    for each in walk(flow):
        if isinstance(each, Named):
            check_reserved(each.label)
        if isinstance(each, Task):
            check_reserved(each.name)
            refuse_namesakes(found.setdefault(each.name, each), each)
    return found


def refuse_namesakes(one: Task, other: Task) -> None:
    """Raises ValueError where two tasks of one name are not the same function."""
    if one.fn is not other.fn:
        raise ValueError(
            f"two tasks are named {one.name!r}, one at {place(one.fn)} and one at "
            f"{place(other.fn)}: give one of them another name with @task(name=...)"
        )


def place_of(task: Task) -> tuple[str, str, Policy]:
    """Where a task stands, for a pickle; raises TypeError if that is not at the top of a module."""
    module = sys.modules.get(task.fn.__module__)
    for name, each in vars(module).items() if module else ():
        if isinstance(each, Task) and (each.name, each.fn) == (task.name, task.fn):
            return task.fn.__module__, name, task.policy
    raise TypeError(
        f"task {task.name!r} ({place(task.fn)}) cannot be pickled: it travels as a reference, and "
        "it is not at the top of its module"
    )


def found(module: str, name: str, policy: Policy) -> Node:
    """The task that a pickle refers to."""
    task: Task = getattr(importlib.import_module(module), name)
    if task.policy == policy:
        return task
    return replace(task, policy=policy, declared=task.declared or task.policy)


def _depth_over(*inner: Node) -> int:
    """How deep a flow of these parts nests; raises ValueError where that is too deep to travel."""
    depth = 1 + max((part.depth for part in inner), default=0)
    if depth > MAX_DEPTH:
        raise ValueError(
            f"flows nest at most {MAX_DEPTH} deep: make a task of the inner ones, or chain them"
        )
    return depth
