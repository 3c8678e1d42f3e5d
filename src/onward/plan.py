"""Plans: calls on the wire.

A plan has names, policies and encoded arguments, and no code. Its bytes are JSON with a version,
so that workers can refuse plans of later releases.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from functools import cache
from typing import Annotated, Final, Literal, TypeAlias

import msgspec
from msgspec import Meta, Raw
from msgspec.json import Decoder
from msgspec.structs import replace
from returns.result import Failure, Result, Success

from onward.fault import ONLY_ONWARD, SMALLER, BadPayload, Fault, Unsupported
from onward.limit import StepLimit
from onward.outcome import Outcome
from onward.outline import Outlined, counted
from onward.policy import CallDelivery, Delivery, Name
from onward.routing import Route

VERSION = 1
"""The version of plans that workers of all releases can read."""

NEWEST = 2
"""The version of plans with a node that came after 0.1, which releases before 0.2 cannot read."""

MAX_DEPTH = 32
"""How deep flows may nest; a chain adds no depth."""

_MAX_NODE_DEPTH = 4 * MAX_DEPTH  # One level of a flow has at most four nested nodes.

MAX_NODES = 100_000
"""How many nodes a plan may have, steps and combinators together."""

LAST_SECOND = 253_402_300_799
"""The end of the year 9999, in seconds since 1970: the latest datetime of Python."""

MAX_TRACE = 8192
"""How many bytes a plan's trace may have."""

MAX_TAGS = 20
"""How many tags a call may have."""

MAX_TAG = 100
"""How many characters a tag may have."""

LONGEST_WAIT = 315_360_000
"""The longest wait, in seconds: ten years."""

_Count: TypeAlias = Annotated[int, Meta(ge=1, le=1_000_000_000)]
_Tag: TypeAlias = Annotated[str, Meta(min_length=1, max_length=MAX_TAG)]
_Seconds: TypeAlias = Annotated[float, Meta(ge=0, le=LONGEST_WAIT)]


class Args(msgspec.Struct, frozen=True, omit_defaults=True):
    """Encoded arguments."""

    positional: tuple[Raw, ...] = ()
    keyword: dict[str, Raw] = {}

    def __hash__(self) -> int:
        return hash((tuple(map(bytes, self.positional)), *sorted(self.keyword)))


NO_ARGS = Args()


class StepNode(Delivery, frozen=True, tag="step", tag_field="op", omit_defaults=True):
    """One task, with its bound arguments after the first."""

    task: Name
    given: Args = NO_ARGS


class ChainNode(msgspec.Struct, frozen=True, tag="chain", tag_field="op", omit_defaults=True):
    """Steps one after the other; each takes the value of the one before it."""

    steps: tuple[Node, ...]


OnFailure: TypeAlias = Literal["settle", "cancel"]
"""What a fan-out does at the first failure: lets all branches end, or cancels the others."""


class TogetherNode(msgspec.Struct, frozen=True, tag="together", tag_field="op", omit_defaults=True):
    """Branches that run on the same arguments; their values are one array."""

    branches: tuple[Node, ...]
    on_failure: OnFailure = "settle"


class EachNode(msgspec.Struct, frozen=True, tag="each", tag_field="op", omit_defaults=True):
    """A body that runs on each item of an array; with `chunk`, on arrays of so many items."""

    body: Node
    limit: _Count | None = None
    chunk: _Count | None = None
    on_failure: OnFailure = "settle"


class RescueNode(msgspec.Struct, frozen=True, tag="rescue", tag_field="op", omit_defaults=True):
    """A body, and a handler that runs on its failure; with input, on the pair of both."""

    body: Node
    handler: Node
    with_input: bool = False


class FinallyNode(msgspec.Struct, frozen=True, tag="finally", tag_field="op"):
    """A body, and a cleanup that runs on the body's input, whichever way the body ends."""

    body: Node
    cleanup: Node


class FusedNode(Delivery, frozen=True, tag="fused", tag_field="op", omit_defaults=True):
    """A body that runs as one step."""

    body: Node


class NamedNode(msgspec.Struct, frozen=True, tag="named", tag_field="op", omit_defaults=True):
    """A body with a name, and a limit of its calls if it is the root of a plan."""

    name: Name
    body: Node
    limit: StepLimit | None = None


class KeepNode(msgspec.Struct, frozen=True, tag="keep", tag_field="op"):
    """A body whose input and value are given together, as one array."""

    body: Node


class TeeNode(msgspec.Struct, frozen=True, tag="tee", tag_field="op"):
    """A body that runs, and whose input is given."""

    body: Node


class SpreadNode(msgspec.Struct, frozen=True, tag="spread", tag_field="op"):
    """The body on the items of an array, as its arguments."""

    body: Node


class FixedNode(msgspec.Struct, frozen=True, tag="fixed", tag_field="op", omit_defaults=True):
    """The body on its own arguments, whatever value comes."""

    body: Node
    given: Args = NO_ARGS


class SleepNode(msgspec.Struct, frozen=True, tag="sleep", tag_field="op"):
    """A wait of so many seconds that gives its input."""

    seconds: _Seconds


class AwaitsNode(msgspec.Struct, frozen=True, tag="awaits", tag_field="op", omit_defaults=True):
    """A wait for the value of a signal, for at most so many seconds if it has a timeout."""

    signal: Name
    timeout: _Seconds | None = None


class CaseNode(msgspec.Struct, frozen=True, tag="case", tag_field="op"):
    """Branches, of which the one runs that takes the value's type."""

    branches: tuple[Node, ...]
    routes: tuple[Route, ...]

    def __post_init__(self) -> None:
        if len(self.branches) != len(self.routes):
            raise ValueError("each branch of a case has one route")


Node: TypeAlias = (
    StepNode
    | ChainNode
    | TogetherNode
    | EachNode
    | RescueNode
    | FinallyNode
    | FusedNode
    | NamedNode
    | KeepNode
    | TeeNode
    | SpreadNode
    | FixedNode
    | SleepNode
    | AwaitsNode
    | CaseNode
)
Waiting: TypeAlias = SleepNode | AwaitsNode
"""The nodes that wait: they run no task and hold no slot."""

Runnable: TypeAlias = StepNode | FusedNode
"""The nodes that one delivery to a worker can hold."""


class Past(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a call takes over from the one that it continues; see `onward.past`.

    Args:
        origin: The id of the first call, which `current().id` is in all of them; empty if that is
            the call itself.
        outcomes: The outcomes of steps and waits by their path. They do not run again.
        due: When the waits end that had begun, by path, in seconds since 1970.
        args: Other arguments for steps, by path.
    """

    origin: str
    outcomes: dict[str, Outcome] = {}
    due: dict[str, float] = {}
    args: dict[str, Args] = {}


class Plan(CallDelivery, frozen=True, omit_defaults=True, kw_only=True):
    """A call on the wire, with the fields of `CallDelivery`.

    Args:
        v: The version of the wire form.
        id: The call's id; empty in a schedule, whose runs each get their own.
        flow: The flow's name, for people.
        root: The node to run.
        args: The arguments of its first step.
        key: The idempotency key that the call was submitted with.
        deadline: When the call expires, in seconds since 1970-01-01 UTC.
        trace: What observers added, such as a W3C trace context.
        tags: Short texts by which people find the call.
        past: What the call takes over, if it continues another one; such a plan is of version 2.
        limit_key: The key of the limit of the flow's calls.
    """

    v: int
    id: str = ""
    flow: str
    root: Node
    args: Args = NO_ARGS
    key: str | None = None
    deadline: Annotated[float, Meta(ge=0, le=LAST_SECOND)] | None = None
    trace: dict[str, str] = {}  # noqa: RUF012 - msgspec copies it
    tags: Annotated[tuple[_Tag, ...], Meta(max_length=MAX_TAGS)] = ()
    past: Past | None = None
    limit_key: Annotated[str, Meta(max_length=MAX_TAG)] = ""

    @property
    def call_limit(self) -> StepLimit | None:
        """The limit of calls of its flow, if the flow has one."""
        return self.root.limit if type(self.root) is NamedNode else None

    @property
    def origin(self) -> str:
        """The id that the call's steps see: its own, or that of the first call it continues."""
        return self.id if self.past is None else self.past.origin or self.id

    def __hash__(self) -> int:
        return hash((self.id, self.flow, self.root, self.args))


class _Version(msgspec.Struct):
    v: int


_ENCODER = msgspec.json.Encoder()


_MAKING: Final = threading.Lock()  # msgspec crashes if two threads make decoders at once


@cache
def _decoders() -> tuple[Decoder[_Version], Decoder[Outlined], Decoder[Plan]]:
    # Not at import: making them takes long, and a client that only submits does not need them.
    return Decoder(_Version), Decoder(Outlined), Decoder(Plan)


def encode(plan: Plan) -> bytes:
    """Encodes a plan as bytes."""
    return _ENCODER.encode(plan)


def decode(raw: bytes) -> Result[Plan, Fault]:
    """Decodes a plan.

    Args:
        raw: Untrusted bytes.

    Returns:
        The plan; `Unsupported` if this release cannot read its version; `BadPayload` if the bytes
        are not a valid plan.
    """
    with _MAKING:
        of_version, of_outline, of_plan = _decoders()
    try:
        version = of_version.decode(raw).v
        if not VERSION <= version <= NEWEST:
            found = f"the plan has version {version}, and this release of Onward reads up to"
            cure = "upgrade the workers before the clients"
            return Failure(Unsupported("", f"{found} {NEWEST}: {cure}"))
        may_be_too_many = raw.count(b'"op"') > MAX_NODES  # arguments may contain it too
        if may_be_too_many and counted(of_outline.decode(raw).root, MAX_NODES) > MAX_NODES:
            return Failure(_too_many())
        plan = of_plan.decode(raw)
    except RecursionError:
        return Failure(_too_deep())
    except (msgspec.MsgspecError, UnicodeError, ValueError) as problem:
        return Failure(BadPayload("", f"not a valid plan: {problem}", advice=ONLY_ONWARD))
    if not fits_trace(plan.trace):
        message = f"not a valid plan: its trace has more than {MAX_TRACE} bytes"
        return Failure(BadPayload("", message, advice="Have observers add less to the trace."))
    return Success(plan) if _is_shallow(plan.root) else Failure(_too_deep())


def version_of(root: Node) -> int:
    """The oldest version of the wire form that can express a plan."""
    return NEWEST if any(map(_is_new, walk(root))) else VERSION


def checked_version(root: Node) -> int | BadPayload:
    """As `version_of`, or the fault of a plan with too many nodes."""
    size, version, todo = 1, VERSION, [root]
    while todo and size <= MAX_NODES:
        node = todo.pop()
        if type(node) is ChainNode:  # the most common case, and never new
            inner = node.steps
        else:
            if _is_new(node):
                version = NEWEST
            inner = children(node)
        size += len(inner)
        for part in inner:
            if type(part) is not StepNode or part.limit is not None or part.isolate is not None:
                todo.append(part)  # noqa: PERF401 - most often there is none
    return version if size <= MAX_NODES else _too_many()


def _too_many() -> BadPayload:
    message = f"not a valid plan: it has more than {MAX_NODES:,} steps"
    return BadPayload("", message, advice=SMALLER)


_NEW: Final = frozenset(
    (KeepNode, TeeNode, SpreadNode, FixedNode, CaseNode, FinallyNode, SleepNode, AwaitsNode)
)


def _is_new(node: Node) -> bool:
    # `isinstance` takes several times as long for the Structs that a node is not.
    if type(node) is StepNode or type(node) is FusedNode:
        return node.limit is not None or node.isolate is not None
    if type(node) is NamedNode:
        return node.limit is not None
    if type(node) is RescueNode:
        return node.with_input
    return type(node) in _NEW or cancels_on_failure(node)


def cancels_on_failure(node: Node) -> bool:
    """Whether a node is a fan-out whose other branches are cancelled at the first failure."""
    if type(node) is TogetherNode or type(node) is EachNode:
        return node.on_failure == "cancel"
    return False


def has_cleanup(plan: Plan) -> bool:
    """Whether a plan has a cleanup, so that a cancelled call of it may have more to run."""
    return plan.v > VERSION and any(isinstance(node, FinallyNode) for node in walk(plan.root))


def fits_trace(trace: dict[str, str]) -> bool:
    """Whether a trace is small enough to travel."""
    size = sum(len(name.encode()) + len(text.encode()) for name, text in trace.items())
    return size <= MAX_TRACE


def _too_deep() -> BadPayload:
    message = f"not a valid plan: nested too deeply (flows nest at most {MAX_DEPTH} deep)"
    return BadPayload("", message, advice=SMALLER)


def children(node: Node) -> tuple[Node, ...]:
    """The direct parts of a node, in the order in which they run."""
    match node:
        case ChainNode(steps):  # first, because a node is compared with each kind in turn
            return steps
        case StepNode() | SleepNode() | AwaitsNode():
            return ()
        case TogetherNode(branches) | CaseNode(branches):
            return branches
        case RescueNode(body, second) | FinallyNode(body, second):
            return (body, second)
        case EachNode(body) | FusedNode(body=body) | NamedNode(body=body):
            return (body,)
        case KeepNode(body) | TeeNode(body) | SpreadNode(body) | FixedNode(body):
            return (body,)


def walk(node: Node) -> Iterator[Node]:
    """A node and all of its parts, in the order in which they run."""
    todo = [node]
    while todo:
        node = todo.pop()
        yield node
        if type(node) is not StepNode:
            todo.extend(reversed(children(node)))


def with_given(node: Node, change: Callable[[Args], Args]) -> Node:
    """The same node with other values in place of those that the plan itself contains."""
    node = with_parts(node, lambda part: with_given(part, change))
    if isinstance(node, StepNode | FixedNode):
        return replace(node, given=change(node.given))
    return node


def with_parts(node: Node, change: Callable[[Node], Node]) -> Node:
    """The same node with other direct parts."""
    match node:
        case StepNode() | SleepNode() | AwaitsNode():
            return node
        case ChainNode(steps):
            return replace(node, steps=tuple(map(change, steps)))
        case TogetherNode(branches) | CaseNode(branches):
            return replace(node, branches=tuple(map(change, branches)))
        case RescueNode(body, handler):
            return replace(node, body=change(body), handler=change(handler))
        case FinallyNode(body, cleanup):
            return FinallyNode(change(body), change(cleanup))
        case EachNode(body) | FusedNode(body=body) | NamedNode(body=body):
            return replace(node, body=change(body))
        case KeepNode(body) | TeeNode(body) | SpreadNode(body) | FixedNode(body):
            return replace(node, body=change(body))


def _is_shallow(root: Node) -> bool:
    level = [root]
    for _ in range(_MAX_NODE_DEPTH):
        level = [child for node in level for child in children(node)]
        if not level:
            return True
    return False
