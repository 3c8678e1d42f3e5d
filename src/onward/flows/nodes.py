"""The kinds of node that a flow is made of, as frozen data, and how to walk over them.

Functions in the modules above work on nodes by matching on `Kind`, the closed set.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import InitVar, dataclass, field, fields
from functools import reduce
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Self, TypeAlias, cast

from msgspec import Struct

from onward.codec import Annotation, Codec
from onward.flows.frozen import Compared
from onward.plan import MAX_DEPTH, Args, OnFailure
from onward.plan import Node as PlanNode
from onward.policy import PLAIN, Policy, check_name
from onward.routing import Route
from onward.signature import Signature, signature_of

if TYPE_CHECKING:
    from onward.flows.signals import Signal


class Computed(Struct):
    """What was computed from a node, each on its first use; None until then."""

    name: str | None = None
    steps: tuple[Node, ...] | None = None
    signals: Mapping[str, Signal[Any]] | None = None
    tasks: dict[str, Task] | None = None
    lowered: PlanNode | None = None
    travelling: tuple[PlanNode, int] | None = None


class Node(Compared):
    """A flow as data, and what was computed from it."""

    __slots__ = ("__weakref__", "computed", "depth")

    computed: Computed
    depth: int
    """How deep its parts nest; a chain adds no depth."""

    def __post_init__(self) -> None:
        inside = parts(self)
        _begin(self, _depth_over(*inside), merged_signals(*inside))

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        kept: Any = self  # every kind is a dataclass
        return type(self), tuple(getattr(self, each.name) for each in fields(kept))


def _begin(node: Node, depth: int, signals: Mapping[str, Signal[Any]]) -> None:
    """Sets what is no field of a new node."""
    object.__setattr__(node, "depth", depth)
    object.__setattr__(node, "computed", Computed(signals=signals))


class _Signed(Node):
    # A base class, because `signature` is not a field.
    __slots__ = ("signature",)

    signature: Signature


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class Task(_Signed):
    """A named function with a policy."""

    name: str
    fn: Callable[..., Any]
    policy: Policy = PLAIN
    declared: Policy | None = field(default=None, compare=False)
    known: InitVar[Signature | None] = None

    __match_args__ = ("name", "fn", "policy")

    def __hash__(self) -> int:
        return hash((self.name, self.fn))  # enough, and several times as fast as all of it

    def __post_init__(self, known: Signature | None) -> None:
        signature = signature_of(self.fn, self.name) if known is None else known
        check_name("task", self.name)
        object.__setattr__(self, "signature", signature)
        _begin(self, 1, _NO_SIGNALS)


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class Identity(Node):
    """The flow that gives what it takes."""


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class _Bound(Node):
    """A flow with bound arguments. Its kinds differ only in which of them are bound."""

    flow: Node
    args: Args


class Given(_Bound):
    """A flow whose arguments after the first are bound."""

    __slots__ = ()


class Fixed(_Bound):
    """A flow whose arguments are all bound, and which ignores its input."""

    __slots__ = ()


@dataclass(frozen=True, slots=True, init=False, repr=False, eq=False, match_args=False)
class Chain(Node):
    """One flow after another. Chains of equal steps are equal, however they were grouped."""

    # Pairs, so that building a chain of n steps makes n pairs and not n tuples of up to n steps.
    # The flat form is computed on first use.
    first: Node
    then: Node

    __match_args__ = ("steps",)

    # By hand, because `dataclass` makes a slower one, and each `>>` calls it.
    def __init__(self, first: Node, then: Node) -> None:
        set_field = object.__setattr__
        set_field(self, "first", first)
        set_field(self, "then", then)
        set_field(self, "depth", max(first.depth, then.depth))
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


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class Together(Node):
    """Several flows on the same value."""

    branches: tuple[Node, ...]
    on_failure: OnFailure = "settle"


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class Each(Node):
    """A flow that runs on every item of a list."""

    step: Node
    limit: int | None = None
    chunk: int | None = None
    on_failure: OnFailure = "settle"


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class Rescue(Node):
    """A flow, and the handler of its failure."""

    body: Node
    handler: Node
    with_input: bool = False


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class Finally(Node):
    """A flow, and the cleanup that runs whichever way it ends."""

    body: Node
    cleanup: Node


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class Fused(Node):
    """A flow that is delivered and retried as one step."""

    body: Node
    policy: Policy = PLAIN


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class Named(Node):
    """A flow with a name."""

    body: Node
    label: str

    def __post_init__(self) -> None:
        check_name("flow", self.label)
        Node.__post_init__(self)  # `super()` fails here, because slots=True makes another class


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class _OfStep(Node):
    """A flow of one step. Its kinds differ only in what they pass on."""

    step: Node


class Keep(_OfStep):
    """A flow that gives its input together with the step's value."""

    __slots__ = ()


class Tee(_OfStep):
    """A flow that runs a step and gives its own input."""

    __slots__ = ()


class Spread(_OfStep):
    """A flow that takes the items of a tuple as its arguments."""

    __slots__ = ()


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class Sleep(Node):
    """A wait of so many seconds that gives its input."""

    seconds: float


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class Awaits(Node):
    """A wait for a signal, for at most so many seconds if it has a timeout."""

    signal: Signal[Any]
    timeout: float | None = None

    def __post_init__(self) -> None:
        _begin(self, 1, {self.signal.name: self.signal})


class _Choosing(Node):
    __slots__ = ("_gives", "_routes", "_takes", "_value")

    _gives: Codec | None
    _routes: tuple[Route, ...] | None
    _takes: Codec | None
    _value: Annotation


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class Case(_Choosing):
    """A flow that runs the branch for the type of its input."""

    kinds: tuple[object, ...]
    branches: tuple[Node, ...]

    def __post_init__(self) -> None:
        Node.__post_init__(self)
        for name in _Choosing.__slots__:
            object.__setattr__(self, name, None)


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

# Tuples, because `isinstance` with `A | B` would make the union anew at every call.
_TAKERS: Final = (Task, Identity, Fixed, Each, Spread, Sleep, Awaits, Case)
_TAKE_ANYTHING: Final = (Identity, Fixed, Sleep, Awaits)
_SINGLE: Final = (*_TAKERS[1:], Given, Together, Finally, Keep, Tee)


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


def head(flow: Node) -> Node:
    """The part that takes a flow's arguments, or the flow itself if it has no parts."""
    match kind(flow):
        case Chain() as chain:
            first = first_step(chain)
            if isinstance(first, Sleep):  # it passes its input on, so the next step decides
                return next((step for step in chain.steps if not isinstance(step, Sleep)), first)
            return first
        case Task() | Identity() | Fixed() | Sleep() | Awaits() | Case():
            return flow
        case Together() | Finally():
            # These take anything, so the other parts decide.
            inside = parts(flow)
            plain = (part for part in inside if not isinstance(part, _TAKE_ANYTHING))
            return next(plain, inside[0])
        case Rescue(inner) | Given(inner) | Each(inner) | Fused(inner) | Named(inner):
            return inner
        case Keep(inner) | Tee(inner) | Spread(inner):
            return inner


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


def first_step(chain: Chain) -> Node:
    """The first step of a chain."""
    # Not through `steps`: each prefix of a long chain would then cache its own.
    flow: Node = chain
    while isinstance(flow, Chain):
        flow = flow.first
    return flow


def taker(flow: Node) -> Task | Identity | Fixed | Each | Spread | Sleep | Awaits | Case:
    """The part that decides what a flow's first argument is."""
    while not isinstance(flow, _TAKERS):
        flow = head(flow)
    return flow


def called(flow: Node) -> Task:
    """The task that gets a flow's arguments, for a flow that is not single."""
    while not isinstance(flow, Task):
        flow = head(flow)
    return flow


def is_single(flow: Node) -> bool:
    """Whether this kind of node takes exactly one value, whatever its parts take."""
    if isinstance(flow, Rescue):
        return flow.with_input
    if isinstance(flow, Chain):  # a sleep passes one value on to the next step
        return isinstance(first_step(flow), Sleep)
    return isinstance(flow, _SINGLE)


def walk(flow: Node) -> Iterator[Node]:
    """A flow and all of its parts, in the order in which they run."""
    todo = [flow]
    while todo:
        flow = todo.pop()
        yield flow
        if not isinstance(flow, Task):
            todo.extend(reversed(parts(flow)))


_NO_SIGNALS: Final[Mapping[str, Signal[Any]]] = MappingProxyType({})


def signals_of(flow: Node) -> Mapping[str, Signal[Any]]:
    """The signals that a flow waits for, by their names.

    Raises:
        ValueError: If two signals of one name have different types.
    """
    known = flow.computed.signals
    if known is None:  # only of chains, because they are made in large numbers
        chain = cast(Chain, flow)
        todo: list[Node] = [chain.then, chain.first]
        inside: list[Node] = []
        while todo:
            part = todo.pop()
            if isinstance(part, Chain) and part.computed.signals is None:
                todo += (part.then, part.first)
            elif not isinstance(part, Task):
                inside.append(part)
        known = flow.computed.signals = merged_signals(*inside)
    return known


def merged_signals(*flows: Node) -> Mapping[str, Signal[Any]]:
    """The signals of several flows; raises ValueError if two of one name have different types."""
    found = _NO_SIGNALS
    for its in filter(None, map(signals_of, flows)):
        for name in found.keys() & its.keys():
            if found[name].type != its[name].type:
                raise ValueError(
                    f"two signals are named {name!r}, one with {found[name].type_name} and one "
                    f"with {its[name].type_name}: give one of them another name"
                )
        found = {**found, **its} if found else its
    return found


def _depth_over(*inner: Node) -> int:
    """How deep a flow of these parts nests; raises ValueError if it is too deep to travel."""
    depth = 1 + max((part.depth for part in inner), default=0)
    if depth > MAX_DEPTH:
        raise ValueError(
            f"flows nest at most {MAX_DEPTH} deep: make a task of the inner ones, or chain them"
        )
    return depth
