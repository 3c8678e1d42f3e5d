"""Builds the codec of an annotation, whichever libraries its types come from."""

from __future__ import annotations

import collections.abc
import types
from collections.abc import Callable
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from msgspec import UnsetType, inspect

from onward.codec.annotations import (
    bare,
    field_types,
    has_private_attributes,
    is_alias,
    is_record,
    members,
    needs_pydantic,
    peeled,
    unaliased,
)
from onward.codec.base import Annotation, Codec
from onward.codec.parts import DictOf, ItemsOf, RecordOf, Recursive, TupleOf
from onward.codec.plain import Plain
from onward.codec.unions import Tagged
from onward.fault import Fault
from onward.secret import is_secret, kept_by

_ITEMS: dict[Any, Callable[[list[Any]], Any]] = {
    list: list,
    set: set,
    frozenset: frozenset,
    collections.abc.Collection: list,
    collections.abc.Sequence: list,
    collections.abc.MutableSequence: list,
    collections.abc.Set: set,
    collections.abc.MutableSet: set,
}
_DICTS = (dict, collections.abc.Mapping, collections.abc.MutableMapping)


def codec(annotation: Annotation) -> Codec:
    """Builds the codec of an annotation.

    Args:
        annotation: A resolved annotation (no forward references at its top).

    Returns:
        A codec that encodes only values that decode to the same value.

    Raises:
        TypeError: If no library can encode it; the message says why and what to write instead.

    Example:
        >>> codec(dict[str, int]).encode({"a": 1})
        b'{"a":1}'
        >>> codec(list[int]).decode(b"[1, 2]")
        [1, 2]
    """
    build = _Builder().build
    try:
        if any(isinstance(each, type) and issubclass(each, Fault) for each in members(annotation)):
            return Tagged(annotation, build)
        return build(annotation)
    except RecursionError:
        raise TypeError("an alias in it refers only to itself: add a list or a record") from None


def error_codec(annotation: Annotation) -> Tagged:
    """Builds the codec of a task's domain errors; raises TypeError like `codec`."""
    return Tagged(annotation, _Builder().build, is_error=True)


class _Builder:
    """Builds the codecs of one annotation. A recursive part gets a codec that refers to itself."""

    def __init__(self) -> None:
        self._begun: dict[Any, Recursive] = {}

    def build(self, annotation: Annotation) -> Codec:
        if not _is_special(annotation, set()):
            return Plain(annotation)
        if not (is_alias(annotation) or is_record(annotation)) or needs_pydantic(annotation):
            return self._special(annotation)
        key = _key(annotation)
        if key in self._begun:
            return self._begun[key]
        self._begun[key] = recursive = Recursive(annotation)
        recursive.made = self._special(annotation)
        return recursive.made

    def _special(self, annotation: Annotation) -> Codec:
        if is_alias(annotation):
            return self.build(unaliased(annotation))
        origin, arguments = get_origin(annotation), get_args(annotation)
        if origin is Annotated:
            return self._annotated(annotation, arguments[0], arguments[1:])
        if (inner := peeled(annotation)) is not annotation:  # a NewType or a type variable
            return self.build(inner)
        if is_secret(annotation):
            from onward.codec.secrets import SecretOf  # few programs have secrets

            return SecretOf(annotation, self.build(kept_by(annotation)))
        if needs_pydantic(annotation):
            return _of_pydantic(annotation)
        if annotation is Fault:
            return Tagged(annotation, self.build)
        if origin is Union or origin is types.UnionType:
            return Tagged(annotation, self.build)
        if origin is tuple and arguments[-1:] != (Ellipsis,):
            return TupleOf(annotation, list(map(self.build, arguments)))
        if origin is tuple:
            return ItemsOf(annotation, self.build(arguments[0]), tuple)
        if origin in _ITEMS:
            return ItemsOf(annotation, self.build(arguments[0]), _ITEMS[origin])
        if origin in _DICTS:
            key, value = arguments
            Plain(dict[key, None])  # type: ignore[valid-type]  # raises if the keys are invalid
            proof = self.build(key) if _is_special(key, set()) else None
            return DictOf(annotation, key, proof, self.build(value))
        if is_record(annotation):
            return self._record(annotation)
        return Plain(annotation)  # raises with the reason

    def _annotated(
        self, annotation: Annotation, inner: Annotation, metadata: tuple[Any, ...]
    ) -> Codec:
        if any(map(needs_pydantic, metadata)):
            return _of_pydantic(annotation)
        from onward.codec.constraints import Checked, is_constraint  # only `Annotated` pays for it

        checks = [each for each in metadata if is_constraint(each)]
        if not checks:
            return self.build(inner)
        others = tuple(each for each in metadata if not is_constraint(each))
        rest: Any = Annotated[(inner, *others)] if others else inner
        return Checked(annotation, self.build(rest), checks)

    def _record(self, annotation: Annotation) -> RecordOf:
        fields: dict[str, Codec] = {}
        for name, hint in field_types(annotation).items():
            try:
                fields[name] = self.build(_without_unset(hint))
            except TypeError as problem:
                raise TypeError(f"field {name!r}: {problem}") from None
        return RecordOf(annotation, fields)


def _of_pydantic(annotation: Annotation) -> Codec:
    from onward.codec.models import PydanticCodec  # only programs with pydantic pay for it

    return PydanticCodec(annotation)


def _without_unset(hint: Annotation) -> Annotation:
    """The annotation of a field that is set. msgspec's UNSET stands for an unset one."""
    given = tuple(each for each in members(hint) if each is not UnsetType)
    if len(given) == len(members(hint)):
        return hint
    return Union[given]  # noqa: UP007  # a union of a tuple


def _is_special(annotation: Annotation, seen: set[Any]) -> bool:
    """Whether msgspec alone cannot encode and decode an annotation."""
    if is_alias(annotation):
        return True
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        from onward.codec.constraints import is_constraint

        metadata = arguments[1:]
        if any(needs_pydantic(each) or is_constraint(each) for each in metadata):
            return True
    inner = peeled(annotation)
    if inner is not annotation:
        return _is_special(inner, seen)
    if origin is Literal or _key(annotation) in _SIMPLE:
        return False
    if is_secret(annotation) or needs_pydantic(annotation) or annotation is Fault:
        return True
    if origin is Union or origin is types.UnionType:
        return any(_is_special(each, seen) for each in arguments) or not _is_distinct(annotation)
    if origin in _ITEMS and _ITEMS[origin] in (set, frozenset) and _is_composite(arguments[0]):
        return True
    if is_record(annotation):
        if _key(annotation) in seen:
            return False
        seen.add(_key(annotation))
        if has_private_attributes(annotation):
            return True  # which msgspec leaves out
        try:
            return any(_is_special(each, seen) for each in field_types(annotation).values())
        except (NameError, TypeError):
            return False  # msgspec raises with the reason
    return any(_is_special(each, seen) for each in arguments if not isinstance(each, list))


def _key(annotation: Annotation) -> Any:
    """A hashable key for an annotation."""
    try:
        hash(annotation)
    except TypeError:  # the metadata of `Annotated` may be unhashable
        return repr(annotation)
    return annotation


_SIMPLE: frozenset[Any] = frozenset((int, str, float, bool, bytes, None, type(None), Any))


def _is_distinct(union: Annotation) -> bool:
    """Whether msgspec can tell the members of a union apart."""
    try:
        inspect.type_info(union)
    except TypeError as problem:
        return "unions" not in str(problem)
    except NameError:
        return True
    return True


def _is_composite(item: Annotation) -> bool:
    """Whether items of a set have parts, so that an attacker can choose colliding ones."""
    inner = bare(item)
    kind = get_origin(inner) or inner
    return kind in (tuple, frozenset) or is_record(inner)


def element(annotation: Annotation, index: int) -> Annotation:
    """The annotation of the item at an index, in that of a list, a tuple, a set or the like."""
    while is_alias(annotation) or bare(annotation) is not annotation:
        annotation = unaliased(annotation) if is_alias(annotation) else bare(annotation)
    arguments = get_args(annotation)
    if get_origin(annotation) is tuple and arguments[-1:] != (Ellipsis,):
        return arguments[index] if index < len(arguments) else Any
    return arguments[0] if arguments else Any
