"""The codec of annotations that msgspec supports as a whole."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
from msgspec import Raw, inspect

from onward.codec.base import (
    ARRAY,
    BOOL,
    KINDS_OF_JSON,
    NULL,
    NUMBER,
    OBJECT,
    STR,
    Annotation,
    Codec,
    Find,
    Refused,
    check_keys,
)
from onward.codec.limits import check_hashes
from onward.codec.same import NOT_FINITE, difference, is_model
from onward.codec.schemas import Schema, of_plain


class Plain(Codec):
    """The codec of an annotation that msgspec supports by itself.

    Raises:
        TypeError: If msgspec does not support it; the message says what to write instead.
    """

    __slots__ = ("_decode", "_exact", "_seen")

    def __init__(self, annotation: Annotation) -> None:
        self.annotation = annotation
        self._seen = _survey(annotation)
        self._decode = msgspec.json.Decoder(annotation, dec_hook=_decode_custom).decode
        # These annotations ask for nothing but the type.
        self._exact = next((kind for kind in (int, str, bool, bytes) if kind is annotation), None)

    @property
    def kinds(self) -> frozenset[str]:
        return _kinds_of(inspect.type_info(self.annotation))

    def schema(self) -> Schema:
        return of_plain(self.annotation)

    def encode(self, value: Any) -> bytes:
        """Writes a value as JSON, and checks that it reads back the same; raises `Refused`."""
        if type(value) is self._exact:
            try:
                return _ENCODER.encode(value)
            except Exception:
                return self.write(value)  # which says why it cannot travel
        if not self._seen.any:
            return super().encode(value)
        try:
            return self.write(value)  # this checks it too, and more strictly
        except RecursionError:
            raise Refused("nested too deeply (or it contains itself)") from None

    def write(self, value: Any) -> bytes:
        try:
            raw = _ENCODER.encode(value)
        except RecursionError:
            raise Refused("nested too deeply (or it contains itself)") from None
        except Exception as problem:
            raise Refused(str(problem) or type(problem).__name__) from None
        if self._exact is not None:
            return raw
        check_keys(raw)
        # msgspec writes NaN and the infinities as null, which the annotation may allow.
        if self._seen.float and b"null" in raw:
            for path in not_finite(msgspec.to_builtins(value, enc_hook=_encode_custom), "$"):
                raise Refused(NOT_FINITE, path)
        if self._seen.any:
            # Under Any, nothing says which other type a value may be read as.
            changed = difference(value, self.read(raw), is_strict=True)
            if changed is not None:
                raise Refused(
                    f"{changed.reason} (a value annotated Any must be plain JSON: None, bool, int, "
                    "float, str, list, dict with str keys: name its type in the annotation)",
                    f"${changed.path}",
                )
        return raw

    def decode(self, raw: bytes | Raw, find: Find | None = None) -> Any:
        """Reads a value from JSON; raises `Refused`."""
        if self._seen.hashes:
            check_hashes(bytes(raw), is_decimal=self._seen.decimal)
        try:
            return self._decode(raw)
        except msgspec.ValidationError as problem:
            raise _refused(problem) from None
        except msgspec.DecodeError as problem:
            raise Refused(f"not valid JSON: {problem}") from None
        except RecursionError:
            raise Refused("nested too deeply") from None
        except Exception as problem:
            raise Refused(f"{type(problem).__name__}: {problem}") from None

    def read(self, raw: bytes | Raw) -> Any:
        """Reads a value from JSON; raises `Refused`."""
        return self.decode(raw)


class _Survey:
    __slots__ = ("any", "decimal", "float", "hashes")

    def __init__(self) -> None:
        self.any = False
        self.float = False
        self.hashes = False
        self.decimal = False


def _survey(annotation: Annotation) -> _Survey:
    """Walks over all parts of an annotation; raises TypeError for a part that has no JSON form."""
    seen = _Survey()
    done: set[int] = set()
    try:
        todo: list[object] = [inspect.type_info(annotation)]
    except NameError as problem:
        raise TypeError(f"{problem}: define it above, at the top of its module") from None
    except TypeError as problem:
        raise TypeError(_clearer(str(problem))) from None
    while todo:
        node = todo.pop()
        if id(node) in done:
            continue
        done.add(id(node))
        if isinstance(node, inspect.CustomType):
            if not _is_path(node.cls):
                raise TypeError(_advice(node.cls))
        elif isinstance(node, inspect.AnyType | inspect.RawType):
            seen.any = seen.any or isinstance(node, inspect.AnyType)
        elif isinstance(node, inspect.FloatType):
            seen.float = True
        elif isinstance(node, inspect.DecimalType):
            seen.decimal = True
        elif isinstance(node, inspect.SetType | inspect.FrozenSetType):
            seen.hashes = True
        elif isinstance(node, inspect.DictType):
            if not isinstance(node.key_type, _KEYS):
                raise TypeError(
                    "JSON has no such keys: a dict's keys must be str, numbers, Enums, dates or "
                    "UUIDs"
                )
            seen.hashes = seen.hashes or not isinstance(node.key_type, inspect.StrType)
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


# A program with a path has imported pathlib, so other programs do not pay for the import.


def _is_path(kind: type) -> bool:
    pathlib = sys.modules.get("pathlib")
    return (
        pathlib is not None
        and kind.__module__.partition(".")[0] == "pathlib"
        and issubclass(kind, pathlib.PurePath)
    )


def _encode_custom(value: Any) -> Any:
    if _is_path(type(value)):
        return str(value)
    if is_model(type(value)):
        raise TypeError(f"the annotation does not name {type(value).__qualname__}: name it there")
    name = type(value).__qualname__
    for base in (str, int, float, bytes):
        if isinstance(value, base):
            kind = base.__name__
            raise TypeError(f"{name} is a subclass of {kind}, and would arrive as one: convert it")
    raise TypeError(f"{name} has no JSON form")


def _decode_custom(kind: type, value: Any) -> Any:
    if not isinstance(value, str):
        raise ValueError(f"Expected `str`, got `{type(value).__name__}`")
    return kind(value)


_KINDS: Mapping[type, str] = {
    inspect.NoneType: NULL,
    inspect.BoolType: BOOL,
    inspect.IntType: NUMBER,
    inspect.FloatType: NUMBER,
    inspect.ListType: ARRAY,
    inspect.SetType: ARRAY,
    inspect.FrozenSetType: ARRAY,
    inspect.VarTupleType: ARRAY,
    inspect.TupleType: ARRAY,
    inspect.CollectionType: ARRAY,
    inspect.NamedTupleType: ARRAY,
    inspect.DictType: OBJECT,
    inspect.TypedDictType: OBJECT,
    inspect.DataclassType: OBJECT,
    inspect.StrType: STR,
    inspect.BytesType: STR,
    inspect.ByteArrayType: STR,
    inspect.DateType: STR,
    inspect.TimeType: STR,
    inspect.UUIDType: STR,
    inspect.CustomType: STR,
}


def _kinds_of(info: Any) -> frozenset[str]:
    if isinstance(info, inspect.UnionType):
        return frozenset().union(*map(_kinds_of, info.types))
    if isinstance(info, inspect.Metadata):
        return _kinds_of(info.type)
    if isinstance(info, inspect.StructType):
        return frozenset((ARRAY if info.array_like else OBJECT,))
    found = _KINDS.get(type(info))
    return KINDS_OF_JSON if found is None else frozenset((found,))


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


def _clearer(said: str) -> str:
    """What msgspec says of an annotation, with advice."""
    of_enum = re.search(_OF_ENUM, said)
    if of_enum is None:
        return said
    return (
        f"the Enum {of_enum[1]} travels by its values, and these are not all str or all int: give "
        "its members values of one of these types"
    )


_OF_ENUM = r"^Enums must contain .*<(?:flag|enum) '(.+)'>"


def not_finite(value: Any, path: str) -> Iterator[str]:
    """The paths of NaN and the infinities in builtin data."""
    if isinstance(value, float):
        if not math.isfinite(value):
            yield path
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from not_finite(item, f"{path}.{key}")
    elif isinstance(value, list | tuple | set | frozenset):
        for index, item in enumerate(value):
            yield from not_finite(item, f"{path}[{index}]")


_PATH = r"^(.*) - at (?:`key` in )?`([^`]*)`$"


def _refused(problem: msgspec.ValidationError) -> Refused:
    found = re.match(_PATH, str(problem), re.DOTALL)
    return Refused(found[1], found[2]) if found else Refused(str(problem))


_ENCODER = msgspec.json.Encoder(enc_hook=_encode_custom)
