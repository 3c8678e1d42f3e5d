"""The codec of unions whose members msgspec cannot tell apart."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import Any, Union

import msgspec
from msgspec import Raw

from onward.codec.annotations import classes_of, members, tag_of
from onward.codec.base import OBJECT, Annotation, Codec, Find, Refused, kind_of
from onward.codec.plain import Plain
from onward.codec.same import difference
from onward.codec.schemas import Schema
from onward.codec.tags import Tag, decode_fault, encode_fault, read_tag, tagged
from onward.fault import KINDS, Fault

Build = Callable[[Annotation], Codec]
"""Makes the codec of a part."""


class _Member(msgspec.Struct, frozen=True):
    kinds: tuple[type, ...]
    codec: Codec


class Tagged(Codec):
    """The codec of a union, whose values travel with the name of their type.

    If each member has its own kind of JSON, values travel without a name.

    Args:
        annotation: The union, or its only member.
        build: Makes the codec of a member.
        is_error: Whether it is the type of a task's errors, which always travel with a name.

    Raises:
        TypeError: If two members have the same name.
    """

    __slots__ = ("_bare", "_faults", "_members")

    def __init__(self, annotation: Annotation, build: Build, *, is_error: bool = False) -> None:
        self.annotation = annotation
        self._members: dict[str, _Member] = {}
        self._faults: set[str] = set()
        for member in members(annotation):
            if isinstance(member, type) and issubclass(member, Fault):
                self._faults |= {name for name, kind in KINDS.items() if issubclass(kind, member)}
                continue
            name, kinds = tag_of(member), classes_of(member)
            if name in self._members:
                raise TypeError(
                    f"two of its types are named {name!r}, and on the wire only the name tells "
                    "them apart: rename one"
                )
            self._members[name] = _Member(kinds, build(member))
        has_tags = is_error or bool(self._faults)
        self._bare = () if has_tags else _distinct_in_json(self._members)

    @property
    def has_tags(self) -> bool:
        """Whether values travel with the name of their type."""
        return not self._bare

    @property
    def kinds(self) -> frozenset[str]:
        if not self._bare:
            return frozenset((OBJECT,))
        return frozenset(kind for member in self._bare for kind in member.codec.kinds)

    def schema(self) -> Schema:
        if self._bare:
            return {"anyOf": [member.codec.schema() for member in self._bare]}
        tagged: list[Schema] = [
            {"title": name, "value": member.codec.schema()}
            for name, member in self._members.items()
        ]
        return {"oneOf": [*tagged, *({"title": name} for name in sorted(self._faults))]}

    def encode(self, value: Any, task: str = "") -> bytes:
        """Encodes a value with the name of its type; raises `Refused`.

        Args:
            value: The value.
            task: The task that failed with it, if it is an error.
        """
        if not task:
            return super().encode(value)
        try:
            raw = self.write(value, task)
            changed = difference(value, self._by_tag(read_tag(raw), raw))
        except RecursionError:
            raise Refused("nested too deeply (or it contains itself)") from None
        if changed is not None:
            raise Refused(changed.reason, f"${changed.path}")
        return raw

    def write(self, value: Any, task: str = "") -> bytes:
        if isinstance(value, Fault):
            if type(value).__name__ not in self._faults:
                raise Refused(f"{type(value).__name__} is not one of {self._names()}")
            return encode_fault(value, is_marked=not task)
        if self._bare and not task:
            for member in self._bare:
                if _is_of(value, member):
                    return member.codec.write(value)
            return self._written(value)[1]
        name, raw = self._written(value)
        return tagged(name, raw, task)

    def decode(self, raw: bytes | Raw, find: Find | None = None) -> Any:
        """Decodes a value; raises `Refused`. See `Codec.decode`."""
        try:
            return self.read(raw, find)
        except RecursionError:
            raise Refused("nested too deeply") from None

    def decode_error(self, raw: bytes | Raw, find: Find | None = None) -> Any:
        """Decodes the error of a task, which always has a tag; see `decode`."""
        try:
            return self._by_tag(read_tag(raw), raw, find)
        except RecursionError:
            raise Refused("nested too deeply") from None

    def read(self, raw: bytes | Raw, find: Find | None = None) -> Any:
        tag = self._tag(raw)
        if tag is not None and tag.is_marked:
            return self._by_tag(tag, raw, find)
        refusals: list[Refused] = []
        fits = self._fits(raw, refusals)
        if len(fits) > 1 or (fits and tag is not None):
            # Some members may have ignored fields that they do not have.
            whole = {name: it for name, it in fits.items() if self._is_whole(name, it, raw)}
            fits = whole or ({} if tag is not None else fits)
        if len(fits) == 1:
            return fits.popitem()[1]
        if fits:
            raise Refused(
                f"it could be {' or '.join(fits)}: annotate what the step before returns as "
                f"{self._names()}"
            )
        # Tags of 0.1 have no mark. (A rescue marks the faults for its handler, also those of 0.1.)
        if tag is not None and tag.type in self._members:
            return self._by_tag(tag, raw, find)
        if len(refusals) == 1:  # only one member has this kind of JSON
            raise refusals[0]
        raise Refused(f"it is none of {self._names()}")

    def takes_tag(self, name: str) -> bool:
        """Whether a type of this name is among its members."""
        return name in self._members or name in self._faults

    @property
    def takes_every_fault(self) -> bool:
        """Whether all kinds of fault are among its members."""
        return len(self._faults) == len(KINDS)

    def _tag(self, raw: bytes | Raw) -> Tag | None:
        if kind_of(raw) != OBJECT:
            return None
        with contextlib.suppress(Refused):
            return read_tag(raw)
        return None

    def _by_tag(self, tag: Tag, raw: bytes | Raw, find: Find | None = None) -> Any:
        if tag.type in self._members:
            return self._members[tag.type].codec.read(tag.value)
        if not tag.task and tag.type in self._faults:
            return decode_fault(raw)
        origin = find(tag.task) if find is not None and tag.task else None
        if isinstance(origin, Tagged) and origin is not self:
            value = origin.decode_error(raw)
            known = tuple(kind for each in self._members.values() for kind in each.kinds)
            if isinstance(value, known):
                return value
        raise Refused(f"{tag.type} is not one of {self._names()}")

    def _fits(self, raw: bytes | Raw, refusals: list[Refused]) -> dict[str, Any]:
        """The values that members read from JSON without a name, from a step that gives one type.

        Args:
            raw: The JSON.
            refusals: Gets the reasons of the members that have this kind of JSON and refuse it.
        """
        kind = kind_of(raw)
        if self._bare:
            one = next((each for each in self._bare if kind in each.codec.kinds), None)
            candidates = {} if one is None else {"": one}
        else:
            candidates = {
                name: each for name, each in self._members.items() if kind in each.codec.kinds
            }
        fits: dict[str, Any] = {}
        for name, member in candidates.items():
            try:
                fits[name] = member.codec.read(raw)
            except Refused as problem:
                refusals.append(problem)
        return fits

    def _is_whole(self, name: str, value: Any, raw: bytes | Raw) -> bool:
        """Whether a value contains everything that is in the JSON."""
        codec = self._members[name].codec if name else self
        try:
            again = msgspec.json.decode(codec.write(value))
            return difference(again, msgspec.json.decode(raw), is_strict=True) is None
        except (Refused, msgspec.MsgspecError, RecursionError):
            return False

    def _written(self, value: Any) -> tuple[str, bytes]:
        # Members of exactly this type come first, because a bool is also an int.
        named = self._members.items()
        exact = [name for name, member in named if type(value) in member.kinds]
        if len(exact) == 1:
            return exact[0], self._members[exact[0]].codec.write(value)
        looser = [name for name, member in named if isinstance(value, member.kinds)]
        refused = Refused(
            f"{type(value).__qualname__} is not one of {self._names()}: name it in the annotation"
        )
        for name in exact or looser:
            try:
                return name, self._members[name].codec.encode(value)
            except Refused as problem:
                refused = problem
        raise refused

    def _names(self) -> str:
        faults = ["Fault"] if self.takes_every_fault else sorted(self._faults)
        return " | ".join([*self._members, *faults]) or "Never"


def _distinct_in_json(named: Mapping[str, _Member]) -> tuple[_Member, ...]:
    """The members, if each has its own kinds of JSON; those for msgspec are joined."""
    plain = [member for member in named.values() if isinstance(member.codec, Plain)]
    others = [member for member in named.values() if not isinstance(member.codec, Plain)]
    if len(plain) > 1:
        annotations: Any = tuple(member.codec.annotation for member in plain)
        try:
            joint = Plain(Union[annotations])  # noqa: UP007  # a union of a tuple
        except TypeError:
            return ()
        others.append(_Member(tuple(kind for member in plain for kind in member.kinds), joint))
    else:
        others += plain
    kinds = [kind for member in others for kind in member.codec.kinds]
    return tuple(others) if len(set(kinds)) == len(kinds) else ()


def _is_of(value: object, member: _Member) -> bool:
    return type(value) in member.kinds
