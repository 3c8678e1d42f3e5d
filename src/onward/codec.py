"""Values to JSON bytes and back, by their annotations."""

from __future__ import annotations

import contextlib
import math
import re
import sys
import types
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Any, Never, NoReturn, TypeAlias, Union, get_args, get_origin, is_typeddict

import msgspec

from onward.fault import KINDS, Fault

Annotation: TypeAlias = object
"""What stands behind the colon; type checkers have no closer word for it."""

Find: TypeAlias = Callable[[str], "Tagged | None"]
"""Finds the error codec of a task by its name."""


class Refused(ValueError):
    """A value, or bytes, that an annotation does not allow."""

    def __init__(self, reason: str, path: str = "$") -> None:
        super().__init__(reason)
        self.reason = reason
        self.path = path


class Tag(msgspec.Struct, frozen=True, omit_defaults=True):
    """A value of one of several types, on the wire.

    `task` names the task that failed with it, where it is an error.
    """

    type: str
    value: msgspec.Raw
    task: str = ""


class Plain:
    """The codec of an annotation that msgspec can tell apart by itself."""

    __slots__ = ("_decode", "_exact", "_holds_any", "_holds_float", "annotation")

    def __init__(self, annotation: Annotation) -> None:
        self.annotation = annotation
        seen = _survey(annotation)
        self._holds_any = seen.any
        self._holds_float = seen.float
        self._decode = msgspec.json.Decoder(annotation, dec_hook=_decode_custom).decode
        # For these, being of the type is all that their annotation asks.
        self._exact = next((kind for kind in (int, str, bool, bytes) if kind is annotation), None)

    def encode(self, value: Any) -> bytes:
        """The value as JSON, proven to come back as the annotation says, or `Refused`."""
        try:
            raw = _ENCODER.encode(value)
        except RecursionError:
            raise Refused("nested too deeply (or it contains itself)") from None
        except Exception as problem:
            raise Refused(str(problem) or type(problem).__name__) from None
        if self._exact is not None and type(value) is self._exact:
            return raw
        # msgspec writes NaN and the infinities as null, which may well be allowed here.
        if self._holds_float and b"null" in raw:
            for path in _not_finite(msgspec.to_builtins(value, enc_hook=_shown), "$"):
                raise Refused("NaN and infinity have no JSON form: send None, or a str", path)
        back = self.decode(raw)
        # Where nothing names the type, there is nothing to say what else it may come back as.
        if not _is_alike(value, back, is_strict=self._holds_any):
            raise Refused(self._changed(value, back))
        return raw

    def _changed(self, value: object, back: object) -> str:
        if self._holds_any:
            return (
                "what is annotated Any must be plain JSON (None, bool, int, float, str, list, dict "
                "with str keys): name its type in the annotation"
            )
        was, becomes = type(value).__qualname__, type(back).__qualname__
        if was != becomes:
            return f"Expected `{becomes}`, got `{was}`"
        return f"a part of this {was} is not of the type that its annotation says"

    def decode(self, raw: bytes | msgspec.Raw) -> Any:
        """The value that these bytes hold, or `Refused`."""
        try:
            return self._decode(raw)
        except msgspec.ValidationError as problem:
            raise _refused(problem) from None
        except msgspec.DecodeError as problem:
            raise Refused(f"no valid JSON: {problem}") from None
        except RecursionError:
            raise Refused("nested too deeply") from None
        except Exception as problem:
            raise Refused(f"{type(problem).__name__}: {problem}") from None


class Tagged:
    """The codec of a union whose members JSON alone cannot tell apart: each travels with a name."""

    __slots__ = ("_faults", "_members", "annotation")

    def __init__(self, annotation: Annotation) -> None:
        self.annotation = annotation
        self._members: dict[str, tuple[type, Plain]] = {}
        self._faults: set[str] = set()
        for member in _members(annotation):
            if isinstance(member, type) and issubclass(member, Fault):
                self._faults |= {name for name, kind in KINDS.items() if issubclass(kind, member)}
                continue
            name, kind = _tag(member), _class(member)
            if name in self._members:
                raise TypeError(
                    f"two of its types are called {name!r}, and the wire tells them apart by "
                    "name: rename one"
                )
            self._members[name] = (kind, Plain(member))

    def encode(self, value: Any, task: str = "") -> bytes:
        """The value under the name of its type, or `Refused`."""
        if isinstance(value, Fault):
            if type(value).__name__ not in self._faults:
                raise Refused(f"{type(value).__name__} is not one of {self._names()}")
            return encode_fault(value)
        name, raw = self._encoded(value)
        return _ENCODER.encode(Tag(name, msgspec.Raw(raw), task))

    def decode(self, raw: bytes | msgspec.Raw, find: Find | None = None) -> Any:
        """The value that these bytes hold, or `Refused`.

        Args:
            raw: The bytes.
            find: Where to look up the error codec of the task that failed, for an error whose
                type the annotation names only by a base class.
        """
        try:
            tag = TAG.decode(raw)
        except Refused:
            return self._guess(raw)
        if tag.type in self._members:
            return self._members[tag.type][1].decode(tag.value)
        if not tag.task and tag.type in self._faults:
            return decode_fault(raw)
        origin = find(tag.task) if find is not None and tag.task else None
        if origin is not None and origin is not self:
            value = origin.decode(raw)
            if isinstance(value, tuple(kind for kind, _ in self._members.values())):
                return value
        raise Refused(f"{tag.type} is not one of {self._names()}")

    @property
    def takes_every_fault(self) -> bool:
        """Whether all kinds of fault are among its types."""
        return len(self._faults) == len(KINDS)

    def _guess(self, raw: bytes | msgspec.Raw) -> Any:
        """The value of a step that gives one of the types alone, and so gave it without a name."""
        fits: dict[str, Any] = {}
        for name, (_, codec) in self._members.items():
            with contextlib.suppress(Refused):
                fits[name] = codec.decode(raw)
        if len(fits) == 1:
            return fits.popitem()[1]
        if not fits:
            raise Refused(f"it is none of {self._names()}")
        raise Refused(
            f"it could be {' or '.join(fits)}: annotate what the step before returns as "
            f"{self._names()}"
        )

    def _encoded(self, value: Any) -> tuple[str, bytes]:
        # What is of the very type comes first, for a bool is an int as well.
        exact = [name for name, (kind, _) in self._members.items() if type(value) is kind]
        looser = [name for name, (kind, _) in self._members.items() if isinstance(value, kind)]
        refused = Refused(
            f"{type(value).__qualname__} is not one of {self._names()}: name it in the annotation"
        )
        for name in exact or looser:
            try:
                return name, self._members[name][1].encode(value)
            except Refused as problem:
                refused = problem
        raise refused

    def _names(self) -> str:
        faults = ["Fault"] if self.takes_every_fault else sorted(self._faults)
        return " | ".join([*self._members, *faults]) or "Never"


Codec: TypeAlias = Plain | Tagged


def codec(annotation: Annotation) -> Codec:
    """The codec of an annotation.

    Args:
        annotation: A resolved annotation (no forward references at its top).

    Returns:
        A codec that encodes only what comes back as the annotation says.

    Raises:
        TypeError: If nobody can encode it; the message says why and what to write instead.

    Example:
        >>> codec(dict[str, int]).encode({"a": 1})
        b'{"a":1}'
        >>> codec(list[int]).decode(b"[1, 2]")
        [1, 2]
    """
    members = _members(annotation)
    if any(isinstance(member, type) and issubclass(member, Fault) for member in members):
        return Tagged(annotation)
    try:
        return Plain(annotation)
    except TypeError as problem:
        if len(members) < 2:
            hint = " (inside another type, use msgspec.Struct with tag=True)"
            raise TypeError(f"{problem}{hint if 'unions' in str(problem) else ''}") from None
    return Tagged(annotation)


def encode_fault(fault: Fault) -> bytes:
    """A fault under the name of its kind; whatever is in its texts, it can be sent."""
    try:
        raw = _ENCODER.encode(fault)
    except UnicodeEncodeError:
        sent = msgspec.to_builtins(fault)
        raw = _ENCODER.encode({key: _sendable(value) for key, value in sent.items()})
    return _ENCODER.encode(Tag(type(fault).__name__, msgspec.Raw(raw)))


def _sendable(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    return list(map(_sendable, value)) if isinstance(value, list | tuple) else value


def decode_fault(raw: bytes | msgspec.Raw) -> Fault:
    """The fault that these bytes hold, or `Refused`."""
    tag = TAG.decode(raw)
    if tag.type not in KINDS:
        raise Refused(f"{tag.type!r} is no fault that this version knows")
    try:
        return msgspec.json.decode(tag.value, type=KINDS[tag.type])
    except (msgspec.MsgspecError, ValueError, RecursionError) as problem:
        raise Refused(str(problem)) from None


def element(annotation: Annotation, index: int) -> Annotation:
    """What an annotation of a list, a tuple, a set or the like says of the item at an index."""
    arguments = get_args(annotation)
    if get_origin(annotation) is tuple and arguments[-1:] != (Ellipsis,):
        return arguments[index] if index < len(arguments) else Any
    return arguments[0] if arguments else Any


class _Seen:
    __slots__ = ("any", "float")

    def __init__(self) -> None:
        self.any = False
        self.float = False


def _survey(annotation: Annotation) -> _Seen:
    """Walks all that an annotation is made of; raises TypeError for what JSON cannot carry."""
    info = msgspec.inspect
    seen = _Seen()
    done: set[int] = set()
    try:
        todo: list[object] = [info.type_info(annotation)]
    except NameError as problem:
        raise TypeError(f"{problem}: define it above, at the top of its module") from None
    while todo:
        node = todo.pop()
        if id(node) in done:
            continue
        done.add(id(node))
        if isinstance(node, info.CustomType):
            if not _is_custom(node.cls):
                raise TypeError(_advice(node.cls))
        elif isinstance(node, info.AnyType):
            seen.any = True
        elif isinstance(node, info.FloatType):
            seen.float = True
        elif isinstance(node, info.DictType) and not isinstance(node.key_type, _KEYS):
            raise TypeError(
                "JSON has no such keys: a dict's keys are str, a number, an Enum, a date, a UUID"
            )
        if isinstance(node, msgspec.Struct):
            todo.extend(_inner(node))
    return seen


def _inner(node: msgspec.Struct) -> Iterator[object]:
    for name in node.__struct_fields__:
        value: Any = getattr(node, name)
        yield from value if isinstance(value, tuple) else (value,)


_KEYS = (
    msgspec.inspect.AnyType,
    msgspec.inspect.StrType,
    msgspec.inspect.IntType,
    msgspec.inspect.FloatType,
    msgspec.inspect.EnumType,
    msgspec.inspect.LiteralType,
    msgspec.inspect.DateType,
    msgspec.inspect.DateTimeType,
    msgspec.inspect.TimeType,
    msgspec.inspect.TimeDeltaType,
    msgspec.inspect.UUIDType,
    msgspec.inspect.DecimalType,
    msgspec.inspect.BytesType,
)


def _is_custom(kind: type) -> bool:
    return _is_path(kind) or is_model(kind)


# A path or a pydantic model can only come from a program that has imported its module, so neither
# is imported here for the programs that have no use for it.


def _is_path(kind: type) -> bool:
    pathlib = sys.modules.get("pathlib")
    return (
        pathlib is not None
        and kind.__module__.partition(".")[0] == "pathlib"
        and issubclass(kind, pathlib.PurePath)
    )


def is_model(kind: type) -> bool:
    """Whether a class is a pydantic model."""
    pydantic = sys.modules.get("pydantic")
    return pydantic is not None and isinstance(kind, type) and issubclass(kind, pydantic.BaseModel)


def _encode_custom(value: Any) -> Any:
    if _is_path(type(value)):
        return str(value)
    if is_model(type(value)):
        return msgspec.Raw(value.model_dump_json(by_alias=True, round_trip=True).encode())
    raise TypeError(f"{type(value).__qualname__} has no JSON form")


def _shown(value: Any) -> Any:
    # Only to look for NaN in, which a model does not hide: it comes back with None in its place.
    return None if is_model(type(value)) else _encode_custom(value)


def _decode_custom(kind: type, value: Any) -> Any:
    if is_model(kind):
        # JSON mode, so that a strict model still takes a date that was written as a str.
        return kind.model_validate_json(_ENCODER.encode(value))  # type: ignore[attr-defined]  # pydantic's, which mypy need not have installed
    if not isinstance(value, str):
        raise ValueError(f"Expected `str`, got `{type(value).__name__}`")
    return kind(value)


_ADVICE: Mapping[type, str] = {
    complex: "tuple[float, float]",
    range: "a start and a stop, as int",
    object: "the type that it really has",
}


def _advice(kind: type) -> str:
    name = getattr(kind, "__qualname__", repr(kind))
    if kind.__module__ in ("collections", "collections.abc"):
        instead = "list[...] or dict[str, ...]"
    else:
        instead = _ADVICE.get(kind, "a dataclass, or a type that msgspec or pydantic encodes")
    return f"{name} has no JSON form: write {instead}"


def _members(annotation: Annotation) -> tuple[Annotation, ...]:
    origin = get_origin(annotation)
    if origin is Union or origin is types.UnionType:
        return get_args(annotation)
    return () if annotation is Never or annotation is NoReturn else (annotation,)


def _class(member: Annotation) -> type:
    if member is None:
        return type(None)
    kind = get_origin(member) or member
    if not isinstance(kind, type) or kind is Any or is_typeddict(kind):
        raise TypeError(
            f"{member!r} has no class that its values could be told by, among other types: use a "
            "dataclass"
        )
    return kind


def _tag(member: Annotation) -> str:
    name = _class(member).__qualname__.rpartition("<locals>.")[2]
    arguments = get_args(member)
    if not arguments:
        return name
    return f"{name}[{', '.join(_tag(each) for each in arguments)}]"


def _not_finite(value: Any, path: str) -> Iterator[str]:
    if isinstance(value, float):
        if not math.isfinite(value):
            yield path
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _not_finite(item, f"{path}.{key}")
    elif isinstance(value, list | tuple | set | frozenset):
        for index, item in enumerate(value):
            yield from _not_finite(item, f"{path}[{index}]")


def _is_alike(value: Any, back: Any, *, is_strict: bool) -> bool:
    """Whether a value came back as what it was, but for what its annotation says otherwise.

    An int may come back as a float, and a tuple as a list, but nothing as less than it was.
    """
    if _is_equal(value, back):
        return True
    # What compares unequal may still be alike: with no __eq__ of its own, or with such parts.
    alike = partial(_is_alike, is_strict=is_strict)
    if is_strict and type(value) is not type(back):
        return False
    if isinstance(value, list | tuple) and isinstance(back, list | tuple):
        return len(value) == len(back) and all(map(alike, value, back))
    if isinstance(value, Mapping) and isinstance(back, dict):
        return value.keys() == back.keys() and all(
            alike(item, back[key]) for key, item in value.items()
        )
    if type(value) is not type(back):
        return False
    if isinstance(value, datetime):  # an hour that comes twice is unequal to itself elsewhere
        return bool(value.astimezone(UTC) == back.astimezone(UTC))
    names = _field_names(type(value))
    return names is not None and all(
        alike(getattr(value, name, None), getattr(back, name, None)) for name in names
    )


def _is_equal(value: Any, back: Any) -> bool:
    try:
        return bool(value == back)
    except Exception:  # it is the user's own comparison
        return False


def _field_names(kind: Any) -> Iterable[str] | None:
    """The names of the fields of a dataclass, a struct or an attrs class."""
    if hasattr(kind, "__attrs_attrs__"):
        return [field.name for field in kind.__attrs_attrs__]
    for names in ("__dataclass_fields__", "__struct_fields__"):
        if hasattr(kind, names):
            found: Iterable[str] = getattr(kind, names)
            return found
    return None


_PATH = re.compile(r"^(.*) - at (?:`key` in )?`([^`]*)`$", re.DOTALL)


def _refused(problem: msgspec.ValidationError) -> Refused:
    found = _PATH.match(str(problem))
    return Refused(found[1], found[2]) if found else Refused(str(problem))


_ENCODER = msgspec.json.Encoder(enc_hook=_encode_custom)
TAG = Plain(Tag)
