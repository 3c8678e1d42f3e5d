"""Checks at import whether flows fit together, as far as their annotations tell.

It accepts what it cannot decide: Any, type variables, protocols, and generics without arguments.
"""

from __future__ import annotations

import types
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, Literal, Never, NoReturn, TypeVar, get_args, get_origin

from typing_extensions import is_typeddict

from onward.codec import Annotation
from onward.codec.annotations import bare, field_types, is_alias, is_record, members, unaliased
from onward.fault import Fault
from onward.flows.nodes import (
    Awaits,
    Chain,
    Each,
    Finally,
    Fixed,
    Fused,
    Given,
    Identity,
    Keep,
    Named,
    Node,
    Rescue,
    Sleep,
    Spread,
    Task,
    Tee,
    Together,
    called,
    head,
    kind,
    parts,
    taker,
    walk,
)
from onward.flows.render import name_of
from onward.signature import Signature
from onward.unanswered import Unanswered

_MAX_STEPS_BACK = 20
"""How many steps that pass their input on are followed back."""

_WIDER: Mapping[type, tuple[type, ...]] = {
    int: (float, complex),
    bool: (float, complex),
    float: (complex,),
    bytearray: (bytes,),
    memoryview: (bytes,),
}
"""The types that type checkers accept for others, besides subclasses."""

_ANYTHING: tuple[Annotation, ...] = (Any, object)
_OPEN: tuple[Annotation, ...] = (*_ANYTHING, Never, NoReturn)
_CONTAINERS = (Sequence, AbstractSet, Mapping)


def clearly_follows(task: Task, flow: Node) -> bool:
    """Whether a task takes just what a flow gives: the most common case, and quick to see."""
    takes = task.signature
    if takes.misfit is not None or not takes.positional:
        return False
    while isinstance(flow, Chain):
        flow = flow.then
    first = takes.positional[0][1]
    return isinstance(flow, Task) and flow.signature.returns.annotation is first.annotation


def check_chain(first: Node, then: Node) -> None:
    """Raises TypeError if a flow's value cannot be what the next flow takes."""
    given, name = gives(first)
    mismatch = _mismatch(then, given)
    if mismatch is not None:
        taker, takes = mismatch
        raise TypeError(
            f"{name} >> {taker} does not fit: {name} gives {shown(given)}, and {taker} takes "
            f"{takes}"
        )


def check_handler(body: Node, handler: Node, *, with_input: bool = False) -> None:
    """Raises TypeError if a handler forgets an error of a flow, or gives another type."""
    taken = _takes(body)
    if with_input and (wrong := _mismatch(handler, _tuple([taken, Fault]))) is not None:
        raise TypeError(
            f"{name_of(body)} takes {shown(taken)}, so its handler takes "
            f"tuple[{shown(taken)}, ... | Fault], and {wrong[0]} takes {wrong[1]}"
        )
    for task, error in errors(body):
        if _mismatch(handler, _tuple([taken, error]) if with_input else error) is not None:
            raise TypeError(
                f"{name_of(handler)} does not take {shown(error)}, which {task} may fail with: "
                f"annotate its parameter as `error: {shown(error)} | ... | Fault`"
            )
    value, task = gives(body)
    instead, _ = gives(handler)
    if not fits(instead, value):
        raise TypeError(
            f"{name_of(handler)} gives {shown(instead)}, and {task} gives {shown(value)}: let both "
            "give the same type"
        )


def check_cleanup(body: Node, cleanup: Node) -> None:
    """Raises TypeError if no value can be what both a flow and its cleanup take."""
    takes, its = _takes(body), _takes(cleanup)
    if not fits(takes, its) and not fits(its, takes) and _are_disjoint(takes, its):
        raise TypeError(
            f"{name_of(body)} takes {shown(takes)}, so its cleanup takes {shown(takes)} too, and "
            f"{name_of(cleanup)} takes {shown(its)}"
        )


def check_fused(flow: Node) -> None:
    """Raises TypeError if a flow cannot run as one step, because it has a cleanup or waits."""
    wait = next((part for part in walk(flow) if isinstance(part, Sleep | Awaits)), None)
    if wait is not None:
        raise TypeError(
            f"{name_of(wait)} would hold a slot of the worker in what runs in one delivery: wait "
            "before or after it"
        )
    cleanup = next((part.cleanup for part in walk(flow) if isinstance(part, Finally)), None)
    if cleanup is not None:
        raise TypeError(
            f"the cleanup {name_of(cleanup)} may have to run after a cancel or a crash, and what "
            "runs in one delivery starts again from its beginning: put finally_ around it, as in "
            "fused(f).finally_(g)"
        )


def check_branches(branches: Sequence[Node]) -> None:
    """Raises TypeError if no value can be what two branches take."""
    taken = [(name_of(branch), _takes(branch)) for branch in branches]
    for at, (name, takes) in enumerate(taken):
        for other, its in taken[:at]:
            if not fits(takes, its) and not fits(its, takes) and _are_disjoint(takes, its):
                raise TypeError(
                    f"together({other}, {name}) does not fit: {other} takes {shown(its)}, and "
                    f"{name} takes {shown(takes)}"
                )


def gives(flow: Node) -> tuple[Annotation, str]:
    """The type of a flow's value (Any if it is unknown), and the name of the step that gives it."""
    before: Node | None = None
    for _ in range(_MAX_STEPS_BACK):
        while isinstance(flow, Chain):
            before, flow = flow.first, flow.then
        if not isinstance(flow, Tee | Sleep) or before is None:
            break
        flow, before = before, None
    match kind(flow):
        case Task(name) as task:
            never = task.signature.never_returns
            return Never if never else task.signature.returns.annotation, name
        case Together(branches):
            return _tuple([gives(branch)[0] for branch in branches]), name_of(flow)
        case Each(step):
            return list[gives(step)[0]], name_of(flow)  # type: ignore[misc]  # made as we go
        case Keep(step):
            taken = _takes(step)
            return _tuple([taken, gives(step)[0]]), name_of(flow)
        case Given(inner) | Rescue(inner) | Fused(inner) | Named(inner) | Spread(inner):
            return gives(inner)
        case Fixed(inner) | Finally(inner):
            return gives(inner)
        case Tee(step):
            return _takes(step), name_of(flow)
        case Awaits(signal):
            return signal.type, name_of(flow)
        case Identity() | Chain() | Sleep():
            return Any, name_of(flow)


def errors(flow: Node) -> Iterator[tuple[str, Annotation]]:
    """The domain errors that a flow may fail with, each with its task's name."""
    match kind(flow):
        case Task(name) as task:
            codec = task.signature.errors
            for error in () if codec is None else members(codec.annotation):
                if not (isinstance(error, type) and issubclass(error, Fault)):
                    yield name, error
        case Rescue(_, inner) | Finally(inner):
            yield from errors(inner)
        case Awaits(_, timeout) if timeout is not None:
            yield name_of(flow), Unanswered
        case _:
            for part in parts(flow):
                yield from errors(part)


def fits(given: Annotation, wanted: Annotation) -> bool:
    """Whether a value of one type may be of the other; True if that cannot be decided."""
    if given is wanted:
        return True
    given, wanted = _plain(given), _plain(wanted)
    if given in _OPEN or wanted in _ANYTHING:
        return True
    if len(members(given)) > 1:
        return all(fits(each, wanted) for each in members(given))
    if len(members(wanted)) > 1:
        return any(fits(given, each) for each in members(wanted))
    if get_origin(given) is Literal:
        if get_origin(wanted) is Literal:
            return set(get_args(given)) <= set(get_args(wanted))
        return all(fits(type(value), wanted) for value in get_args(given))
    if get_origin(wanted) is Literal:
        return any(fits(given, type(value)) for value in get_args(wanted))
    one, other = _class_of(given), _class_of(wanted)
    if one is None or other is None:
        return True
    # A tuple travels as an array, and a task that takes a list gets it as one.
    if not _is_subclass(one, other) and (one, other) != (tuple, list):
        return False
    return _arguments_fit(one, other, get_args(given), get_args(wanted))


def shown(annotation: Annotation) -> str:
    """An annotation as people write it."""
    if annotation is None or annotation is type(None):
        return "None"
    several = () if is_alias(annotation) else members(annotation)
    if len(several) > 1:
        return " | ".join(map(shown, several))
    origin, arguments = get_origin(annotation), get_args(annotation)
    if isinstance(origin, type) and arguments:
        inner = ", ".join("..." if each is ... else shown(each) for each in arguments)
        return f"{origin.__qualname__}[{inner}]"
    if isinstance(annotation, type):
        return annotation.__qualname__
    return str(annotation).replace("typing.", "")


def _mismatch(flow: Node, given: Annotation) -> tuple[str, str] | None:
    """The step in a flow that cannot take a value of a type, and the type that it takes."""
    while not isinstance(flow, Task):
        if isinstance(flow, Identity | Fixed | Sleep | Awaits):
            return None
        if isinstance(flow, Spread):
            does_fit = _items_fit(called(flow.step).signature, given)
            return None if does_fit else (name_of(flow), shown(_takes(flow)))
        if isinstance(flow, Together | Finally):
            found = (_mismatch(part, given) for part in parts(flow))
            return next((each for each in found if each is not None), None)
        if isinstance(flow, Each):
            items = _items_of(given)
            fits_all = items is not None and all(_mismatch(flow.step, it) is None for it in items)
            return None if fits_all else (name_of(flow), shown(_takes(flow)))
        flow = head(flow)
    takes = flow.signature.first.annotation
    return None if fits(given, takes) else (flow.name, shown(takes))


def _takes(flow: Node) -> Annotation:
    """The type that a flow takes."""
    match taker(flow):
        case Task() as task:
            return task.signature.first.annotation
        case Identity() | Fixed() | Sleep() | Awaits():
            return Any
        case Each(step):
            return list[_takes(step)]  # type: ignore[misc]  # made as we go
        case Spread(step):
            signature = called(step).signature
            known = [codec.annotation for _, codec in signature.positional]
            rest = () if signature.rest is None else (signature.rest.annotation, ...)
            # What has a default need not be there, nor need it be shown.
            return _tuple([*known[: signature.required], *rest] if rest or known else [Any, ...])


def _items_fit(signature: Signature, given: Annotation) -> bool:
    """Whether the items of a tuple of a type may be a function's arguments."""
    given = _plain(given)
    if given in _OPEN:
        return True
    if len(members(given)) > 1:
        return all(_items_fit(signature, each) for each in members(given))
    one = _class_of(given)
    if one is None or (one is tuple and not get_args(given)):
        return True
    if not issubclass(one, tuple):
        return False  # a list may be of any length, so a checker of types refuses it as well
    items: tuple[Annotation, ...] = get_args(given)
    if is_record(given):  # a NamedTuple
        items = tuple(field_types(given).values())
    if items[-1:] == (...,):
        return all(fits(items[0], codec.annotation) for _, codec in signature.positional)
    return signature.misfit_of(len(items)) is None and all(
        fits(item, signature.at(at).annotation) for at, item in enumerate(items)
    )


def _items_of(given: Annotation) -> tuple[Annotation, ...] | None:
    """The types that a list's items may have; None if the type is not a list."""
    given = _plain(given)
    if given in _OPEN:
        return ()
    if len(members(given)) > 1:
        each = [_items_of(member) for member in members(given)]
        return None if None in each else tuple(item for items in each for item in items or ())
    one = _class_of(given)
    if one is None:
        return ()
    if issubclass(one, str | bytes | bytearray) or not _is_subclass(one, Sequence):
        return None
    return tuple(item for item in get_args(given) if item is not ...)


def _plain(annotation: Annotation) -> Annotation:
    if is_alias(annotation):
        return _plain(unaliased(annotation))
    inner = Any if isinstance(annotation, TypeVar) else bare(annotation)
    if inner is None:
        return type(None)
    return inner if inner is annotation else _plain(inner)


def _class_of(annotation: Annotation) -> type | None:
    """The class of an annotation; None if there is none to compare."""
    if is_typeddict(annotation) or is_typeddict(get_origin(annotation)):
        return dict
    found = get_origin(annotation) or annotation
    is_decided = isinstance(found, type) and not getattr(found, "_is_protocol", False)
    return found if is_decided and isinstance(found, type) else None


def _is_subclass(one: type, other: type) -> bool:
    try:
        return issubclass(one, other) or other in _WIDER.get(one, ())
    except TypeError:  # the class has its own __subclasscheck__
        return True


def _arguments_fit(one: type, other: type, given: tuple[Any, ...], wanted: tuple[Any, ...]) -> bool:
    if not given or not wanted:
        return True
    if one is tuple:
        is_open = given[-1] is ... or (other is tuple and wanted[-1] is ...)
        if other is tuple and not is_open:
            return len(given) == len(wanted) and all(map(fits, given, wanted))
        if other is tuple and wanted[-1] is not ...:
            return True  # the lengths may match
        return all(fits(each, wanted[0]) for each in given if each is not ...)
    if one is not other and not issubclass(other, _CONTAINERS):
        return True
    return len(given) != len(wanted) or all(map(fits, given, wanted))


def _are_disjoint(one: Annotation, other: Annotation) -> bool:
    """Whether no value can be of both types, as far as that can be decided."""
    return not any(
        fits(mine, its) or fits(its, mine)
        for mine in members(_plain(one))
        for its in members(_plain(other))
    )


def _tuple(inner: Sequence[Annotation]) -> Annotation:
    return types.GenericAlias(tuple, tuple(inner))
