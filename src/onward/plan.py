"""The wire form of a call, and the one evaluator over it.

A plan holds names, policies and encoded arguments, and no code. Its bytes are JSON with a version,
so that workers of one release can refuse what a later one wrote.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from functools import cache
from itertools import islice
from typing import Annotated, Protocol, TypeAlias

import msgspec
from msgspec import Meta, Raw
from msgspec.structs import replace
from returns.result import Failure, Result, Success

from onward.codec import marked
from onward.fault import BadPayload, Fault, TooLarge, Unsupported
from onward.outcome import Failed, Faulted, Outcome, Value, faulted
from onward.policy import MAX_ATTEMPTS, MAX_SECONDS, Backoff, Constant

VERSION = 1
"""The wire form's version, for plans that a worker of any release can read."""

NEWEST = 2
"""The version of plans with `keep` or `tee` in them, which releases before 0.2 cannot read."""

MAX_DEPTH = 32
"""How deep flows may nest; a chain nests nothing, however long."""

_MAX_NODE_DEPTH = 4 * MAX_DEPTH  # A flow compiles to at most four nodes one in the other.

MAX_NODES = 100_000
"""How many nodes a plan may have: its steps, and what they are composed by."""

MAX_JOINED = 256 * 1024 * 1024
"""How many bytes the values of a fan-out may have together."""

LAST_SECOND = 253_402_300_799
"""The end of the year 9999, in seconds since 1970, past which no clock goes."""

MAX_TRACE = 8192
"""How many bytes a plan's trace may have."""

IN_FLIGHT = 256
"""How many items of an `each` without a limit of its own are run at a time."""

_Name: TypeAlias = Annotated[str, Meta(min_length=1, max_length=200)]
_Count: TypeAlias = Annotated[int, Meta(ge=1, le=1_000_000_000)]
_Priority: TypeAlias = Annotated[int, Meta(ge=0, le=9)]


class Args(msgspec.Struct, frozen=True, omit_defaults=True):
    """Encoded arguments."""

    positional: tuple[Raw, ...] = ()
    keyword: dict[str, Raw] = {}

    def __hash__(self) -> int:
        return hash((tuple(map(bytes, self.positional)), *sorted(self.keyword)))


NO_ARGS = Args()


class Delivery(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """How one step is handed to a worker."""

    attempts: Annotated[int, Meta(ge=1, le=MAX_ATTEMPTS)] = 1
    backoff: Backoff = Constant(0.0)
    retry_on: tuple[str, ...] = ()
    retry_never: tuple[str, ...] = ()
    timeout: Annotated[float, Meta(gt=0, le=MAX_SECONDS)] | None = None
    queue: _Name | None = None
    priority: _Priority | None = None


class StepNode(Delivery, frozen=True, tag="step", tag_field="op", omit_defaults=True):
    """One task, with those of its arguments that come after the first."""

    task: _Name
    given: Args = NO_ARGS


class ChainNode(msgspec.Struct, frozen=True, tag="chain", tag_field="op", omit_defaults=True):
    """One after the other, the value of each into the next."""

    steps: tuple[Node, ...]


class TogetherNode(msgspec.Struct, frozen=True, tag="together", tag_field="op"):
    """All of them on the same arguments, their values as one array."""

    branches: tuple[Node, ...]


class EachNode(msgspec.Struct, frozen=True, tag="each", tag_field="op", omit_defaults=True):
    """The body on each item of an array; with `chunk`, on arrays of so many items."""

    body: Node
    limit: _Count | None = None
    chunk: _Count | None = None


class RescueNode(msgspec.Struct, frozen=True, tag="rescue", tag_field="op"):
    """The handler on what the body failed with."""

    body: Node
    handler: Node


class FusedNode(Delivery, frozen=True, tag="fused", tag_field="op", omit_defaults=True):
    """The whole body as one step."""

    body: Node


class NamedNode(msgspec.Struct, frozen=True, tag="named", tag_field="op"):
    """A flow that goes by a name."""

    name: _Name
    body: Node


class KeepNode(msgspec.Struct, frozen=True, tag="keep", tag_field="op"):
    """The value that goes into the body, and the body's own, as one array."""

    body: Node


class TeeNode(msgspec.Struct, frozen=True, tag="tee", tag_field="op"):
    """The body, and then the value that went into it."""

    body: Node


Node: TypeAlias = (
    StepNode
    | ChainNode
    | TogetherNode
    | EachNode
    | RescueNode
    | FusedNode
    | NamedNode
    | KeepNode
    | TeeNode
)
Runnable: TypeAlias = StepNode | FusedNode
"""What is handed to a worker as one delivery."""


class Plan(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A call, ready to travel.

    Args:
        v: The version of the wire form.
        id: The id that its ref carries; empty in a schedule's, whose runs each get their own.
        flow: The flow's name, for people.
        root: What to run.
        args: The arguments of its first step.
        key: The idempotency key it was submitted under.
        deadline: When it expires, in seconds since 1970-01-01 UTC.
        queue: The queue of the steps that name none.
        priority: The priority of the steps that have none.
        trace: What observers have travel along, such as a W3C trace context.
    """

    v: int
    id: str = ""
    flow: str
    root: Node
    args: Args = NO_ARGS
    key: str | None = None
    deadline: Annotated[float, Meta(ge=0, le=LAST_SECOND)] | None = None
    queue: _Name | None = None
    priority: _Priority | None = None
    trace: dict[str, str] = {}

    def __hash__(self) -> int:
        return hash((self.id, self.flow, self.root, self.args))


class _Version(msgspec.Struct):
    v: int


class _Outline(msgspec.Struct):
    """Where the nodes are in a node, which takes a tenth of the time to read."""

    steps: tuple[_Outline, ...] = ()
    branches: tuple[_Outline, ...] = ()
    body: _Outline | None = None
    handler: _Outline | None = None


class _Outlined(msgspec.Struct):
    root: _Outline


_ENCODER = msgspec.json.Encoder()
_VERSION = msgspec.json.Decoder(_Version)
_OUTLINE = msgspec.json.Decoder(_Outlined)
_ITEMS = msgspec.json.Decoder(list[Raw])


@cache
def _decoder() -> msgspec.json.Decoder[Plan]:
    # Not at import: a client that only submits has no use for it, and it takes long to make.
    return msgspec.json.Decoder(Plan)


def encode(plan: Plan) -> bytes:
    """A plan as bytes."""
    return _ENCODER.encode(plan)


def decode(raw: bytes) -> Result[Plan, Fault]:
    """The plan that these bytes hold.

    Args:
        raw: Bytes from anywhere; nothing is assumed of them.

    Returns:
        The plan; `Unsupported` for a version that this release cannot read; `BadPayload` for what
        is no plan.
    """
    try:
        version = _VERSION.decode(raw).v
        if not VERSION <= version <= NEWEST:
            return Failure(
                Unsupported(
                    "",
                    f"a plan of version {version}, and this release of Onward reads up to "
                    f"{NEWEST}: upgrade the workers before the clients",
                )
            )
        if raw.count(b'"op"') > MAX_NODES:  # also in arguments, perhaps
            too_large = _too_many(_counted(_OUTLINE.decode(raw).root))
            if too_large is not None:
                return Failure(too_large)
        plan = _decoder().decode(raw)
    except RecursionError:
        return Failure(_too_deep())
    except (msgspec.MsgspecError, UnicodeError, ValueError) as problem:
        return Failure(BadPayload("", f"no plan: {problem}"))
    if not fits_trace(plan.trace):
        return Failure(BadPayload("", f"no plan: its trace has more than {MAX_TRACE} bytes"))
    return Success(plan) if _is_shallow(plan.root) else Failure(_too_deep())


def too_many_nodes(root: Node) -> BadPayload | None:
    """What is wrong with a plan of more nodes than are allowed; None where there are not."""
    return _too_many(sum(1 for _ in islice(walk(root), MAX_NODES + 1)))


def _too_many(count: int) -> BadPayload | None:
    if count <= MAX_NODES:
        return None
    message = f"no plan: it has more than {MAX_NODES:,} steps"
    return BadPayload("", f"{message}: make tasks of parts of it, or use each for many values")


def _counted(outline: _Outline) -> int:
    count, todo = 0, [outline]
    while todo and count <= MAX_NODES:
        node = todo.pop()
        count += 1
        todo += [*node.steps, *node.branches]
        todo += [part for part in (node.body, node.handler) if part is not None]
    return count


def version_of(root: Node) -> int:
    """The oldest version of the wire form in which a plan can be written."""
    is_new = any(isinstance(node, KeepNode | TeeNode) for node in walk(root))
    return NEWEST if is_new else VERSION


def beside(node: KeepNode | TeeNode) -> TogetherNode:
    """The fan-out that gives what went into a body, and the body's own value."""
    return TogetherNode((ChainNode(()), node.body))


def fits_trace(trace: dict[str, str]) -> bool:
    """Whether a trace is small enough to travel."""
    size = sum(len(name.encode()) + len(text.encode()) for name, text in trace.items())
    return size <= MAX_TRACE


def _too_deep() -> BadPayload:
    return BadPayload("", f"no plan: nested too deeply (flows nest at most {MAX_DEPTH} deep)")


def children(node: Node) -> tuple[Node, ...]:
    """The nodes right under this one, in the order in which they run."""
    match node:
        case StepNode():
            return ()
        case ChainNode(steps):
            return steps
        case TogetherNode(branches):
            return branches
        case RescueNode(body, handler):
            return (body, handler)
        case EachNode(body) | FusedNode(body=body) | NamedNode(body=body):
            return (body,)
        case KeepNode(body) | TeeNode(body):
            return (body,)


def walk(node: Node) -> Iterator[Node]:
    """A node and all that is under it, in the order in which they run."""
    todo = [node]
    while todo:
        node = todo.pop()
        yield node
        todo.extend(reversed(children(node)))


def with_steps(node: Node, change: Callable[[StepNode], StepNode]) -> Node:
    """The same node with each of its steps changed."""
    match node:
        case StepNode():
            return change(node)
        case ChainNode(steps):
            return replace(node, steps=tuple(with_steps(step, change) for step in steps))
        case TogetherNode(branches):
            return replace(node, branches=tuple(with_steps(each, change) for each in branches))
        case RescueNode(body, handler):
            return RescueNode(with_steps(body, change), with_steps(handler, change))
        case EachNode(body) | FusedNode(body=body) | NamedNode(body=body):
            return replace(node, body=with_steps(body, change))
        case KeepNode(body) | TeeNode(body):
            return replace(node, body=with_steps(body, change))


def _is_shallow(root: Node) -> bool:
    level = [root]
    for _ in range(_MAX_NODE_DEPTH):
        level = [child for node in level for child in children(node)]
        if not level:
            return True
    return False


class RunStep(Protocol):
    """Runs one step, retries and all, and gives its outcome; what a backend brings."""

    def __call__(self, step: Runnable, args: Args, where: str, /) -> Awaitable[Outcome]: ...


async def evaluate(
    node: Node, args: Args, run_step: RunStep, *, where: str = "", in_flight: int = IN_FLIGHT
) -> Outcome:
    """Runs a plan's nodes by a step-runner; all order, failure and fan-out is decided here.

    Args:
        node: What to run.
        args: Its arguments.
        run_step: Runs a single step. It alone has effects; given the same outcomes by it, the
            same steps are run in the same order.
        where: The place of the node within its plan.
        in_flight: How many items of an `each` run at a time. With 1, nothing runs side by side
            and no event loop is needed.

    Returns:
        The outcome of the whole.
    """
    if type(node) is StepNode or type(node) is FusedNode:
        return await run_step(node, args, where or "0")
    if type(node) is ChainNode:
        prefix = f"{where}." if where else ""
        for index, step in enumerate(node.steps):
            place = f"{prefix}{index}"
            if type(step) is StepNode:
                outcome = await run_step(step, args, place)
            else:
                outcome = await evaluate(step, args, run_step, where=place, in_flight=in_flight)
            if type(outcome) is not Value:
                return outcome
            args = Args((outcome.raw,))
        return _passed_on(args)
    if type(node) is NamedNode:
        return await evaluate(node.body, args, run_step, where=where, in_flight=in_flight)
    if type(node) is RescueNode:
        return await _rescue(node, args, run_step, where, in_flight)
    if type(node) is TogetherNode:
        jobs = [
            _job(branch, args, run_step, f"{where}[{index}]", in_flight)
            for index, branch in enumerate(node.branches)
        ]
        return gather(await _settle(jobs, min(in_flight, len(jobs))))
    if isinstance(node, FusedNode):  # what a backend made of it: also something to run as a whole
        return await run_step(node, args, where or "0")
    if isinstance(node, EachNode):
        return await _each(node, args, run_step, where, in_flight)
    assert isinstance(node, KeepNode | TeeNode)
    return await _beside(node, args, run_step, where, in_flight)


async def _rescue(
    node: RescueNode, args: Args, run_step: RunStep, where: str, in_flight: int
) -> Outcome:
    inner = f"{where}.try" if where else "try"
    outcome = await evaluate(node.body, args, run_step, where=inner, in_flight=in_flight)
    if isinstance(outcome, Value):
        return outcome
    inner = f"{where}.rescue" if where else "rescue"
    return await evaluate(
        node.handler, failed_with(outcome), run_step, where=inner, in_flight=in_flight
    )


def failed_with(outcome: Failed | Faulted) -> Args:
    """What a handler takes: what the steps before it failed with."""
    return Args((marked(outcome.raw),))


async def _beside(
    node: KeepNode | TeeNode, args: Args, run_step: RunStep, where: str, in_flight: int
) -> Outcome:
    taken = _passed_on(args)
    if not isinstance(taken, Value):
        return taken
    # At the place that it has in `beside`, which is how an engine may run it.
    outcome = await evaluate(node.body, args, run_step, where=f"{where}[1]", in_flight=in_flight)
    if isinstance(node, TeeNode):
        return taken if isinstance(outcome, Value) else outcome
    return gather([taken, outcome])


async def _each(
    node: EachNode, args: Args, run_step: RunStep, where: str, in_flight: int
) -> Outcome:
    items = split(args)
    if isinstance(items, Faulted):
        return items
    if node.chunk is not None:
        items = [join(items[at : at + node.chunk]) for at in range(0, len(items), node.chunk)]
    jobs = [
        _job(node.body, Args((item,)), run_step, f"{where}[{index}]", in_flight)
        for index, item in enumerate(items)
    ]
    outcomes = await _settle(jobs, min(in_flight, node.limit or in_flight, len(jobs)))
    if node.chunk is None:
        return gather(outcomes)
    gathered: list[Raw] = []
    for outcome in outcomes:
        if not isinstance(outcome, Value):
            return outcome
        part = split(Args((outcome.raw,)))
        if isinstance(part, Faulted):
            return part
        gathered.extend(part)
    return joined(gathered)


_Job: TypeAlias = Callable[[], Awaitable[Outcome]]


def _job(node: Node, args: Args, run_step: RunStep, where: str, in_flight: int) -> _Job:
    return lambda: evaluate(node, args, run_step, where=where, in_flight=in_flight)


async def _settle(jobs: Sequence[_Job], in_flight: int) -> list[Outcome]:
    """Every job's outcome, in the jobs' order; none is stopped because another one failed."""
    if in_flight <= 1:
        return [await job() for job in jobs]
    import asyncio  # not needed, and not paid for, by whoever only defines and submits

    outcomes: dict[int, Outcome] = {}
    pending = iter(enumerate(jobs))

    async def work() -> None:
        for index, job in pending:
            outcomes[index] = await job()

    async with asyncio.TaskGroup() as group:
        for _ in range(in_flight):
            group.create_task(work())
    return [outcomes[index] for index in range(len(jobs))]


def gather(outcomes: Sequence[Outcome]) -> Outcome:
    """The values of a fan-out as one array, or its first failure."""
    values: list[Raw] = []
    for outcome in outcomes:
        if not isinstance(outcome, Value):
            return outcome
        values.append(outcome.raw)
    return joined(values)


def joined(values: Sequence[Raw]) -> Outcome:
    """Values as one array; `TooLarge` where they come to too much."""
    # A plan of a few bytes can double a value again and again.
    size = sum(memoryview(value).nbytes for value in values)
    if size > MAX_JOINED:
        message = f"the values of a fan-out come to {size} bytes together"
        return faulted(TooLarge("", message, size=size, limit=MAX_JOINED))
    return Value(join(values))


def join(values: Sequence[Raw]) -> Raw:
    """Values as one array."""
    return Raw(b"[" + b",".join(map(bytes, values)) + b"]")


def split(args: Args) -> list[Raw] | Faulted:
    """The items of an array that is the only argument."""
    if len(args.positional) == 1 and not args.keyword:
        try:
            # A view would keep the whole array alive for as long as one item is.
            return [item.copy() for item in _ITEMS.decode(args.positional[0])]
        except (msgspec.MsgspecError, ValueError, RecursionError) as problem:
            return faulted(BadPayload("each", f"it takes a list: {problem}"))
    return faulted(BadPayload("each", "it takes exactly one argument, a list"))


def _passed_on(args: Args) -> Outcome:
    if len(args.positional) == 1 and not args.keyword:
        return Value(args.positional[0])
    return faulted(BadPayload("identity", "it takes exactly one argument"))
