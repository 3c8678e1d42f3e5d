"""Checks at import whether flows fit together, as far as their annotations tell.

It accepts what it cannot decide: Any, type variables, protocols, and generics without arguments.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Never, get_args

from msgspec import Struct

from onward.codec import Annotation
from onward.codec import codec as codec_of
from onward.codec.annotations import field_types, is_record, members
from onward.fault import Fault
from onward.flows.annotations import (
    OPEN,
    are_disjoint,
    class_of,
    fits,
    is_subclass,
    plain,
    shown,
    tuple_of,
    union_of,
)
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
    walk,
)
from onward.flows.render import name_of
from onward.flows.values import called, head, taker
from onward.signature import Signature
from onward.unanswered import Unanswered

_MAX_STEPS_BACK = 20
"""How many steps that pass their input on are followed back."""


class Mismatch(Struct, frozen=True):
    """A step that cannot take a value, the type that it takes, and what to do."""

    step: str
    takes: str
    advice: str = ""


def clearly_follows(task: Task, flow: Node) -> bool:
    """Whether a task takes just what a flow gives: the most common case, and quick to see."""
    takes = task.signature
    if takes.misfit is not None or not takes.positional:
        return False
    while not isinstance(flow, Task):
        if not isinstance(flow, Chain):
            return False
        flow = flow.then
    return flow.signature.returns.annotation is takes.positional[0][1].annotation


def check_chain(first: Node, then: Node) -> None:
    """Raises TypeError if a flow's value cannot be what the next flow takes."""
    given, name = gives(first)
    cases = list(_cases(then, given))
    for flow, values in cases:
        from onward.flows import exhaustive  # only flows with cases pay for it

        for extra in exhaustive.unreached(flow, values):
            raise TypeError(
                f"{name} >> {name_of(then)} does not fit: {name} gives {shown(given)}, so "
                f"nothing reaches the case for {shown(extra)}: leave it out"
            )
    wrong = _mismatch(then, given) or (_mismatch_of_cases(first, then) if cases else None)
    if wrong is not None:
        raise TypeError(
            f"{name} >> {wrong.step} does not fit: {name} gives {shown(given)}, and {wrong.step} "
            f"takes {wrong.takes}{wrong.advice}"
        )


def check_handler(body: Node, handler: Node, *, with_input: bool = False) -> None:
    """Raises TypeError if a handler forgets an error of a flow, or gives another type."""
    taken = _takes(body)
    if with_input and (wrong := _mismatch(handler, tuple_of([taken, Fault]))) is not None:
        raise TypeError(
            f"{name_of(body)} takes {shown(taken)}, so its handler takes "
            f"tuple[{shown(taken)}, ... | Fault], and {wrong.step} takes {wrong.takes}"
        )
    for task, error in errors(body):
        failure = tuple_of([taken, error]) if with_input else error
        if isinstance(taker(handler), Case):
            failure = union_of([error, Fault])  # because failures travel with their types' names
        if _mismatch(handler, failure) is not None:
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
    if not fits(takes, its) and not fits(its, takes) and are_disjoint(takes, its):
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


def check_case(kind: Annotation, step: Node) -> None:
    """Raises TypeError if a step cannot take the values of its case."""
    try:
        codec_of(kind)
    except TypeError as problem:
        raise TypeError(f"case({shown(kind)}, {name_of(step)}): {problem}") from None
    wrong = _mismatch(step, kind)
    if wrong is not None:
        raise TypeError(
            f"case({shown(kind)}, {name_of(step)}) does not fit: {wrong.step} takes "
            f"{wrong.takes}{wrong.advice}"
        )


def check_branches(branches: Sequence[Node]) -> None:
    """Raises TypeError if no value can be what two branches take."""
    taken = [(name_of(branch), _takes(branch)) for branch in branches]
    for at, (name, takes) in enumerate(taken):
        for other, its in taken[:at]:
            if not fits(takes, its) and not fits(its, takes) and are_disjoint(takes, its):
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
            return tuple_of([gives(branch)[0] for branch in branches]), name_of(flow)
        case Each(step):
            return list[gives(step)[0]], name_of(flow)  # type: ignore[misc]  # made as we go
        case Keep(step):
            taken = _takes(step)
            return tuple_of([taken, gives(step)[0]]), name_of(flow)
        case Given(inner) | Rescue(inner) | Fused(inner) | Named(inner) | Spread(inner):
            return gives(inner)
        case Fixed(inner) | Finally(inner):
            return gives(inner)
        case Case():
            from onward.flows import value_types  # only flows with cases pay for it

            return value_types.gives(flow), name_of(flow)
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


def _mismatch(flow: Node, given: Annotation) -> Mismatch | None:
    """The step in a flow that cannot take a value of a type."""
    while not isinstance(flow, Task):
        if isinstance(flow, Identity | Fixed | Sleep | Awaits):
            return None
        if isinstance(flow, Spread):
            does_fit = _items_fit(called(flow.step).signature, given)
            return None if does_fit else Mismatch(name_of(flow), shown(_takes(flow)))
        if isinstance(flow, Case):
            from onward.flows import exhaustive  # only flows with cases pay for it

            lack = exhaustive.lack(flow, given)
            if lack is None:
                return None
            return Mismatch(name_of(flow), shown(_takes(flow)), f": {lack}")
        if isinstance(flow, Together | Finally):
            found = (_mismatch(part, given) for part in parts(flow))
            return next((each for each in found if each is not None), None)
        if isinstance(flow, Each):
            items = _items_of(given)
            wrong = (_mismatch(flow.step, item) for item in items or ())
            first = next((each for each in wrong if each is not None), None)
            if items is not None and first is None:
                return None
            advice = "" if first is None else first.advice
            return Mismatch(name_of(flow), shown(_takes(flow)), advice)
        flow = head(flow)
    takes = flow.signature.first.annotation
    return None if fits(given, takes) else Mismatch(flow.name, shown(takes))


def _cases(flow: Node, given: Annotation) -> Iterator[tuple[Case, Annotation]]:
    """The cases among the steps that take a value of a type, each with the type of its input."""
    while not isinstance(flow, Task | Identity | Fixed | Spread | Sleep | Awaits):
        if isinstance(flow, Case):
            yield flow, given
            return
        if isinstance(flow, Together | Finally):
            for part in parts(flow):
                yield from _cases(part, given)
            return
        if isinstance(flow, Each):
            given, flow = union_of(_items_of(given) or (Any,)), flow.step
        else:
            flow = head(flow)


def _mismatch_of_cases(first: Node, then: Node) -> Mismatch | None:
    """The case that cannot take what one of a flow's last steps gives, such as a handler."""
    from onward.flows import value_types

    found = (_mismatch(then, written) for written in value_types.writers(first))
    return next((each for each in found if each is not None), None)


def _takes(flow: Node) -> Annotation:
    """The type that a flow takes."""
    match taker(flow):
        case Task() as task:
            return task.signature.first.annotation
        case Identity() | Fixed() | Sleep() | Awaits():
            return Any
        case Case() as flow:
            return union_of(flow.kinds)
        case Each(step):
            return list[_takes(step)]  # type: ignore[misc]  # made as we go
        case Spread(step):
            signature = called(step).signature
            known = [codec.annotation for _, codec in signature.positional]
            rest = () if signature.rest is None else (signature.rest.annotation, ...)
            # What has a default need not be there, nor need it be shown.
            return tuple_of([*known[: signature.required], *rest] if rest or known else [Any, ...])


def _items_fit(signature: Signature, given: Annotation) -> bool:
    """Whether the items of a tuple of a type may be a function's arguments."""
    given = plain(given)
    if given in OPEN:
        return True
    if len(members(given)) > 1:
        return all(_items_fit(signature, each) for each in members(given))
    one = class_of(given)
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
    given = plain(given)
    if given in OPEN:
        return ()
    if len(members(given)) > 1:
        each = [_items_of(member) for member in members(given)]
        return None if None in each else tuple(item for items in each for item in items or ())
    one = class_of(given)
    if one is None:
        return ()
    if issubclass(one, str | bytes | bytearray) or not is_subclass(one, Sequence):
        return None
    return tuple(item for item in get_args(given) if item is not ...)
