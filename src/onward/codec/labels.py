"""How the members of a union are told apart on the wire."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any, Literal, get_args, get_origin

from msgspec import Struct

from onward.codec.annotations import bare, is_alias, members, needs_pydantic, tag_of, unaliased
from onward.codec.base import BOOL, NULL, NUMBER, STR, Annotation
from onward.codec.build import codec
from onward.codec.same import is_model
from onward.codec.unions import Tagged

_TEXTS = (datetime, timedelta, Decimal)


class Label(Struct, frozen=True):
    """How the values of a type travel, as a member of a union.

    Args:
        member: The type.
        tags: The names that its values travel with; empty if they travel without a name.
        kinds: The kinds of JSON of values without a name.
        fields: The fields that always have the same value, and these values.
    """

    member: Annotation
    tags: tuple[str, ...] = ()
    kinds: frozenset[str] = frozenset()
    fields: dict[str, tuple[str | int, ...]] = {}


def labels(annotation: Annotation) -> list[Label]:
    """How the members of a union travel; of another annotation, how that alone does."""
    inner, is_pydantic = _without_metadata(annotation)
    if is_pydantic:  # pydantic writes the union as a whole, without tags
        return list(map(untagged, members(inner)))
    made = codec(inner)
    if isinstance(made, Tagged) and made.has_tags:
        return [Label(member, tags_of(member)) for member in members(inner)]
    return list(map(untagged, members(inner)))


def untagged(member: Annotation) -> Label:
    """How a type travels alone."""
    return Label(member, (), _kinds(member), _constants(member))


def tags_of(member: Annotation) -> tuple[str, ...]:
    """The name of a type in a union; none if no name can tell it from other types."""
    try:
        return (tag_of(member),)
    except TypeError:
        return ()


def _without_metadata(annotation: Annotation) -> tuple[Annotation, bool]:
    """A union within aliases and `Annotated`, and whether pydantic writes it."""
    while True:
        if any(map(needs_pydantic, getattr(annotation, "__metadata__", ()))):
            return bare(annotation), True
        inner = unaliased(annotation) if is_alias(annotation) else bare(annotation)
        if inner is annotation:
            return annotation, False
        annotation = inner


def _kinds(member: Annotation) -> frozenset[str]:
    inner: Any = _without_metadata(member)[0]
    if get_origin(inner) is Literal:
        return frozenset(_kind_of_value(value) for value in get_args(inner))
    if isinstance(inner, type) and issubclass(inner, Enum):
        return frozenset(_kind_of_value(each.value) for each in inner)
    if inner in _TEXTS:
        return frozenset((STR,))
    return codec(member).kinds


def _kind_of_value(value: object) -> str:
    if value is None:
        return NULL
    return BOOL if isinstance(value, bool) else NUMBER if isinstance(value, int) else STR


def _constants(member: Annotation) -> dict[str, tuple[str | int, ...]]:
    """The fields that tell a struct or a model from others of the same union."""
    kind: Any = get_origin(member) or member
    config = getattr(kind, "__struct_config__", None)
    if config is not None and config.tag_field is not None:
        return {config.tag_field: (config.tag,)}
    if not is_model(kind):
        return {}
    return {
        field.serialization_alias or field.alias or name: get_args(field.annotation)
        for name, field in kind.model_fields.items()
        if get_origin(field.annotation) is Literal
    }
