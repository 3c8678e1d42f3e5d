"""Typed flows: what composes with `>>`, a flow applied to its arguments, and a submitted call."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import (
    TYPE_CHECKING,
    Any,
    Generic,
    Never,
    ParamSpec,
    Protocol,
    Self,
    TypeAlias,
    Unpack,
    cast,
)

from returns.result import Result
from typing_extensions import TypeVar

from onward import plan
from onward.codec import Refused, Tagged
from onward.fault import BadPayload, Fault
from onward.flows import fits, hints, nodes, render, values
from onward.flows.lower import lower
from onward.flows.options import changes_of
from onward.outcome import Outcome
from onward.plan import Args
from onward.policy import PolicyOptions

Params = ParamSpec("Params")
Taken = TypeVar("Taken")
Next = TypeVar("Next")
NextError = TypeVar("NextError")
Taken_contra = TypeVar("Taken_contra", contravariant=True)
Value_co = TypeVar("Value_co", covariant=True)
Error_co = TypeVar("Error_co", covariant=True, default=Never)
Returned_co = TypeVar("Returned_co", covariant=True, default=object)


class Step(Protocol[Taken_contra, Value_co, Error_co]):
    """Anything that takes exactly one value: what may stand to the right of `>>`."""

    @property
    def depth(self) -> int: ...  # which tells a flow from a plain function that gives a call

    def __call__(self, value: Taken_contra, /) -> Call[Value_co, Error_co]:
        """The step applied to its one value."""
        ...


@nodes.sealed
class Flow(nodes.Node, Generic[Params, Value_co, Error_co]):
    """A description of work: its parameters, its value, and its domain errors (Never if none).

    Flows are frozen values. Calling one runs nothing: it gives a `Call`, which interpreters take.
    """

    __slots__ = ()

    if not TYPE_CHECKING:  # a checker that sees these takes them for what there is

        def __getattr__(self, name: str) -> object:
            said = f"{type(self).__name__} has no {name!r}"
            if name in hints.METHODS:
                said = f"{said}: write {hints.METHODS[name].format(flow=self.name)}"
            raise AttributeError(said)

        def __or__(self, other: object) -> object:
            raise TypeError(hints.piped(self.name, getattr(other, "name", "...")))

    def __repr__(self) -> str:
        return render.code_of(self)

    def __call__(self, *args: Params.args, **kwargs: Params.kwargs) -> Call[Value_co, Error_co]:
        """The flow applied to its arguments: a value, inert until an interpreter takes it.

        Raises:
            TypeError: If it cannot be called with such arguments, as a plain function would.
        """
        try:
            return Call(self, values.encode(self, args, kwargs))
        except Refused as refused:
            return Call(self, BadPayload(self.name, refused.reason, refused.path))
        except TypeError as problem:
            raise TypeError(f"{self.name}: {problem}") from None

    def __rshift__(
        self, other: Step[Value_co, Next, NextError], /
    ) -> Flow[Params, Next, Error_co | NextError]:
        """This flow, and then the other one with its value as first argument.

        Raises:
            TypeError: If the other one is no flow, takes more than one value, or takes a type that
                this one's value cannot have.
        """
        then = as_step(other)
        if isinstance(then, Identity):
            return cast(Flow[Params, Next, Error_co | NextError], self)
        fits.check_chain(self, then)
        return Chain(self, then)

    def rescue(
        self, handler: Step[Error_co | Fault, Value_co, NextError], /
    ) -> Flow[Params, Value_co, NextError]:
        """This flow, and where it fails, the handler with what it failed with.

        Args:
            handler: Takes the domain errors and the faults of this flow, and gives the same kind
                of value.

        Raises:
            TypeError: If the handler does not take every fault and every error of this flow, or
                gives another type.

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
        takes = values.first_codec(step)
        if not isinstance(takes, Tagged) or not takes.takes_every_fault:
            raise TypeError(
                f"{step.name} cannot handle what {self.name} fails with, which may be any Fault: "
                "annotate what it takes as `error: Fault`, or `error: MyError | Fault`"
            )
        fits.check_handler(self, step)
        return Rescue(self, step)

    def named(self, name: str, /) -> Flow[Params, Value_co, Error_co]:
        """The same flow under a name: in a Catalog, in an engine's UI, in faults.

        Args:
            name: Up to 200 printable ASCII characters, without spaces.

        Raises:
            ValueError: If the name is unfit, or two different tasks in the flow share a name.
        """
        nodes.tasks_of(self)
        return Named(self, name)

    def with_(self, **options: Unpack[PolicyOptions]) -> Self:
        """The same flow with another policy for each of its tasks; what is not given stays.

        Args:
            options: The fields of `Policy` to change: `retry`, `timeout` and so on. None brings
                back a field's default.

        Raises:
            TypeError, ValueError: If an option does not exist, or its value is out of bounds.
        """
        return cast(Self, nodes.with_policy(self, changes_of("with_", options)))

    def ref(self, text: str, /) -> Ref[Value_co, Error_co]:
        """The ref that `str(ref)` was the text of, typed again by its flow."""
        return Ref(text, self)

    @property
    def name(self) -> str:
        """What people know it by."""
        return render.name_of(self)

    @property
    def node(self) -> plan.Node:
        """The flow as it travels."""
        return lower(self)

    @property
    def tasks(self) -> Mapping[str, AnyTask]:
        """Its tasks by their names; raises ValueError where two different ones share a name."""
        try:
            known = self._tasks
        except AttributeError:
            known = MappingProxyType(cast("dict[str, AnyTask]", nodes.tasks_of(self)))
            object.__setattr__(self, "_tasks", known)
        return known

    def read(self, outcome: Outcome) -> Result[Value_co, Error_co | Fault]:
        """An outcome of this flow as the value, the domain error or the fault that it holds."""
        return values.read(self, outcome, self.name, self.tasks)


AnyFlow: TypeAlias = Flow[..., Any, Any]


class _FunctionDoc:
    """The docstring of a task's function; on the class, the class's own."""

    def __init__(self, own: str | None) -> None:
        self._own = own

    def __get__(self, task: AnyTask | None, kind: type) -> str | None:
        return self._own if task is None else task.fn.__doc__


class Task(  # pyright: ignore[reportIncompatibleVariableOverride]  # a field, read as a property
    Flow[Params, Value_co, Error_co],
    nodes.Task,
    Generic[Params, Value_co, Error_co, Returned_co],
):
    """A named function with a policy; made by `task`.

    Its fourth type parameter is what the plain function returns: a coroutine, a Result, or a value.

    Args:
        name: What workers know it by.
        fn: The plain function.
        policy: How its steps are delivered.
        declared: The policy that it had before `with_` changed it.
    """

    __slots__ = ()
    if TYPE_CHECKING:
        fn: Callable[Params, Returned_co]
    else:
        __doc__ = _FunctionDoc(__doc__)
        name = nodes.Task.name

    @property
    def __name__(self) -> str:
        return self.fn.__name__

    @property
    def __wrapped__(self) -> Callable[Params, Returned_co]:
        # For inspect.signature, help() and their like.
        return self.fn

    def __reduce__(self) -> tuple[Any, ...]:
        return nodes.found, nodes.place_of(self)


AnyTask: TypeAlias = Task[..., Any, Any]


class Identity(Flow[[Any], Any, Never], nodes.Identity):
    """The flow that gives what it takes. Typed as a step that fits everywhere."""

    __slots__ = ()

    def __call__(self, value: Taken, /) -> Call[Taken]:
        return super().__call__(value)

    def __rshift__(self, other: Step[Taken, Next, NextError], /) -> Flow[[Taken], Next, NextError]:
        return cast(Flow[[Taken], Next, NextError], as_step(other))


class Given(Flow[Params, Value_co, Error_co], nodes.Given):
    """A flow with all of its arguments but the first."""

    __slots__ = ()

    # By values and not by bytes, for 1 and 1.0 may be the same float, and sets have no order.

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Given):
            return NotImplemented
        mine, its = (values.decode(each.flow, each.rest, 1) for each in (self, other))
        return self.flow == other.flow and mine == its

    def __hash__(self) -> int:
        return hash((Given, self.flow, len(self.rest.positional), *sorted(self.rest.keyword)))


class Chain(Flow[Params, Value_co, Error_co], nodes.Chain):
    """One flow after another."""

    __slots__ = ()


class Together(Flow[Params, Value_co, Error_co], nodes.Together):
    """Several flows on the same value."""

    __slots__ = ()


class Each(Flow[Params, Value_co, Error_co], nodes.Each):
    """A flow on every item of a list."""

    __slots__ = ()


class Rescue(Flow[Params, Value_co, Error_co], nodes.Rescue):
    """A flow, and what to do with its failure."""

    __slots__ = ()


class Fused(Flow[Params, Value_co, Error_co], nodes.Fused):
    """A flow that is delivered and retried as one step."""

    __slots__ = ()


class Named(Flow[Params, Value_co, Error_co], nodes.Named):
    """A flow that goes by a name."""

    __slots__ = ()
    if TYPE_CHECKING:
        body: Flow[Params, Value_co, Error_co]


class Keep(Flow[Params, Value_co, Error_co], nodes.Keep):
    """A flow whose value comes beside the one that went into it."""

    __slots__ = ()


class Tee(Flow[Params, Value_co, Error_co], nodes.Tee):
    """A flow that is run, and then the value that went into it."""

    __slots__ = ()


@nodes.sealed
@dataclass(frozen=True, slots=True, weakref_slot=True, repr=False)
class Call(Generic[Value_co, Error_co]):
    """A flow with its arguments: a whole program, inert until an interpreter takes it.

    Args:
        flow: What is to run.
        args: Its arguments, encoded when the call was made, so that nothing can change them later;
            or what is wrong with them.
    """

    flow: Flow[..., Value_co, Error_co]
    args: Args | BadPayload

    def __repr__(self) -> str:
        flow = render.enclosed(self.flow)
        if isinstance(self.args, BadPayload):
            return f"{flow}(<{self.args.message} at {self.args.path}>)"
        return f"{flow}({render.show(self.flow, self.args)})"


@nodes.sealed
@dataclass(frozen=True, slots=True, weakref_slot=True)
class Ref(Generic[Value_co, Error_co]):
    """A submitted call's id, as a value that another process can take up again.

    `str(ref)` is its text; `flow.ref(text)` makes it a typed ref again.

    Args:
        id: The id on the backend.
        flow: The flow whose outcome it names.
    """

    id: str
    flow: Flow[..., Value_co, Error_co]

    def __str__(self) -> str:
        return self.id


def as_flow(value: object) -> AnyFlow:
    """What stands where a flow must, or TypeError."""
    if isinstance(value, Flow):
        return cast(AnyFlow, value)
    hint = "put @task on it" if callable(value) else "only tasks and flows compose"
    raise TypeError(f"{getattr(value, '__qualname__', None) or repr(value)} is no flow: {hint}")


def as_step(value: object) -> AnyFlow:
    """What stands where a step must, as a flow that takes one value; else TypeError."""
    flow = as_flow(value)
    misfit = values.misfit(flow)
    if misfit is not None:
        cure = f"bring its other arguments with given({flow.name}, ...)"
        if misfit == "too many positional arguments":
            cure = "a step takes what the one before it gives, so let it take one argument"
        raise TypeError(f"{flow.name} cannot be called with one value alone ({misfit}): {cure}")
    return flow
