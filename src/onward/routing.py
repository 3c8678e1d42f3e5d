"""Which branch of a `case` a value goes to, and how the branch's value travels on."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from msgspec import Raw

from onward.codec import Refused, read_tag
from onward.codec.base import OBJECT, kind_of
from onward.codec.tags import Tag, tagged
from onward.fault import KINDS, BadPayload, Fault
from onward.outcome import Faulted, Outcome, Value, faulted

_OBJECT = msgspec.json.Decoder(dict[str, Raw])


class Field(msgspec.Struct, frozen=True, array_like=True):
    """A field of an object, and the values that it has for a branch of a `case`."""

    name: str
    values: tuple[str | int, ...]


class Route(msgspec.Struct, frozen=True, omit_defaults=True):
    """The values that go to a branch of a `case`.

    Args:
        tags: The names of the types of values that travel with the name of their type.
        kinds: The kinds of JSON of values that travel without it.
        fields: The fields by which objects of the same kind are told apart.
        keeps_tag: Whether the branch takes a value together with the name of its type.
        gives: The names of types that the branch's value gets, each by its kind of JSON.
    """

    tags: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    fields: tuple[Field, ...] = ()
    keeps_tag: bool = False
    gives: tuple[tuple[str, str], ...] = ()

    @property
    def text(self) -> str:
        """The values that go to the branch, for people."""
        names = ("None" if name == "NoneType" else name for name in self.tags or self.kinds)
        return " or ".join(names)


def choose(routes: Sequence[Route], raw: Raw) -> tuple[int, Raw] | Faulted:
    """The branch that takes a value, and the value as the branch takes it.

    Args:
        routes: The routes of the branches.
        raw: The value.

    Returns:
        The branch's index and the value; `BadPayload` if no branch takes a value of this type.
    """
    tag = _tag(raw)
    if tag is None:
        at = _by_json(routes, raw)
        return _nowhere(f"JSON of kind {kind_of(raw)}") if at is None else (at, raw)
    at = _by_name(routes, tag.type)
    if at is None:
        return _nowhere(tag.type)
    return at, raw if routes[at].keeps_tag else tag.value


def as_given(route: Route, outcome: Outcome) -> Outcome:
    """The outcome of a branch, with the name of its type if the case's value needs that."""
    if not route.gives or not isinstance(outcome, Value) or _tag(outcome.raw) is not None:
        return outcome
    name = dict(route.gives).get(kind_of(outcome.raw))
    return outcome if name is None else Value(Raw(tagged(name, outcome.raw)))


def _tag(raw: Raw) -> Tag | None:
    if kind_of(raw) != OBJECT:
        return None
    try:
        tag = read_tag(raw)
    except Refused:
        return None
    return tag if tag.is_marked else None


def _by_name(routes: Sequence[Route], name: str) -> int | None:
    names = [name]
    if name in KINDS:  # a case of a base class takes all faults of its classes
        names = [each.__name__ for each in KINDS[name].__mro__ if issubclass(each, Fault)]
    for each in names:
        for index, route in enumerate(routes):
            if each in route.tags:
                return index
    return None


def _by_json(routes: Sequence[Route], raw: Raw) -> int | None:
    kind = kind_of(raw)
    if kind == OBJECT and any(route.fields for route in routes):
        try:
            found = _OBJECT.decode(raw)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            return None
        for index, route in enumerate(routes):
            if any(
                field.name in found and msgspec.json.decode(found[field.name]) in field.values
                for field in route.fields
            ):
                return index
    return next((index for index, route in enumerate(routes) if kind in route.kinds), None)


def _nowhere(what: str) -> Faulted:
    advice = "Annotate what the step before it returns as the union of all cases."
    return faulted(BadPayload("case", f"it has no case for {what}", advice=advice))
