"""What composes flows besides `>>` and `.rescue`: given, together, each, fused, identity."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar, overload

from msgspec import Raw
from msgspec.structs import replace

from onward import plan
from onward.codec import Codec, Plain, Refused
from onward.flow import (
    AnyFlow,
    Before,
    Call,
    E_co,
    Flow,
    Identity,
    R_co,
    Reader,
    Single,
    Step,
    as_flow,
    as_step,
    delivery,
    depth_over,
)
from onward.plan import Args, Node
from onward.policy import ONCE, Policy, Retry

P = ParamSpec("P")
Q = ParamSpec("Q")
A = TypeVar("A")
A_co = TypeVar("A_co", covariant=True)
R = TypeVar("R")
E = TypeVar("E")
B1 = TypeVar("B1")
B2 = TypeVar("B2")
B3 = TypeVar("B3")
B4 = TypeVar("B4")
B5 = TypeVar("B5")
B6 = TypeVar("B6")
B7 = TypeVar("B7")
B8 = TypeVar("B8")
E1 = TypeVar("E1")
E2 = TypeVar("E2")
E3 = TypeVar("E3")
E4 = TypeVar("E4")
E5 = TypeVar("E5")
E6 = TypeVar("E6")
E7 = TypeVar("E7")
E8 = TypeVar("E8")

_ARRAY = Plain(list[Raw])

identity = Identity()
"""The flow that gives what it takes: `together(identity, parse)` keeps the value beside its parse.

Example:
    >>> from onward import identity, local, run, task, together
    >>> @task
    ... def double(n: int) -> int:
    ...     return 2 * n
    >>> run((double >> together(identity, double))(1), on=local())
    <Success: (2, 4)>
"""


def given(
    step: Callable[Concatenate[A, Q], Call[R, E]], /, *args: Q.args, **kwargs: Q.kwargs
) -> Flow[[A], R, E]:
    """All of a step's arguments but the first, so that it fits into a chain.

    Args:
        step: The flow that takes more than one argument.
        args: Its second argument and those after it.
        kwargs: Its further arguments by name.

    Returns:
        A flow that takes the first argument alone.

    Raises:
        TypeError: If the step takes no such arguments.
        ValueError: If a value is not what its annotation says.

    Example:
        >>> from onward import given, local, run, task
        >>> @task
        ... def split(text: str, sep: str) -> list[str]:
        ...     return text.split(sep)
        >>> run(given(split, sep=";")("a;b"), on=local())
        <Success: ['a', 'b']>
    """
    flow = as_flow(step)
    try:
        rest = flow._encode(args, kwargs, 1)
    except Refused as refused:
        raise ValueError(f"given({flow.name}, ...): {refused.reason} - at {refused.path}") from None
    except TypeError as problem:
        raise TypeError(f"given({flow.name}, ...): {problem}") from None
    return Given(flow, rest)


# Where no branch has errors, pyright makes Unknown of `Never | Never`; hence two for each number.
@overload
def together(a: Step[A, B1], b: Step[A, B2], /) -> Flow[[A], tuple[B1, B2]]: ...
@overload
def together(a: Step[A, B1, E1], b: Step[A, B2, E2], /) -> Flow[[A], tuple[B1, B2], E1 | E2]: ...
@overload
def together(a: Step[A, B1], b: Step[A, B2], c: Step[A, B3], /) -> Flow[[A], tuple[B1, B2, B3]]: ...
@overload
def together(
    a: Step[A, B1, E1], b: Step[A, B2, E2], c: Step[A, B3, E3], /
) -> Flow[[A], tuple[B1, B2, B3], E1 | E2 | E3]: ...
@overload
def together(
    a: Step[A, B1], b: Step[A, B2], c: Step[A, B3], d: Step[A, B4], /
) -> Flow[[A], tuple[B1, B2, B3, B4]]: ...
@overload
def together(
    a: Step[A, B1, E1], b: Step[A, B2, E2], c: Step[A, B3, E3], d: Step[A, B4, E4], /
) -> Flow[[A], tuple[B1, B2, B3, B4], E1 | E2 | E3 | E4]: ...
@overload
def together(
    a: Step[A, B1], b: Step[A, B2], c: Step[A, B3], d: Step[A, B4], e: Step[A, B5], /
) -> Flow[[A], tuple[B1, B2, B3, B4, B5]]: ...
@overload
def together(
    a: Step[A, B1, E1],
    b: Step[A, B2, E2],
    c: Step[A, B3, E3],
    d: Step[A, B4, E4],
    e: Step[A, B5, E5],
    /,
) -> Flow[[A], tuple[B1, B2, B3, B4, B5], E1 | E2 | E3 | E4 | E5]: ...
@overload
def together(
    a: Step[A, B1],
    b: Step[A, B2],
    c: Step[A, B3],
    d: Step[A, B4],
    e: Step[A, B5],
    f: Step[A, B6],
    /,
) -> Flow[[A], tuple[B1, B2, B3, B4, B5, B6]]: ...
@overload
def together(
    a: Step[A, B1, E1],
    b: Step[A, B2, E2],
    c: Step[A, B3, E3],
    d: Step[A, B4, E4],
    e: Step[A, B5, E5],
    f: Step[A, B6, E6],
    /,
) -> Flow[[A], tuple[B1, B2, B3, B4, B5, B6], E1 | E2 | E3 | E4 | E5 | E6]: ...
@overload
def together(
    a: Step[A, B1],
    b: Step[A, B2],
    c: Step[A, B3],
    d: Step[A, B4],
    e: Step[A, B5],
    f: Step[A, B6],
    g: Step[A, B7],
    /,
) -> Flow[[A], tuple[B1, B2, B3, B4, B5, B6, B7]]: ...
@overload
def together(
    a: Step[A, B1, E1],
    b: Step[A, B2, E2],
    c: Step[A, B3, E3],
    d: Step[A, B4, E4],
    e: Step[A, B5, E5],
    f: Step[A, B6, E6],
    g: Step[A, B7, E7],
    /,
) -> Flow[[A], tuple[B1, B2, B3, B4, B5, B6, B7], E1 | E2 | E3 | E4 | E5 | E6 | E7]: ...
@overload
def together(
    a: Step[A, B1],
    b: Step[A, B2],
    c: Step[A, B3],
    d: Step[A, B4],
    e: Step[A, B5],
    f: Step[A, B6],
    g: Step[A, B7],
    h: Step[A, B8],
    /,
) -> Flow[[A], tuple[B1, B2, B3, B4, B5, B6, B7, B8]]: ...
@overload
def together(
    a: Step[A, B1, E1],
    b: Step[A, B2, E2],
    c: Step[A, B3, E3],
    d: Step[A, B4, E4],
    e: Step[A, B5, E5],
    f: Step[A, B6, E6],
    g: Step[A, B7, E7],
    h: Step[A, B8, E8],
    /,
) -> Flow[[A], tuple[B1, B2, B3, B4, B5, B6, B7, B8], E1 | E2 | E3 | E4 | E5 | E6 | E7 | E8]: ...
def together(*steps: object) -> AnyFlow:
    """Several steps on the same value, side by side; their values as a tuple.

    All of them settle. If any fails, the failure of the leftmost that failed is the outcome.

    Args:
        steps: From two to eight steps that take the same kind of value.

    Raises:
        TypeError: If there are fewer than two or more than eight, or one takes more than a value.

    Example:
        >>> from onward import local, run, task, together
        >>> @task
        ... def half(n: int) -> int:
        ...     return n // 2
        >>> @task
        ... def text(n: int) -> str:
        ...     return str(n)
        >>> run(together(half, text)(8), on=local())
        <Success: (4, '8')>
    """
    if not 2 <= len(steps) <= 8:
        raise TypeError(
            f"together takes from two to eight steps, not {len(steps)}: nest another together, or "
            "use each for many values"
        )
    return Together(tuple(map(as_step, steps)))


class Items(Protocol[A_co]):
    """A list, a tuple or the like. No str or bytes: to these, `in` cannot be said of any object."""

    def __len__(self) -> int: ...
    def __contains__(self, value: object, /) -> bool: ...
    def __getitem__(self, index: slice, /) -> Sequence[A_co]: ...


def each(
    step: Step[A, R, E], /, *, limit: int | None = None, chunk: int | None = None
) -> Flow[[Items[A]], list[R], E]:
    """A step on every item of a list; the list of its values, in the same order.

    All items settle. If any fails, the failure of the first that failed is the outcome.

    Args:
        step: Takes one item.
        limit: How many deliveries are in flight at a time, of an item or of a chunk each; None
            leaves it to the backend.
        chunk: How many items go to a worker as one delivery; None for one. Celery's workers run
            these one after the other, the others side by side.

    Raises:
        TypeError, ValueError: If limit or chunk is no whole number from 1 up.

    Example:
        >>> from onward import each, local, run, task
        >>> @task
        ... def double(n: int) -> int:
        ...     return 2 * n
        >>> run(each(double)([1, 2, 3]), on=local())
        <Success: [2, 4, 6]>
    """
    for what, count in (("limit", limit), ("chunk", chunk)):
        if count is not None and (isinstance(count, bool) or not isinstance(count, int)):
            raise TypeError(f"{what} is a whole number of items, not {count!r}")
        if count is not None and not 1 <= count <= 1_000_000_000:
            raise ValueError(f"{what} is 1 item or more, not {count}: leave it out for no {what}")
    return Each(as_step(step), limit, chunk)


def fused(
    flow: Callable[P, Call[R, E]],
    /,
    *,
    retry: Retry | None = None,
    timeout: float | None = None,
    queue: str | None = None,
    priority: int | None = None,
) -> Flow[P, R, E]:
    """A whole flow as one step: one delivery instead of many, and retried as a whole.

    The steps inside keep their own retries and timeouts, within that one delivery. Should the
    worker die, all of them run again.

    Args:
        flow: What to run in one go.
        retry: How often the whole is tried again when an exception ends it; once if not given.
        timeout: The longest that the whole may take, in seconds.
        queue: The queue that it waits in; the backend's own if not given.
        priority: From 0 (least) to 9 (most urgent).

    Raises:
        TypeError, ValueError: If an argument makes no sense.

    Example:
        >>> from onward import fused, local, run, task
        >>> @task
        ... def double(n: int) -> int:
        ...     return 2 * n
        >>> run(fused(double >> double)(1), on=local())
        <Success: 4>
    """
    return Fused(as_flow(flow), Policy(ONCE if retry is None else retry, timeout, queue, priority))


class Given(Single[[Any], Any, Any]):
    """A flow with all of its arguments but the first."""

    __slots__ = __match_args__ = ("flow", "rest")

    flow: AnyFlow
    rest: Args

    def __init__(self, flow: AnyFlow, rest: Args) -> None:
        self._set(flow=flow, rest=rest, depth=depth_over(flow))

    # By values and not by bytes, for 1 and 1.0 may be the same float, and sets have no order.

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Given):
            return NotImplemented
        mine, other_s = self.flow._decode(self.rest, 1), other.flow._decode(other.rest, 1)
        return self.flow == other.flow and mine == other_s

    def __hash__(self) -> int:
        return hash((Given, self.flow, len(self.rest.positional), *sorted(self.rest.keyword)))

    def parts(self) -> tuple[AnyFlow, ...]:
        return (self.flow,)

    def __repr__(self) -> str:
        return f"given({', '.join([repr(self.flow), *self.shown])})"

    @property
    def shown(self) -> list[str]:
        """Which arguments it brings. Not their values: names are logged, and one may be secret."""
        return ["..."] * len(self.rest.positional) + [f"{name}=..." for name in self.rest.keyword]

    def _compile(self, given: Args) -> Node:
        return self.flow._compile(self.rest)

    def _reader(self, before: Before) -> Reader:
        return self.flow._reader(before)

    def _codec(self) -> Codec | None:
        return self.flow._codec()

    def _passes_on(self) -> bool:
        return self.flow._passes_on()

    def _takes(self) -> Reader:
        return self.flow._takes()

    def _encode_first(self, value: object) -> Raw:
        return self.flow._encode_first(value)

    def _with_policy(self, changes: Mapping[str, Any]) -> AnyFlow:
        return Given(self.flow._with_policy(changes), self.rest)


class Together(Single[[Any], Any, Any]):
    """Several flows on the same value."""

    __slots__ = __match_args__ = ("branches",)

    branches: tuple[AnyFlow, ...]

    def __init__(self, branches: tuple[AnyFlow, ...]) -> None:
        self._set(branches=branches, depth=depth_over(*branches))

    def parts(self) -> tuple[AnyFlow, ...]:
        return self.branches

    def __repr__(self) -> str:
        return f"together({', '.join(map(repr, self.branches))})"

    @property
    def _head(self) -> AnyFlow:
        # identity takes anything, so it says nothing of what the others take.
        return next((each for each in self.branches if each != identity), self.branches[0])

    def _compile(self, given: Args) -> Node:
        return plan.TogetherNode(tuple(branch.node for branch in self.branches))

    def _reader(self, before: Before) -> Reader:
        readers = [branch._reader(before) for branch in self.branches]

        def read(raw: Raw) -> Any:
            values = _ARRAY.decode(raw)
            if len(values) != len(readers):
                raise Refused(f"Expected {len(readers)} values, got {len(values)}")
            return tuple(each.read(value) for each, value in zip(readers, values, strict=True))

        return Reader(read, readers.__getitem__)

    def _passes_on(self) -> bool:
        return any(branch._passes_on() for branch in self.branches)

    def _takes(self) -> Reader:
        return self._head._takes()

    def _encode_first(self, value: object) -> Raw:
        return self._head._encode_first(value)

    def _with_policy(self, changes: Mapping[str, Any]) -> AnyFlow:
        return Together(tuple(branch._with_policy(changes) for branch in self.branches))


class Each(Single[[Any], Any, Any]):
    """A flow on every item of a list."""

    __slots__ = __match_args__ = ("step", "limit", "chunk")

    step: AnyFlow
    limit: int | None
    chunk: int | None

    def __init__(self, step: AnyFlow, limit: int | None, chunk: int | None) -> None:
        self._set(step=step, limit=limit, chunk=chunk, depth=depth_over(step))

    def parts(self) -> tuple[AnyFlow, ...]:
        return (self.step,)

    def __repr__(self) -> str:
        limit = "" if self.limit is None else f", limit={self.limit}"
        chunk = "" if self.chunk is None else f", chunk={self.chunk}"
        return f"each({self.step!r}{limit}{chunk})"

    def _compile(self, given: Args) -> Node:
        body = self.step.node
        if self.chunk is not None:
            body = plan.FusedNode(body=plan.EachNode(body))
        return plan.EachNode(body, self.limit, self.chunk)

    def _reader(self, before: Before) -> Reader:
        # For a step that passes on what it takes: that was an item of what went in.
        def item(index: int) -> Reader:
            return self.step._reader(lambda: before().item(index))

        return Reader(partial(_read_all, item), item)

    def _codec(self) -> Codec | None:
        return None

    def _passes_on(self) -> bool:
        return self.step._passes_on()

    def _takes(self) -> Reader:
        item = self.step._takes()
        return Reader(partial(_read_all, lambda _: item), lambda _: item)

    def _encode_first(self, value: Any) -> Raw:
        if isinstance(value, str | bytes | bytearray) or not isinstance(value, Sequence):
            raise Refused(f"Expected a list, got {type(value).__qualname__}")
        items: list[bytes] = []
        for index, item in enumerate(value):
            try:
                items.append(bytes(self.step._encode_first(item)))
            except Refused as refused:
                raise Refused(refused.reason, f"$[{index}]{refused.path[1:]}") from None
        return Raw(b"[" + b",".join(items) + b"]")

    def _with_policy(self, changes: Mapping[str, Any]) -> AnyFlow:
        return Each(self.step._with_policy(changes), self.limit, self.chunk)


def _read_all(item: Callable[[int], Reader], raw: Raw) -> list[Any]:
    return [item(index).read(value) for index, value in enumerate(_ARRAY.decode(raw))]


class Fused(Flow[P, R_co, E_co]):
    """A flow that is delivered and retried as one step."""

    __slots__ = __match_args__ = ("body", "policy")

    body: AnyFlow
    policy: Policy

    def __init__(self, body: AnyFlow, policy: Policy) -> None:
        self._set(body=body, policy=policy, depth=depth_over(body))

    def parts(self) -> tuple[AnyFlow, ...]:
        return (self.body,)

    def __repr__(self) -> str:
        plain = Policy()
        changed = [
            f", {name}={getattr(self.policy, name)!r}"
            for name in ("retry", "timeout", "queue", "priority")
            if getattr(self.policy, name) != getattr(plain, name)
        ]
        return f"fused({self.body!r}{''.join(changed)})"

    @property
    def name(self) -> str:
        return self.body.name

    def _compile(self, given: Args) -> Node:
        return plan.FusedNode(body=self.body._compile(given), **delivery(self.policy))

    def _reader(self, before: Before) -> Reader:
        return self.body._reader(before)

    def _with_policy(self, changes: Mapping[str, Any]) -> AnyFlow:
        return Fused(self.body, replace(self.policy, **changes))
