"""Typed flows, tasks and chains; and `Call` and `Ref`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import (
    TYPE_CHECKING,
    Any,
    Generic,
    Literal,
    Never,
    ParamSpec,
    Protocol,
    Self,
    TypeAlias,
    Unpack,
    cast,
    overload,
)

from returns.result import Result
from typing_extensions import TypeVar

from onward import plan
from onward.codec import Refused
from onward.fault import BadPayload, Fault
from onward.flows import fits, functions, names, node, nodes, render, values
from onward.flows.frozen import Compared, immutable
from onward.flows.lower import lower
from onward.flows.options import changes_of, with_policy
from onward.outcome import Outcome
from onward.policy import PolicyOptions

Params = ParamSpec("Params")
Taken = TypeVar("Taken")
Next = TypeVar("Next")
NextError = TypeVar("NextError")
Value = TypeVar("Value")
Error = TypeVar("Error")
Taken_contra = TypeVar("Taken_contra", contravariant=True)
Value_co = TypeVar("Value_co", covariant=True)
Error_co = TypeVar("Error_co", covariant=True, default=Never)
Returned_co = TypeVar("Returned_co", covariant=True, default=object)


class Step(Protocol[Taken_contra, Value_co, Error_co]):
    """The type of anything that takes exactly one value and may follow `>>`.

    Tasks and flows of one argument are steps. `flow(step)` makes a `Flow` of a step.

    Example:
        >>> from onward import Flow, Step, flow, local, run, task
        >>> @task
        ... def double(n: int) -> int:
        ...     return 2 * n
        >>> def twice(step: Step[int, int]) -> Flow[[int], int]:
        ...     return flow(step) >> step
        >>> run(twice(double)(1), on=local())
        <Success: 4>
    """

    @property
    def depth(self) -> int: ...  # tells a flow from a plain function that returns a call

    def __call__(self, value: Taken_contra, /) -> Call[Value_co, Error_co]:
        """Applies the step to its one value."""
        ...


@immutable
class Flow(node.Node, Generic[Params, Value_co, Error_co]):
    """A description of work, typed by its parameters, its value and its domain errors.

    Flows are frozen values. Calling one runs nothing: it gives a `Call`, which interpreters such as
    `run` take. `Never` in place of the errors means that there are none.

    Example:
        >>> from onward import local, run, task
        >>> @task
        ... def double(n: int) -> int:
        ...     return 2 * n
        >>> fourfold = (double >> double).named("fourfold")
        >>> fourfold(3)
        (double >> double).named('fourfold')(3)
        >>> run(fourfold(3), on=local())
        <Success: 12>
    """

    __slots__ = ()

    if not TYPE_CHECKING:  # type checkers would accept any attribute

        def __getattr__(self, name: str) -> object:
            from onward.flows.hints import missing  # only mistakes pay for it

            raise AttributeError(missing(self, name))

        def __or__(self, other: object) -> object:
            from onward.flows.hints import piped

            raise TypeError(piped(self.name, getattr(other, "name", "...")))

    def __repr__(self) -> str:
        return render.code_of(self)

    def __call__(self, *args: Params.args, **kwargs: Params.kwargs) -> Call[Value_co, Error_co]:
        """Applies the flow to arguments. Nothing runs until an interpreter takes the call.

        Raises:
            TypeError: If the arguments do not match the parameters, as for a plain function.
        """
        try:
            return Call(self, values.encode(self, args, kwargs))
        except Refused as refused:
            advice = functions.not_passed(self)
            return Call(self, BadPayload(self.name, refused.reason, refused.path, advice))
        except TypeError as problem:
            advice = functions.not_passed(self)
            raise TypeError(f"{self.name}: {problem}{advice and f'. {advice}'}") from None

    def __rshift__(
        self, other: Step[Value_co, Next, NextError], /
    ) -> Flow[Params, Next, Error_co | NextError]:
        """Runs this flow, and then the other one with its value as the first argument.

        Raises:
            TypeError: If the other one is not a flow, takes more than one value, or takes a type
                that this flow's value cannot have.
        """
        if isinstance(other, Task) and fits.clearly_follows(other, self):
            return Chain(self, other)
        then = as_step(other)
        if isinstance(then, Identity):
            return cast(Flow[Params, Next, Error_co | NextError], self)
        fits.check_chain(self, then)
        node.merged_signals(self, then)
        return Chain(self, then)

    @overload
    def rescue(
        self, handler: Step[Error_co | Fault, Value_co, NextError], /
    ) -> Flow[Params, Value_co, NextError]: ...
    @overload
    def rescue(
        self: Step[Taken, Value, Error],
        handler: Step[tuple[Taken, Error | Fault], Value, NextError],
        /,
        *,
        with_input: Literal[True],
    ) -> Flow[[Taken], Value, NextError]: ...
    def rescue(self, handler: object, /, *, with_input: bool = False) -> AnyFlow:
        """Runs this flow, and if it fails, the handler on the error or fault.

        Args:
            handler: A step that takes this flow's domain errors and any `Fault`, and gives a value
                of the same type as this flow.
            with_input: Whether the handler takes a pair instead: the input of this flow, and what
                it failed with.

        Raises:
            TypeError: If the handler does not take every fault and every error of this flow, or
                gives another type; or if this flow does not take exactly one value, `with_input`.

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
            >>> @task
            ... def report(failed: tuple[int, Fault]) -> int:
            ...     return failed[0] - 1
            >>> run(risky.rescue(report, with_input=True)(0), on=local())
            <Success: -1>
        """
        step = as_step(handler)
        if with_input:
            as_step(self)
        if not values.takes_every_fault(step, 1 if with_input else None):
            cure = "its parameter as `error: Fault`, or `error: MyError | Fault`"
            if with_input:
                cure = "the second item of its pair as `Fault`, or `MyError | Fault`"
            raise TypeError(
                f"{step.name} does not take every Fault, and {self.name} may fail with any: "
                f"annotate {cure}"
            )
        fits.check_handler(self, step, with_input=with_input)
        return Rescue(self, step, with_input)

    # A flow that takes anything takes what its cleanup takes; mypy would ask for `object` there.
    @overload
    def finally_(
        self: Step[object, Value, Error], cleanup: Step[Taken, object, object], /
    ) -> Flow[[Taken], Value, Error]: ...
    @overload
    def finally_(
        self: Step[Taken, Value, Error], cleanup: Step[Taken, object, object], /
    ) -> Flow[[Taken], Value, Error]: ...
    def finally_(self, cleanup: object, /) -> AnyFlow:
        """Runs this flow, and then a cleanup on the same input, whichever way the flow ends.

        That is after a value, an error or a fault, and if the call is cancelled or its deadline
        passes once this flow has begun. The cleanup runs at least once, whatever crashes. The
        outcome stays this flow's: if the cleanup fails, that is logged as an error.

        Args:
            cleanup: A step that takes what this flow takes.

        Raises:
            TypeError: If one of them does not take exactly one value, or no value suits both.

        Example:
            >>> from onward import local, run, task
            >>> @task
            ... def book(seat: str) -> int:
            ...     return 10 // len(seat)
            >>> @task
            ... def release(seat: str) -> None:
            ...     print("released", seat)
            >>> run(book.finally_(release)("4A"), on=local())
            released 4A
            <Success: 5>
        """
        parts = as_step(self), as_step(cleanup)
        fits.check_cleanup(*parts)
        return Finally(*parts)

    def named(self, name: str, /) -> Flow[Params, Value_co, Error_co]:
        """Gives the flow a name, for catalogs, engines' UIs and faults.

        Args:
            name: Up to 200 printable ASCII characters, without spaces.

        Raises:
            ValueError: If the name is invalid, or two different tasks in the flow share a name.
        """
        names.tasks_of(self)
        return Named(self, name)

    def with_(self, **options: Unpack[PolicyOptions]) -> Self:
        """Changes the policy of each task in the flow. Fields that are not given stay.

        Args:
            options: The fields of `Policy` to change: `retry`, `timeout` and so on. None restores
                a field's default.

        Raises:
            TypeError, ValueError: If an option does not exist, or its value is out of bounds.
        """
        return cast(Self, with_policy(self, changes_of("with_", options)))

    def ref(self, text: str, /) -> Ref[Value_co, Error_co]:
        """Makes a typed ref of `str(ref)`, for instance in another process."""
        return Ref(text, self)

    @property
    def name(self) -> str:
        """Its name, or its code if it has none."""
        known = self.computed.name
        if known is None:
            known = self.computed.name = render.name_of(self)
        return known

    @property
    def node(self) -> plan.Node:
        """The flow as it travels."""
        return lower(self)

    @property
    def tasks(self) -> Mapping[str, AnyTask]:
        """Its tasks by their names; raises ValueError if two different tasks share a name."""
        return MappingProxyType(cast("dict[str, AnyTask]", names.tasks_of(self)))

    def read(self, outcome: Outcome) -> Result[Value_co, Error_co | Fault]:
        """Reads the value, the domain error or the fault from an outcome of this flow."""
        return values.read(self, outcome, self.name, names.tasks_of(self))


AnyFlow: TypeAlias = Flow[..., Any, Any]


class Task(  # pyright: ignore[reportIncompatibleVariableOverride]  # a field, read as a property
    Flow[Params, Value_co, Error_co],
    nodes.Task,
    Generic[Params, Value_co, Error_co, Returned_co],
):
    """A named function with a policy, which `task` makes.

    Its fourth type parameter is what the plain function returns: a coroutine, Result or value.

    Args:
        name: The name that workers find it by.
        fn: The plain function.
        policy: How its steps are delivered.
        declared: The policy that it had before `with_` changed it.

    Example:
        >>> from onward import task
        >>> @task(timeout=30)
        ... def double(n: int) -> int:
        ...     return 2 * n
        >>> double.name, double.fn(21), double.policy.timeout
        ('double', 42, 30)
    """

    __slots__ = ()
    if TYPE_CHECKING:
        fn: Callable[Params, Returned_co]
    else:
        __doc__ = functions.Docstring(__doc__)
        name = nodes.Task.name

    @property
    def __name__(self) -> str:
        return self.fn.__name__

    @property
    def __wrapped__(self) -> Callable[Params, Returned_co]:
        return self.fn  # for inspect.signature, help() and their like

    def __reduce__(self) -> tuple[Any, ...]:
        return functions.unpickled, functions.pickled_reference(self)


AnyTask: TypeAlias = Task[..., Any, Any]


class Identity(Flow[[Any], Any, Never], nodes.Identity):
    """The flow that gives its input. Its type fits everywhere."""

    __slots__ = ()

    def __call__(self, value: Taken, /) -> Call[Taken]:
        return super().__call__(value)

    def __rshift__(self, other: Step[Taken, Next, NextError], /) -> Flow[[Taken], Next, NextError]:
        return cast(Flow[[Taken], Next, NextError], as_step(other))


class Chain(Flow[Params, Value_co, Error_co], nodes.Chain):
    """One flow after another."""

    __slots__ = ()


class Rescue(Flow[Params, Value_co, Error_co], nodes.Rescue):
    """A flow, and the handler of its failure."""

    __slots__ = ()


class Finally(Flow[Params, Value_co, Error_co], nodes.Finally):
    """A flow, and the cleanup that runs whichever way it ends."""

    __slots__ = ()


class Named(Flow[Params, Value_co, Error_co], nodes.Named):
    """A flow with a name."""

    __slots__ = ()
    if TYPE_CHECKING:
        body: Flow[Params, Value_co, Error_co]


@immutable
@dataclass(frozen=True, slots=True, weakref_slot=True, repr=False, eq=False)
class Call(Compared, Generic[Value_co, Error_co]):
    """A flow with its arguments, as an immutable value. Interpreters such as `run` take it.

    Args:
        flow: The flow to run.
        args: Its arguments, encoded when the call was made, so that later changes to them have no
            effect; or a `BadPayload` that says what is wrong with them.

    Example:
        >>> from onward import task
        >>> @task
        ... def double(n: int) -> int:
        ...     return 2 * n
        >>> double(21)
        double(21)
    """

    flow: Flow[..., Value_co, Error_co]
    args: plan.Args | BadPayload

    def __repr__(self) -> str:
        flow = render.enclosed(self.flow)
        if isinstance(self.args, BadPayload):
            return f"{flow}(<{self.args.message} at {self.args.path}>)"
        return f"{flow}({render.show(self.flow, self.args)})"


@immutable
@dataclass(frozen=True, slots=True, weakref_slot=True, eq=False)
class Ref(Compared, Generic[Value_co, Error_co]):
    """The id of a submitted call, typed by its flow.

    `str(ref)` is its text, and `flow.ref(text)` makes a typed ref of the text in any process.

    Args:
        id: The call's id on the backend.
        flow: The flow that was called.

    Example:
        >>> from onward import local, result, submit, task
        >>> @task
        ... def double(n: int) -> int:
        ...     return 2 * n
        >>> backend = local()
        >>> text = str(submit(double(21), on=backend).unwrap())
        >>> result(double.ref(text), on=backend)
        <Success: 42>
    """

    id: str
    flow: Flow[..., Value_co, Error_co]

    def __str__(self) -> str:
        return self.id


def as_flow(value: object) -> AnyFlow:
    """Gives a value that must be a flow, or raises TypeError."""
    if isinstance(value, Flow):
        return cast(AnyFlow, value)
    hint = "put @task on it" if callable(value) else "only tasks and flows compose"
    name = getattr(value, "__qualname__", None) or repr(value)
    raise TypeError(f"{name} is not a flow: {hint}")


def as_step(value: object) -> AnyFlow:
    """Gives a value that must be a flow of one argument, or raises TypeError."""
    flow = as_flow(value)
    misfit = values.misfit(flow)
    if misfit is not None:
        name = flow.name
        advice = f"bind the others with given({name}, ...), or unpack a tuple with spread({name})"
        if misfit == "too many positional arguments":
            advice = "a step takes the value of the step before it, so give it one parameter"
        raise TypeError(f"{flow.name} cannot be called with one value alone ({misfit}): {advice}")
    return flow
