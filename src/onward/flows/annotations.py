"""Types as annotations: whether a value of one may be of another, and what people read."""

from __future__ import annotations

import types
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, Literal, Never, NoReturn, TypeVar, Union, get_args, get_origin

from typing_extensions import is_typeddict

from onward.codec import Annotation
from onward.codec.annotations import bare, is_alias, members, unaliased

_WIDER: Mapping[type, tuple[type, ...]] = {
    int: (float, complex),
    bool: (float, complex),
    float: (complex,),
    bytearray: (bytes,),
    memoryview: (bytes,),
}
"""The types that type checkers accept for others, besides subclasses."""

_ANYTHING: tuple[Annotation, ...] = (Any, object)
OPEN: tuple[Annotation, ...] = (*_ANYTHING, Never, NoReturn)
_CONTAINERS = (Sequence, AbstractSet, Mapping)


def fits(given: Annotation, wanted: Annotation) -> bool:
    """Whether a value of one type may be of the other; True if that cannot be decided."""
    if given is wanted:
        return True
    given, wanted = plain(given), plain(wanted)
    if given in OPEN or wanted in _ANYTHING:
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
    one, other = class_of(given), class_of(wanted)
    if one is None or other is None:
        return True
    # A tuple travels as an array, and a task that takes a list gets it as one.
    if not is_subclass(one, other) and (one, other) != (tuple, list):
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


def plain(annotation: Annotation) -> Annotation:
    """An annotation without aliases, NewType and metadata; Any for a type variable."""
    if is_alias(annotation):
        return plain(unaliased(annotation))
    inner = Any if isinstance(annotation, TypeVar) else bare(annotation)
    if inner is None:
        return type(None)
    return inner if inner is annotation else plain(inner)


def class_of(annotation: Annotation) -> type | None:
    """The class of an annotation; None if there is none to compare."""
    if is_typeddict(annotation) or is_typeddict(get_origin(annotation)):
        return dict
    found = get_origin(annotation) or annotation
    is_decided = isinstance(found, type) and not getattr(found, "_is_protocol", False)
    return found if is_decided and isinstance(found, type) else None


def is_subclass(one: type, other: type) -> bool:
    """Whether type checkers accept one class for another; True if that cannot be decided."""
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


def are_disjoint(one: Annotation, other: Annotation) -> bool:
    """Whether no value can be of both types, as far as that can be decided."""
    return not any(
        fits(mine, its) or fits(its, mine)
        for mine in members(plain(one))
        for its in members(plain(other))
    )


def tuple_of(inner: Sequence[Annotation]) -> Annotation:
    """The tuple of such items."""
    return types.GenericAlias(tuple, tuple(inner))


def union_of(given: Sequence[Annotation]) -> Annotation:
    """The union of types; Any if one of them may be anything, Never if there is none."""
    found = [each for each in given if each is not Never and each is not NoReturn]
    if any(each is anything for each in found for anything in _ANYTHING):
        return Any
    return Union[tuple(found)] if found else Never  # noqa: UP007  # of a tuple


def is_open(annotation: Annotation) -> bool:
    """Whether nothing can be said of what values a type has."""
    given = plain(annotation)
    if given in OPEN:
        return True
    return len(members(given)) < 2 and get_origin(given) is not Literal and class_of(given) is None
