"""The kinds of node that a flow is made of, as frozen data, and how to walk over them.

Functions in the modules above work on nodes by matching on `Kind`, the closed set.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import reduce
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar, cast

from onward.checks import check_name
from onward.codec import Annotation, Codec
from onward.flows.node import Computed, Node, Pair, begin, set_fields
from onward.limit import Limit, check_selector
from onward.plan import Args, OnFailure
from onward.policy import PLAIN, Policy
from onward.routing import Route
from onward.signature import Signature, signature_of

if TYPE_CHECKING:
    from onward.flows.signals import Signal
    from onward.resource import Resource


_Task = TypeVar("_Task", bound="Task")


class _Signed(Node):
    # A base class, because these are not fields.
    __slots__ = ("called", "signature")

    called: Callable[..., Any]
    """What a worker calls: the function, or what gives it its resources."""

    signature: Signature


@dataclass(frozen=True, slots=True, init=False, repr=False, eq=False)
class Task(_Signed):
    """A named function with a policy."""

    name: str
    fn: Callable[..., Any]
    policy: Policy = PLAIN
    declared: Policy | None = field(default=None, compare=False)
    resources: tuple[Resource[Any], ...] = ()

    __match_args__ = ("name", "fn", "policy", "resources")

    def __init__(
        self,
        name: str,
        fn: Callable[..., Any],
        policy: Policy = PLAIN,
        declared: Policy | None = None,
        resources: tuple[Resource[Any], ...] = (),
        *,
        signature: Signature | None = None,
        called: Callable[..., Any] | None = None,
    ) -> None:
        if signature is None:
            signature = signature_of(fn, name, len(resources))
        check_name("task", name)
        if policy.limit is not None and policy.limit.key is not None:
            check_selector(policy.limit.key, signature.python.parameters, name)
        begin(
            self,
            name=name,
            fn=fn,
            policy=policy,
            declared=declared,
            resources=resources,
            signature=signature,
            called=fn if called is None else called,
        )
        if resources and called is None:
            from onward.resource import calling  # only tasks with resources pay for it

            set_fields(self, called=calling(self, None, is_async=signature.is_async))

    def __hash__(self) -> int:
        return hash((self.name, self.fn))  # enough, and several times as fast as all of it


def changed_task(
    task: _Task,
    *,
    policy: Policy | None = None,
    signature: Signature | None = None,
    called: Callable[..., Any] | None = None,
) -> _Task:
    """The task with another policy, other codecs, or something else that a worker calls."""
    return type(task)(
        task.name,
        task.fn,
        task.policy if policy is None else policy,
        task.declared if policy is None else task.declared or task.policy,
        task.resources,
        signature=task.signature if signature is None else signature,
        called=task.called if called is None else called,
    )


@dataclass(frozen=True, slots=True, init=False, repr=False, eq=False)
class Identity(Node):
    """The flow that gives what it takes."""

    def __init__(self) -> None:
        begin(self)


@dataclass(frozen=True, slots=True, init=False, repr=False, eq=False)
class _Bound(Node):
    """A flow with bound arguments. Its kinds differ only in which of them are bound."""

    flow: Node
    args: Args

    def __init__(self, flow: Node, args: Args) -> None:
        begin(self, flow=flow, args=args)


class Given(_Bound):
    """A flow whose arguments after the first are bound."""

    __slots__ = ()


class Fixed(_Bound):
    """A flow whose arguments are all bound, and which ignores its input."""

    __slots__ = ()


@dataclass(frozen=True, slots=True, init=False, repr=False, eq=False, match_args=False)
class Chain(Pair):
    """One flow after another. Chains of equal steps are equal, however they were grouped."""

    # Pairs, so that building a chain of n steps makes n pairs and not n tuples of up to n steps.
    # The flat form is computed on first use.
    first: Node
    then: Node

    __match_args__ = ("steps",)

    # Without `_begin`, because each `>>` calls it.
    def __init__(self, first: Node, then: Node) -> None:
        depth, other = first.depth, then.depth
        set_field = object.__setattr__
        set_field(self, "first", first)
        set_field(self, "then", then)
        set_field(self, "depth", depth if depth > other else other)  # noqa: FURB136 - quicker
        set_field(self, "computed", Computed())

    @property
    def steps(self) -> tuple[Node, ...]:
        """Its steps, none of them a chain."""
        known = self.computed.steps
        if known is None:
            known = self.computed.steps = _flat(self)
        return known

    def __eq__(self, other: object) -> bool:
        return self.steps == other.steps if isinstance(other, Chain) else NotImplemented

    def __hash__(self) -> int:
        return hash((Chain, self.steps))

    def __reduce__(self) -> tuple[Any, ...]:
        return reduce, (type(self), self.steps)


@dataclass(frozen=True, slots=True, init=False, repr=False, eq=False)
class Together(Node):
    """Several flows on the same value."""

    branches: tuple[Node, ...]
    on_failure: OnFailure = "settle"

    def __init__(self, branches: tuple[Node, ...], on_failure: OnFailure = "settle") -> None:
        begin(self, branches=branches, on_failure=on_failure)


@dataclass(frozen=True, slots=True, init=False, repr=False, eq=False)
class Each(Node):
    """A flow that runs on every item of a list."""

    step: Node
    limit: int | None = None
    chunk: int | None = None
    on_failure: OnFailure = "settle"

    def __init__(
        self,
        step: Node,
        limit: int | None = None,
        chunk: int | None = None,
        on_failure: OnFailure = "settle",
    ) -> None:
        begin(self, step=step, limit=limit, chunk=chunk, on_failure=on_failure)


@dataclass(frozen=True, slots=True, init=False, repr=False, eq=False)
class Rescue(Node):
    """A flow, and the handler of its failure."""

    body: Node
    handler: Node
    with_input: bool = False

    def __init__(self, body: Node, handler: Node, with_input: bool = False) -> None:
        begin(self, body=body, handler=handler, with_input=with_input)


@dataclass(frozen=True, slots=True, init=False, repr=False, eq=False)
class Finally(Node):
    """A flow, and the cleanup that runs whichever way it ends."""

    body: Node
    cleanup: Node

    def __init__(self, body: Node, cleanup: Node) -> None:
        begin(self, body=body, cleanup=cleanup)


@dataclass(frozen=True, slots=True, init=False, repr=False, eq=False)
class Fused(Node):
    """A flow that is delivered and retried as one step."""

    body: Node
    policy: Policy = PLAIN

    def __init__(self, body: Node, policy: Policy = PLAIN) -> None:
        if policy.limit is not None and policy.limit.key is not None:
            raise TypeError(
                "the limit of a fused flow has no key, because the key is a function of a task's "
                "parameters: make a task of the flow, or leave out key="
            )
        begin(self, body=body, policy=policy)


@dataclass(frozen=True, slots=True, init=False, repr=False, eq=False)
class Named(Node):
    """A flow with a name, and a limit of its calls if it has one."""

    body: Node
    label: str
    limit: Limit | None = None

    __match_args__ = ("body", "label")

    def __init__(self, body: Node, label: str, limit: Limit | None = None) -> None:
        check_name("flow", label)
        begin(self, body=body, label=label, limit=limit)


@dataclass(frozen=True, slots=True, init=False, repr=False, eq=False)
class _OfStep(Node):
    """A flow of one step. Its kinds differ only in what they pass on."""

    step: Node

    def __init__(self, step: Node) -> None:
        begin(self, step=step)


class Keep(_OfStep):
    """A flow that gives its input together with the step's value."""

    __slots__ = ()


class Tee(_OfStep):
    """A flow that runs a step and gives its own input."""

    __slots__ = ()


class Spread(_OfStep):
    """A flow that takes the items of a tuple as its arguments."""

    __slots__ = ()


@dataclass(frozen=True, slots=True, init=False, repr=False, eq=False)
class Sleep(Node):
    """A wait of so many seconds that gives its input."""

    seconds: float

    def __init__(self, seconds: float) -> None:
        begin(self, seconds=seconds)


@dataclass(frozen=True, slots=True, init=False, repr=False, eq=False)
class Awaits(Node):
    """A wait for a signal, for at most so many seconds if it has a timeout."""

    signal: Signal[Any]
    timeout: float | None = None

    def __init__(self, signal: Signal[Any], timeout: float | None = None) -> None:
        begin(self, signal=signal, timeout=timeout)
        self.computed.signals = {signal.name: signal}


class _Choosing(Node):
    __slots__ = ("_gives", "_routes", "_takes", "_value")

    _gives: Codec | None
    _routes: tuple[Route, ...] | None
    _takes: Codec | None
    _value: Annotation


@dataclass(frozen=True, slots=True, init=False, repr=False, eq=False)
class Case(_Choosing):
    """A flow that runs the branch for the type of its input."""

    kinds: tuple[object, ...]
    branches: tuple[Node, ...]

    def __init__(self, kinds: tuple[object, ...], branches: tuple[Node, ...]) -> None:
        begin(self, kinds=kinds, branches=branches)
        set_fields(self, **dict.fromkeys(_Choosing.__slots__))


Kind: TypeAlias = (
    Task
    | Identity
    | Given
    | Chain
    | Together
    | Each
    | Rescue
    | Finally
    | Fused
    | Named
    | Keep
    | Tee
    | Spread
    | Fixed
    | Sleep
    | Awaits
    | Case
)
"""The closed set of nodes, which functions match on."""


def kind(flow: Node) -> Kind:
    """The node, typed as the closed set, so that type checkers see whether a match is complete."""
    return cast(Kind, flow)


def parts(flow: Node) -> tuple[Node, ...]:
    """The direct parts of a flow, in the order in which they run."""
    match kind(flow):
        case Chain(steps) | Together(steps):
            return steps
        case Task() | Identity() | Sleep() | Awaits():
            return ()
        case Rescue(body, second) | Finally(body, second):
            return (body, second)
        case Case(_, branches):
            return branches
        case Given(inner) | Fixed(inner) | Each(inner) | Fused(inner) | Named(inner):
            return (inner,)
        case Keep(inner) | Tee(inner) | Spread(inner):
            return (inner,)


def _flat(chain: Chain) -> tuple[Node, ...]:
    """The steps of a chain."""
    backwards: list[Node] = []
    todo: list[Node] = [chain]
    while todo:
        flow = todo.pop()
        while isinstance(flow, Chain):
            then = flow.then
            if isinstance(then, Task):  # the most common case
                backwards.append(then)
                flow = flow.first
            else:
                todo.append(flow.first)
                flow = then
        backwards.append(flow)
    backwards.reverse()
    return tuple(backwards)


def walk(flow: Node) -> Iterator[Node]:
    """A flow and all of its parts, in the order in which they run."""
    todo = [flow]
    while todo:
        flow = todo.pop()
        yield flow
        if not isinstance(flow, Task):
            todo.extend(reversed(parts(flow)))
