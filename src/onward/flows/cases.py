"""`case`, which sends each member of a union to a step of its own."""

from __future__ import annotations

from typing import Any, Generic, Never, overload

from typing_extensions import TypeVar

from onward.flows import nodes
from onward.flows.fits import check_case
from onward.flows.flow import Error_co, Flow, Step, Value_co, as_step
from onward.flows.node import Node

Taken = TypeVar("Taken")
Other = TypeVar("Other")
Value = TypeVar("Value")
OtherValue = TypeVar("OtherValue")
Error = TypeVar("Error", default=Never)
OtherError = TypeVar("OtherError", default=Never)


class Cases(Flow[[Taken], Value_co, Error_co], nodes.Case, Generic[Taken, Value_co, Error_co]):
    """A flow that takes the union of what its cases take. `case` makes one.

    Example:
        >>> from onward import case, task
        >>> @task
        ... def double(n: int) -> int:
        ...     return 2 * n
        >>> @task
        ... def length(text: str) -> int:
        ...     return len(text)
        >>> case(int, double).case(str, length)
        case(int, double).case(str, length)
    """

    __slots__ = ()

    # With the overload for None first, pyright refuses it after another call.
    @overload
    def case(
        self, kind: type[Other], step: Step[Other, OtherValue, OtherError], /
    ) -> Cases[Taken | Other, Value_co | OtherValue, Error_co | OtherError]: ...
    @overload
    def case(
        self, kind: None, step: Step[None, OtherValue, OtherError], /
    ) -> Cases[Taken | None, Value_co | OtherValue, Error_co | OtherError]: ...
    def case(self, kind: object, step: object, /) -> Cases[Any, Any, Any]:
        """Adds a case. See `onward.case`."""
        return _with_case(self.kinds, self.branches, kind, step)


@overload
def case(kind: type[Taken], step: Step[Taken, Value, Error], /) -> Cases[Taken, Value, Error]: ...
@overload
def case(kind: None, step: Step[None, Value, Error], /) -> Cases[None, Value, Error]: ...
def case(kind: object, step: object, /) -> Cases[Any, Any, Any]:
    """Sends a value to the step for its type; `.case(...)` adds the step for another type.

    The types must be exactly those that may come: a missing one is refused, and one that never
    comes too, by `>>` at the latest. A subclass needs a case of its own.

    Args:
        kind: The type of the values: a class, or None.
        step: A step that takes values of this type.

    Returns:
        A flow that takes a value of one of its types, runs the step for it, and gives that step's
        value. Its type is the union of the values of all steps, and so are its errors.

    Raises:
        TypeError: If the step does not take values of this type, or the types of two cases cannot
            be told apart on the wire.

    Example:
        >>> from onward import case, local, run, task
        >>> @task
        ... def load(key: str) -> int | str | None:
        ...     return {"a": 1, "b": "two"}.get(key)
        >>> @task
        ... def double(n: int) -> int:
        ...     return 2 * n
        >>> @task
        ... def length(text: str) -> int:
        ...     return len(text)
        >>> @task
        ... def nothing(_: None) -> int:
        ...     return 0
        >>> size = load >> case(int, double).case(str, length).case(None, nothing)
        >>> [run(size(key), on=local()).unwrap() for key in "abc"]
        [2, 3, 0]
    """
    return _with_case((), (), kind, step)


def _with_case(
    kinds: tuple[object, ...], branches: tuple[Node, ...], kind: object, step: object
) -> Cases[Any, Any, Any]:
    from onward.flows.routes import routes_of  # only flows with cases pay for it

    kind = type(None) if kind is None else kind
    branch = as_step(step)
    check_case(kind, branch)
    made: Cases[Any, Any, Any] = Cases((*kinds, kind), (*branches, branch))
    try:
        routes_of(made)
    except TypeError as problem:
        raise TypeError(f"{made!r}: {problem}") from None
    return made
