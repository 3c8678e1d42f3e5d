"""Flows as values: tasks, what is composed of them, and a flow applied to its arguments."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import (
    TYPE_CHECKING,
    Any,
    ClassVar,
    Generic,
    Never,
    ParamSpec,
    Protocol,
    Self,
    TypeAlias,
    cast,
)

from msgspec import UNSET, Raw, Struct, UnsetType
from msgspec.structs import replace
from returns.result import Failure, Result, Success
from typing_extensions import TypeVar

from onward import plan
from onward.codec import TAG, Codec, Plain, Refused, Tagged, element
from onward.codec import codec as codec_of
from onward.fault import BadPayload, Fault
from onward.outcome import Failed, Outcome, Value
from onward.plan import MAX_DEPTH, NO_ARGS, Args, Node
from onward.policy import ONCE, Policy, Retry, check_name, check_reserved, type_name
from onward.signature import Signature, place

P = ParamSpec("P")
A = TypeVar("A")
R = TypeVar("R")
E = TypeVar("E")
B = TypeVar("B")
E2 = TypeVar("E2")
A_contra = TypeVar("A_contra", contravariant=True)
R_co = TypeVar("R_co", covariant=True)
E_co = TypeVar("E_co", covariant=True, default=Never)
T_co = TypeVar("T_co", covariant=True, default=object)

Before: TypeAlias = Callable[[], "Reader"]
"""How what went into a flow is read; only what passes its value on ever asks."""
_JSON = Plain(Any)


class Reader(Struct, frozen=True):
    """How a flow's value is read: the whole of it, or as a list the item at an index."""

    read: Callable[[Raw], Any]
    item: Callable[[int], Reader]


def reader_of(codec: Codec) -> Reader:
    """The reader of a value that a codec wrote."""
    return Reader(codec.decode, lambda index: reader_of(codec_of(element(codec.annotation, index))))


class Step(Protocol[A_contra, R_co, E_co]):
    """Anything that takes exactly one value: what may stand to the right of `>>`."""

    @property
    def depth(self) -> int: ...  # which tells a flow from a plain function that gives a call

    def __call__(self, value: A_contra, /) -> Call[R_co, E_co]:
        """The step applied to its one value."""
        ...


class Flow(Generic[P, R_co, E_co]):
    """A description of work: parameters P, a value R, and domain errors E (Never when it has none).

    Flows are frozen values. Calling one runs nothing: it gives a `Call`, which interpreters take.
    """

    __slots__ = ("_node", "_tasks", "depth")
    __match_args__: ClassVar[tuple[str, ...]] = ()

    depth: int
    """How deep its parts nest; a chain nests nothing."""

    # Dataclasses would do for most of what follows, but each of them takes longer to make, at
    # import, than all of these by hand.

    def _set(self, **fields: object) -> None:
        """Fills a new flow; after that it is frozen."""
        for name, value in fields.items():
            object.__setattr__(self, name, value)

    if not TYPE_CHECKING:  # a checker that sees these lets any name be set

        def __setattr__(self, name: str, value: object) -> None:
            raise AttributeError(f"a flow is frozen: cannot set {name!r} of {self!r}")

        def __delattr__(self, name: str) -> None:
            raise AttributeError(f"a flow is frozen: cannot delete {name!r} of {self!r}")

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in self.__match_args__)

    def __hash__(self) -> int:
        return hash((type(self), *(getattr(self, name) for name in self.__match_args__)))

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Call[R_co, E_co]:
        """The flow applied to its arguments: a value, inert until an interpreter takes it.

        Raises:
            TypeError: If it cannot be called with such arguments, as a plain function would.
        """
        try:
            return Call(self, self._encode(args, kwargs))
        except Refused as refused:
            return Call(self, BadPayload(self.name, refused.reason, refused.path))
        except TypeError as problem:
            raise TypeError(f"{self.name}: {problem}") from None

    def __rshift__(self, other: Step[R_co, B, E2], /) -> Flow[P, B, E_co | E2]:
        """This flow, and then the other one with its value as first argument."""
        then = as_step(other)
        if isinstance(then, Identity):
            return cast(Flow[P, B, E_co | E2], self)
        return Chain(self, then)

    def rescue(self, handler: Step[E_co | Fault, R_co, E2], /) -> Flow[P, R_co, E2]:
        """This flow, and where it fails, the handler with what it failed with.

        Args:
            handler: Takes the domain errors and the faults of this flow, and gives the same kind
                of value.

        Raises:
            TypeError: If the handler does not take every fault.

        Example:
            >>> from onward import Fault, local, run, task
            >>> @task
            ... def risky(n: int) -> int:
            ...     return 10 // n
            >>> @task
            ... def instead(error: Fault) -> int:
            ...     return -1
            >>> run(risky.rescue(instead)(0), on=local())
            <Success: -1>
        """
        step = as_step(handler)
        takes = step._codec()
        if not isinstance(takes, Tagged) or not takes.takes_every_fault:
            raise TypeError(
                f"{step.name} cannot handle what {self.name} fails with, which may be any Fault: "
                "annotate what it takes as `error: Fault`, or `error: MyError | Fault`"
            )
        return Rescue(self, step)

    def named(self, name: str, /) -> Flow[P, R_co, E_co]:
        """The same flow under a name: in a Catalog, in an engine's UI, in faults.

        Args:
            name: Up to 200 printable ASCII characters, without spaces.

        Raises:
            ValueError: If the name is unfit, or two different tasks in the flow share a name.
        """
        check_name("flow", name)
        tasks_of(self)
        return Named(self, name)

    def with_(
        self,
        *,
        retry: Retry | UnsetType | None = UNSET,
        timeout: float | UnsetType | None = UNSET,
        queue: str | UnsetType | None = UNSET,
        priority: int | UnsetType | None = UNSET,
    ) -> Self:
        """The same flow with another policy for each of its tasks; what is not given stays.

        Args:
            retry: How often a step is tried; None for once.
            timeout: The longest that one attempt may take, in seconds; None for no limit.
            queue: The queue that its steps wait in; None for the backend's own.
            priority: From 0 (least) to 9 (most urgent); None for the backend's own.

        Raises:
            TypeError, ValueError: If an argument makes no sense.
        """
        changes = {
            name: value
            for name, value in (
                ("retry", ONCE if retry is None else retry),
                ("timeout", timeout),
                ("queue", queue),
                ("priority", priority),
            )
            if value is not UNSET
        }
        return cast(Self, self._with_policy(changes))

    def ref(self, text: str, /) -> Ref[R_co, E_co]:
        """The ref that `str(ref)` was the text of, typed again by its flow."""
        return Ref(text, self)

    @property
    def name(self) -> str:
        """What people know it by."""
        text = repr(self)
        return text if len(text) <= 100 else f"{text[:97]}..."

    @property
    def node(self) -> Node:
        """The flow as it travels."""
        try:
            return self._node
        except AttributeError:
            object.__setattr__(self, "_node", self._compile(NO_ARGS))
            return self._node

    _node: Node

    @property
    def tasks(self) -> Mapping[str, Task[..., Any, Any]]:
        """Its tasks by their names; raises ValueError where two different ones share a name."""
        try:
            return self._tasks
        except AttributeError:
            object.__setattr__(self, "_tasks", tasks_of(self))
            return self._tasks

    _tasks: Mapping[str, Task[..., Any, Any]]

    def arguments(self, args: Args, skip: int = 0) -> tuple[list[Any], dict[str, Any]]:
        """Encoded arguments, without the first `skip`, as the values that they were made of."""
        return self._decode(args, skip)

    def show(self, args: Args, skip: int = 0) -> str:
        """Encoded arguments as the text of the values that they were made of."""
        positional, keyword = self.arguments(args, skip)
        named = [f"{name}={value!r}" for name, value in keyword.items()]
        return ", ".join([*map(repr, positional), *named])

    def parts(self) -> tuple[AnyFlow, ...]:
        """The flows it is composed of, in the order in which they run."""
        return ()

    def read(self, outcome: Outcome) -> Result[R_co, E_co | Fault]:
        """An outcome of this flow as the value, the domain error or the fault that it holds."""
        try:
            if isinstance(outcome, Value):
                return Success(self._reader(self._takes).read(outcome.raw))
            if isinstance(outcome, Failed):
                return Failure(self._read_error(outcome.raw))
        except Refused as refused:
            return Failure(BadPayload(self.name, refused.reason, refused.path))
        except RecursionError:
            return Failure(BadPayload(self.name, "its value nests too deeply to be read"))
        return Failure(outcome.fault)

    def _read_error(self, raw: Raw) -> E_co:
        name = TAG.decode(raw).task
        task = self.tasks.get(name)
        if task is not None and task.signature.errors is not None:
            return cast(E_co, task.signature.errors.decode(raw))
        raise Refused(f"it failed in task {name!r}, which this version of the flow has not")

    # What follows is what each kind of flow answers for itself. Most have one head: the part that
    # takes the arguments.

    @property
    def _head(self) -> AnyFlow:
        return self.parts()[0]

    def _compile(self, given: Args) -> Node:
        raise NotImplementedError

    def _reader(self, before: Before) -> Reader:
        """How its value is read."""
        raise NotImplementedError

    def _codec(self) -> Codec | None:
        """What its first argument is written by, where that is one codec."""
        return self._head._codec()

    def _passes_on(self) -> bool:
        """Whether it asks how what went in was read, for it gives that or some of it on."""
        return self._head._passes_on()

    def _takes(self) -> Reader:
        """How its first argument is read."""
        return self._head._takes()

    def _encode(self, args: Sequence[Any], kwargs: Mapping[str, Any], skip: int = 0) -> Args:
        return self._head._encode(args, kwargs, skip)

    def _encode_first(self, value: object) -> Raw:
        return self._head._encode_first(value)

    def _misfit(self) -> str | None:
        return self._head._misfit()

    def _decode(self, args: Args, skip: int = 0) -> tuple[list[Any], dict[str, Any]]:
        return self._head._decode(args, skip)

    def _with_policy(self, changes: Mapping[str, Any]) -> AnyFlow:
        raise NotImplementedError


AnyFlow: TypeAlias = Flow[..., Any, Any]


class Task(Flow[P, R_co, E_co], Generic[P, R_co, E_co, T_co]):
    """A named function with a policy; made by `task`.

    Its fourth type parameter is what the plain function returns: a coroutine, a Result, or R.

    Args:
        name: What workers know it by.
        fn: The plain function.
        policy: How its steps are delivered.
        signature: The codecs of what it takes and gives.
        declared: The policy that it was made with.
    """

    __slots__ = ("_name", "declared", "fn", "policy", "signature")
    __match_args__ = ("name", "fn", "policy")

    fn: Callable[P, T_co]
    policy: Policy
    signature: Signature
    declared: Policy

    def __init__(
        self,
        name: str,
        fn: Callable[P, T_co],
        policy: Policy,
        signature: Signature,
        declared: Policy,
    ) -> None:
        check_name("task", name)
        self._set(_name=name, fn=fn, policy=policy, signature=signature, declared=declared, depth=1)

    _name: str

    @property
    def name(self) -> str:
        """What workers know it by."""
        return self._name

    def __repr__(self) -> str:
        changed = [
            f"{name}={getattr(self.policy, name)!r}"
            for name in ("retry", "timeout", "queue", "priority")
            if getattr(self.policy, name) != getattr(self.declared, name)
        ]
        return f"{self.name}.with_({', '.join(changed)})" if changed else self.name

    def _compile(self, given: Args) -> Node:
        return plan.StepNode(task=self.name, given=given, **delivery(self.policy))

    def _reader(self, before: Before) -> Reader:
        return reader_of(self.signature.returns)

    def _codec(self) -> Codec | None:
        return self.signature.first

    def _passes_on(self) -> bool:
        return False

    def _takes(self) -> Reader:
        return reader_of(self.signature.first)

    def _encode(self, args: Sequence[Any], kwargs: Mapping[str, Any], skip: int = 0) -> Args:
        return self.signature.encode(args, kwargs, skip=skip)

    def _encode_first(self, value: object) -> Raw:
        return self.signature.encode_first(value)

    def _misfit(self) -> str | None:
        return self.signature.misfit

    def _decode(self, args: Args, skip: int = 0) -> tuple[list[Any], dict[str, Any]]:
        return self.signature.decode(args, skip=skip)

    def _with_policy(self, changes: Mapping[str, Any]) -> AnyFlow:
        policy = replace(self.policy, **changes)
        return Task(self.name, self.fn, policy, self.signature, self.declared)


class Single(Flow[P, R_co, E_co]):
    """A flow that takes exactly one value."""

    __slots__ = ()

    def _encode(self, args: Sequence[Any], kwargs: Mapping[str, Any], skip: int = 0) -> Args:
        if kwargs or len(args) + skip != 1:
            raise TypeError(f"it takes exactly one value, by position: {self!r}(value)")
        return Args(tuple(map(self._encode_first, args)))

    def _misfit(self) -> str | None:
        return None

    def _decode(self, args: Args, skip: int = 0) -> tuple[list[Any], dict[str, Any]]:
        return list(map(self._takes().read, args.positional)), {}


class Identity(Single[[Any], Any, Never]):
    """The flow that gives what it takes. Typed as a step that fits everywhere."""

    __slots__ = ()

    def __init__(self) -> None:
        self._set(depth=1)

    def __call__(self, value: A, /) -> Call[A]:
        return super().__call__(value)

    def __rshift__(self, other: Step[A, B, E2], /) -> Flow[[A], B, E2]:
        return cast(Flow[[A], B, E2], as_step(other))

    def __repr__(self) -> str:
        return "identity"

    def _compile(self, given: Args) -> Node:
        return plan.ChainNode(())

    def _reader(self, before: Before) -> Reader:
        return before()

    def _codec(self) -> Codec | None:
        return None

    def _passes_on(self) -> bool:
        return True

    def _takes(self) -> Reader:
        return reader_of(_JSON)

    def _encode_first(self, value: object) -> Raw:
        return Raw(_JSON.encode(value))

    def _with_policy(self, changes: Mapping[str, Any]) -> AnyFlow:
        return self


class Chain(Flow[P, R_co, E_co]):
    """One flow after another. However the two were grouped, equal steps make equal chains."""

    # Pairs, so that building a chain of n steps takes n pairs and not n tuples of up to n; the flat
    # form is made when it is first asked for.
    __slots__ = ("_first", "_steps", "_then")
    __match_args__ = ("steps",)

    def __init__(self, first: AnyFlow, then: AnyFlow) -> None:
        self._set(_first=first, _then=then, depth=max(first.depth, then.depth))

    _first: AnyFlow
    _then: AnyFlow
    _steps: tuple[AnyFlow, ...]

    @property
    def steps(self) -> tuple[AnyFlow, ...]:
        """Its steps, none of them a chain."""
        try:
            return self._steps
        except AttributeError:
            flat: list[AnyFlow] = []
            todo: list[AnyFlow] = [self]
            while todo:
                flow = todo.pop()
                if isinstance(flow, Chain):
                    todo += (flow._then, flow._first)
                else:
                    flat.append(flow)
            object.__setattr__(self, "_steps", tuple(flat))
            return self._steps

    def parts(self) -> tuple[AnyFlow, ...]:
        return self.steps

    @property
    def _head(self) -> AnyFlow:
        # Not by way of the steps, which every chain on the way to a long one would then keep.
        head = self._first
        while isinstance(head, Chain):
            head = head._first
        return head

    def __repr__(self) -> str:
        return " >> ".join(map(repr, self.steps))

    @property
    def name(self) -> str:
        text = ""
        for step in self.steps:
            text += f" >> {step.name}" if text else step.name
            if len(text) > 100:
                return f"{text[:97]}..."
        return text

    def _compile(self, given: Args) -> Node:
        first, *rest = self.steps
        return plan.ChainNode((first._compile(given), *(step.node for step in rest)))

    def _reader(self, before: Before) -> Reader:
        asking: list[AnyFlow] = []
        for step in reversed(self.steps):
            asking.append(step)
            if not step._passes_on():
                break
        for step in reversed(asking):
            reader = step._reader(before)
            before = partial(_the, reader)
        return before()

    def _passes_on(self) -> bool:
        return all(step._passes_on() for step in self.steps)

    def _with_policy(self, changes: Mapping[str, Any]) -> AnyFlow:
        first, *rest = (step._with_policy(changes) for step in self.steps)
        chain: AnyFlow = first
        for step in rest:
            chain = Chain(chain, step)
        return chain


class Rescue(Flow[P, R_co, E_co]):
    """A flow, and what to do with its failure."""

    __slots__ = __match_args__ = ("body", "handler")

    body: AnyFlow
    handler: AnyFlow

    def __init__(self, body: AnyFlow, handler: AnyFlow) -> None:
        self._set(body=body, handler=handler, depth=depth_over(body, handler))

    def parts(self) -> tuple[AnyFlow, ...]:
        return (self.body, self.handler)

    def __repr__(self) -> str:
        return f"{enclosed(self.body)}.rescue({self.handler!r})"

    def _compile(self, given: Args) -> Node:
        return plan.RescueNode(self.body._compile(given), self.handler.node)

    def _reader(self, before: Before) -> Reader:
        return self.body._reader(before)

    def _with_policy(self, changes: Mapping[str, Any]) -> AnyFlow:
        return Rescue(self.body._with_policy(changes), self.handler._with_policy(changes))


class Named(Flow[P, R_co, E_co]):
    """A flow that goes by a name."""

    __slots__ = __match_args__ = ("body", "label")

    body: AnyFlow
    label: str

    def __init__(self, body: AnyFlow, label: str) -> None:
        self._set(body=body, label=label, depth=depth_over(body))

    @property
    def name(self) -> str:
        return self.label

    def parts(self) -> tuple[AnyFlow, ...]:
        return (self.body,)

    def __repr__(self) -> str:
        return f"{enclosed(self.body)}.named({self.label!r})"

    def _compile(self, given: Args) -> Node:
        return plan.NamedNode(self.label, self.body._compile(given))

    def _reader(self, before: Before) -> Reader:
        return self.body._reader(before)

    def _with_policy(self, changes: Mapping[str, Any]) -> AnyFlow:
        return Named(self.body._with_policy(changes), self.label)


class Call(Struct, Generic[R_co, E_co], frozen=True):
    """A flow with its arguments: a whole program, inert until an interpreter takes it.

    Args:
        flow: What is to run.
        args: Its arguments, encoded when the call was made, so that nothing can change them later;
            or what is wrong with them.
    """

    flow: Flow[..., R_co, E_co]
    args: Args | BadPayload

    def __repr__(self) -> str:
        if isinstance(self.args, BadPayload):
            return f"{enclosed(self.flow)}(<{self.args.message} at {self.args.path}>)"
        return f"{enclosed(self.flow)}({self.flow.show(self.args)})"


class Ref(Struct, Generic[R_co, E_co], frozen=True):
    """A submitted call's id, as a value that another process can take up again.

    `str(ref)` is its text; `flow.ref(text)` makes it a typed ref again.

    Args:
        id: The id on the backend.
        flow: The flow whose outcome it names.
    """

    id: str
    flow: Flow[..., R_co, E_co]

    def __str__(self) -> str:
        return self.id


def _the(reader: Reader) -> Reader:
    return reader


def as_flow(value: object) -> AnyFlow:
    """What stands where a flow must, or TypeError."""
    if isinstance(value, Flow):
        return cast(AnyFlow, value)
    hint = "put @task on it" if callable(value) else "only tasks and flows compose"
    raise TypeError(f"{getattr(value, '__qualname__', None) or repr(value)} is no flow: {hint}")


def as_step(value: object) -> AnyFlow:
    """What stands where a step must, as a flow that takes one value; else TypeError."""
    flow = as_flow(value)
    misfit = flow._misfit()
    if misfit is not None:
        raise TypeError(
            f"{flow.name} cannot be called with one value alone ({misfit}): bring its other "
            f"arguments with given({flow.name}, ...)"
        )
    return flow


def depth_over(*parts: AnyFlow) -> int:
    """How deep a flow of these parts nests; raises ValueError where that is too deep to travel."""
    depth = 1 + max(part.depth for part in parts)
    if depth > MAX_DEPTH:
        raise ValueError(
            f"flows nest at most {MAX_DEPTH} deep: make a task of the inner ones, or chain them"
        )
    return depth


def enclosed(flow: AnyFlow) -> str:
    """The flow's text, in brackets where what follows would else be taken for its last step's."""
    return f"({flow!r})" if isinstance(flow, Chain) else repr(flow)


def walk(flow: AnyFlow) -> Iterator[AnyFlow]:
    """A flow and all that it is composed of, in the order in which it runs."""
    todo: list[AnyFlow] = [flow]
    while todo:
        flow = todo.pop()
        yield flow
        todo.extend(reversed(flow.parts()))


def tasks_of(flow: AnyFlow) -> dict[str, Task[..., Any, Any]]:
    """The tasks of a flow by their names.

    Raises:
        ValueError: If two different ones share a name, or a name is reserved.
    """
    found: dict[str, Task[..., Any, Any]] = {}
    for each in walk(flow):
        if isinstance(each, Task | Named):
            check_reserved(each.name)
        if isinstance(each, Task):
            refuse_namesakes(found.setdefault(each.name, each), each)
    return found


def refuse_namesakes(one: Task[..., Any, Any], other: Task[..., Any, Any]) -> None:
    """Raises ValueError where two tasks of one name are not the same function."""
    if one.fn is not other.fn:
        raise ValueError(
            f"two tasks are named {one.name!r}, one at {place(one.fn)} and one at "
            f"{place(other.fn)}: give one of them another name with @task(name=...)"
        )


def delivery(policy: Policy) -> dict[str, Any]:
    """A policy as the fields that a step has on the wire."""
    retry = policy.retry
    if retry.attempts == 1:
        fields: dict[str, Any] = {}
    else:
        fields = {
            "attempts": retry.attempts,
            "backoff": retry.backoff,
            "retry_on": tuple(map(type_name, retry.on)),
            "retry_never": tuple(map(type_name, retry.never)),
        }
    timeout = None if policy.timeout is None else float(policy.timeout)
    return {
        **fields,
        "timeout": timeout,
        "queue": policy.queue,
        "priority": policy.priority,
    }
