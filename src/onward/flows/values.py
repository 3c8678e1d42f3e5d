"""Encodes a flow's arguments for the wire, and reads its outcome as a value."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Final, TypeAlias

from msgspec import Raw, Struct
from returns.result import Failure, Result, Success

from onward.codec import Codec, Plain, Refused, Tagged, element, read_tag
from onward.codec import codec as codec_of
from onward.fault import BadPayload, Fault
from onward.flows.node import Node
from onward.flows.nodes import (
    Awaits,
    Case,
    Chain,
    Each,
    Finally,
    Fixed,
    Fused,
    Given,
    Identity,
    Keep,
    Named,
    Rescue,
    Sleep,
    Spread,
    Task,
    Tee,
    Together,
    kind,
    parts,
)
from onward.limit import Selector, check_selector
from onward.outcome import Failed, Outcome, Value
from onward.plan import Args
from onward.signature import Signature
from onward.unanswered import AWAITS, errors_of_awaits

Before: TypeAlias = Callable[[], "Reader"]
"""Gives the reader of a flow's input. Only flows that pass their input on need it."""

_JSON = Plain(Any)
_ARRAY = Plain(list[Raw])


class Reader(Struct, frozen=True):
    """Reads a flow's value as a whole, or gives the reader of the item at an index."""

    read: Callable[[Raw], Any]
    item: Callable[[int], Reader]


# Tuples, because `isinstance` with `A | B` would make the union anew at every call.
_TAKERS: Final = (Task, Identity, Fixed, Each, Spread, Sleep, Awaits, Case)
_TAKE_ANYTHING: Final = (Identity, Fixed, Sleep, Awaits)
_SINGLE: Final = (*_TAKERS[1:], Given, Together, Finally, Keep, Tee)


# -- what a flow takes ----------------------------------------------------------------------------


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


def misfit(flow: Node) -> str | None:
    """Why a flow cannot be called with one value alone; None if it can."""
    while not isinstance(flow, Task):
        if is_single(flow):
            return None
        flow = head(flow)
    return flow.signature.misfit


def takes_every_fault(flow: Node, index: int | None = None) -> bool:
    """Whether every fault may go into a flow, or be the item at an index of what goes into it."""
    one = taker(flow)
    if isinstance(one, Fixed | Awaits):
        return True
    takes: Codec | None = None
    if isinstance(one, Task):
        first = one.signature.first
        takes = first if index is None else codec_of(element(first.annotation, index))
    elif isinstance(one, Spread) and index is not None:
        takes = called(one.step).signature.at(index)
    elif isinstance(one, Case) and index is None:
        takes = _taken_by(one)
    return isinstance(takes, Tagged) and takes.takes_every_fault


def encode(flow: Node, args: Sequence[Any], kwargs: Mapping[str, Any], skip: int = 0) -> Args:
    """Encodes a flow's arguments, without the first `skip`.

    Raises:
        TypeError: If the flow does not take these arguments.
        Refused: If a value does not fit its annotation.
    """
    if isinstance(flow, Chain) and isinstance(first := first_step(flow), Task):
        flow = first  # the most common case
    while not isinstance(flow, Task):
        if is_single(flow):
            if kwargs or len(args) + skip != 1:
                raise TypeError(f"it takes exactly one value, by position: {flow!r}(value)")
            return Args(tuple(encode_first(flow, value) for value in args))
        flow = head(flow)
    return flow.signature.encode(args, kwargs, skip=skip)


def encode_first(flow: Node, value: Any) -> Raw:
    """Encodes the first argument alone; raises Refused with a path within it."""
    match taker(flow):
        case Task() as task:
            return task.signature.encode_first(value)
        case Identity() | Fixed() | Sleep() | Awaits():
            return Raw(_JSON.encode(value))
        case Each(step):
            return _encode_items(step, value)
        case Spread(step):
            return Raw(called(step).signature.encode_items(value))
        case Case() as choice:
            return Raw(_taken_by(choice).encode(value))


def _taken_by(choice: Case) -> Codec:
    from onward.flows.routes import takes  # only flows with cases pay for it

    return takes(choice)


def _encode_items(step: Node, value: Any) -> Raw:
    if isinstance(value, str | bytes | bytearray) or not isinstance(value, Sequence):
        raise Refused(f"Expected a list, got {type(value).__qualname__}")
    items: list[bytes] = []
    for index, item in enumerate(value):
        try:
            items.append(bytes(encode_first(step, item)))
        except Refused as refused:
            raise Refused(refused.reason, f"$[{index}]{refused.path[1:]}") from None
    return Raw(b"[" + b",".join(items) + b"]")


def decode(flow: Node, args: Args, skip: int = 0) -> tuple[list[Any], dict[str, Any]]:
    """Decodes arguments, without the first `skip`; raises Refused."""
    while not isinstance(flow, Task):
        if is_single(flow):
            return list(map(takes(flow).read, args.positional)), {}
        flow = head(flow)
    return flow.signature.decode(args, skip=skip)


def check_key(flow: Node, key: Selector) -> None:
    """Raises TypeError if the key of a limit cannot be called with the arguments of a flow."""
    while not isinstance(flow, Task):
        if is_single(flow):
            return
        flow = head(flow)
    check_selector(key, flow.signature.python.parameters, flow.name)


def key_of(flow: Node, key: Selector, args: Args) -> str | int:
    """What the key of a limit gives for the arguments of a flow; raises whatever the key raises."""
    positional, keyword = decode(flow, args)
    while not isinstance(flow, Task):
        if is_single(flow):
            return key(*positional, **keyword)
        flow = head(flow)
    found: str | int = flow.signature.select(key, positional, keyword)
    return found


def takes(flow: Node) -> Reader:
    """The reader of a flow's first argument."""
    match taker(flow):
        case Task() as task:
            return _reader_of(task.signature.first)
        case Identity() | Fixed() | Sleep() | Awaits():
            return _reader_of(_JSON)
        case Each(step):
            return _list(takes(step))
        case Spread(step):
            return _arguments(called(step).signature)
        case Case() as choice:
            return _reader_of(_taken_by(choice))


# -- what a flow gives ----------------------------------------------------------------------------


def read(flow: Node, outcome: Outcome, name: str, tasks: Mapping[str, Task]) -> Result[Any, Any]:
    """Reads the value, the domain error or the fault from an outcome of a flow.

    Args:
        flow: The flow.
        outcome: Its outcome.
        name: The flow's name.
        tasks: Its tasks, whose errors the outcome may hold.
    """
    try:
        if isinstance(outcome, Value):
            last = flow
            while isinstance(last, Chain):
                last = last.then
            if isinstance(last, Task):  # the most common case
                return Success(last.signature.returns.decode(outcome.raw))
            return Success(gives(flow, partial(takes, flow)).read(outcome.raw))
        if isinstance(outcome, Failed):
            return Failure(_read_error(outcome.raw, tasks))
    except Refused as refused:
        return Failure(BadPayload(name, refused.reason, refused.path))
    except RecursionError:
        deep = "its value nests too deeply to be read"
        return Failure(BadPayload(name, deep, advice="Return a value that nests less deeply."))
    fault: Fault = outcome.fault
    return Failure(fault)


def _read_error(raw: Raw, tasks: Mapping[str, Task]) -> object:
    name = read_tag(raw).task
    if name == AWAITS:
        return errors_of_awaits().decode_error(raw)
    task = tasks.get(name)
    if task is not None and task.signature.errors is not None:
        return task.signature.errors.decode_error(raw)
    raise Refused(f"it failed in task {name!r}, which this version of the flow does not have")


def gives(flow: Node, before: Before) -> Reader:
    """The reader of a flow's value.

    Args:
        flow: The flow.
        before: Gives the reader of the flow's input.
    """
    match kind(flow):
        case Task() as task:
            return _reader_of(task.signature.returns)
        case Identity() | Sleep():
            return before()
        case Awaits(signal):
            return _reader_of(signal.codec)
        case Chain(steps):
            return _last(steps, before)
        case Together(branches):
            return _tuple([gives(branch, before) for branch in branches])
        case Each(step):
            # A step that passes its input on gives an item of the list.
            def item(index: int) -> Reader:
                return gives(step, lambda: before().item(index))

            return Reader(partial(_read_all, item), item)
        case Given(inner) | Rescue(inner) | Fused(inner) | Named(inner) | Spread(inner):
            return gives(inner, before)
        case Finally(inner):
            return gives(inner, before)
        case Fixed(inner):
            return gives(inner, partial(takes, inner))
        case Keep(step):
            return _tuple([before(), gives(step, before)])
        case Tee():
            return before()
        case Case() as choice:
            from onward.flows.routes import gives_codec

            return _reader_of(gives_codec(choice))


def _passes_on(flow: Node) -> bool:
    """Whether a flow passes its input on, or a part of it, and so needs the input's reader."""
    match kind(flow):
        case Task() | Spread() | Fixed() | Awaits() | Case():
            return False
        case Identity() | Keep() | Tee() | Sleep():
            return True
        case Chain(steps):
            return all(map(_passes_on, steps))
        case Together(branches):
            return any(map(_passes_on, branches))
        case Given(inner) | Each(inner) | Rescue(inner) | Fused(inner) | Named(inner):
            return _passes_on(inner)
        case Finally(inner):
            return _passes_on(inner)


def _last(steps: Sequence[Node], before: Before) -> Reader:
    asking: list[Node] = []
    for step in reversed(steps):
        asking.append(step)
        if not _passes_on(step):
            break
    for step in reversed(asking):
        before = partial(_itself, gives(step, before))
    return before()


def _itself(reader: Reader) -> Reader:
    return reader


def _reader_of(codec: Codec) -> Reader:
    return Reader(
        codec.decode, lambda index: _reader_of(codec_of(element(codec.annotation, index)))
    )


def _tuple(readers: Sequence[Reader]) -> Reader:
    def read(raw: Raw) -> Any:
        values = _ARRAY.decode(raw)
        if len(values) != len(readers):
            raise Refused(f"Expected {len(readers)} values, got {len(values)}")
        return tuple(each.read(value) for each, value in zip(readers, values, strict=True))

    return Reader(read, readers.__getitem__)


def _arguments(signature: Signature) -> Reader:
    """How the items of a tuple are read that are a function's arguments."""

    def item(index: int) -> Reader:
        return _reader_of(signature.at(index))

    def read(raw: Raw) -> Any:
        return tuple(item(at).read(value) for at, value in enumerate(_ARRAY.decode(raw)))

    return Reader(read, item)


def _list(reader: Reader) -> Reader:
    return Reader(partial(_read_all, lambda _: reader), lambda _: reader)


def _read_all(item: Callable[[int], Reader], raw: Raw) -> list[Any]:
    values: Iterable[Raw] = _ARRAY.decode(raw)
    return [item(index).read(value) for index, value in enumerate(values)]
