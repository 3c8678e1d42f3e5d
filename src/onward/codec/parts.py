"""Codecs of containers and records whose parts have codecs of their own.

For annotations that msgspec supports as a whole, `Plain` does the same much faster.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import MISSING
from typing import Any, Literal, get_origin

import msgspec
from msgspec import UNSET, Raw
from typing_extensions import is_typeddict

from onward.codec.base import ARRAY, KINDS_OF_JSON, OBJECT, RESERVED, Annotation, Codec, Refused
from onward.codec.limits import check_items
from onward.codec.same import field_names
from onward.codec.schemas import Schema

_ARRAY = msgspec.json.Decoder(list[Raw])
_OBJECT = msgspec.json.Decoder(dict[str, Raw])
_NAME = msgspec.json.Encoder()


class Recursive(Codec):
    """The codec of an annotation within itself. It delegates to `made`, which is set later."""

    __slots__ = ("made",)

    def __init__(self, annotation: Annotation) -> None:
        self.annotation = annotation
        self.made: Codec | None = None

    @property
    def kinds(self) -> frozenset[str]:
        return KINDS_OF_JSON if self.made is None else self.made.kinds

    def schema(self) -> Schema:
        return {"$ref": getattr(self.annotation, "__name__", str(self.annotation))}

    def write(self, value: Any) -> bytes:
        assert self.made is not None
        return self.made.write(value)

    def read(self, raw: bytes | Raw) -> Any:
        assert self.made is not None
        return self.made.read(raw)


class ItemsOf(Codec):
    """The codec of a list, or of a tuple or set of any length."""

    __slots__ = ("_inner", "_kind")

    def __init__(
        self, annotation: Annotation, inner: Codec, kind: Callable[[list[Any]], Any]
    ) -> None:
        self.annotation = annotation
        self._inner = inner
        self._kind = kind

    @property
    def kinds(self) -> frozenset[str]:
        return frozenset((ARRAY,))

    def schema(self) -> Schema:
        is_set = self._kind in (set, frozenset)
        unique = {"uniqueItems": True} if is_set else {}
        return {"type": "array", "items": self._inner.schema(), **unique}

    def write(self, value: Any) -> bytes:
        expected = (set, frozenset) if self._kind in (set, frozenset) else (list, tuple)
        if not isinstance(value, expected):
            raise Refused(f"Expected `{expected[0].__name__}`, got `{type(value).__qualname__}`")
        return _joined(self._inner.write, enumerate(value))

    def read(self, raw: bytes | Raw) -> Any:
        items = [_at(f"[{at}]", self._inner.read, each) for at, each in enumerate(_items(raw))]
        if self._kind in (set, frozenset):
            try:
                check_items(items)
            except TypeError as problem:
                raise Refused(str(problem)) from None
        return self._kind(items)


class TupleOf(Codec):
    """The codec of a tuple of fixed length."""

    __slots__ = ("_inner",)

    def __init__(self, annotation: Annotation, inner: Sequence[Codec]) -> None:
        self.annotation = annotation
        self._inner = inner

    @property
    def kinds(self) -> frozenset[str]:
        return frozenset((ARRAY,))

    def schema(self) -> Schema:
        count, items = len(self._inner), [each.schema() for each in self._inner]
        return {"type": "array", "prefixItems": items, "minItems": count, "maxItems": count}

    def write(self, value: Any) -> bytes:
        if not isinstance(value, tuple | list):
            raise Refused(f"Expected `tuple`, got `{type(value).__qualname__}`")
        self._check(len(value))
        parts = (_at(f"[{at}]", self._inner[at].write, each) for at, each in enumerate(value))
        return b"[" + b",".join(parts) + b"]"

    def read(self, raw: bytes | Raw) -> Any:
        items = _items(raw)
        self._check(len(items))
        return tuple(_at(f"[{at}]", self._inner[at].read, each) for at, each in enumerate(items))

    def _check(self, length: int) -> None:
        if length != len(self._inner):
            raise Refused(f"Expected `array` of length {len(self._inner)}, got {length}")


class DictOf(Codec):
    """The codec of a dict. msgspec reads its keys, and a codec of their own may check them."""

    __slots__ = ("_inner", "_key", "_keys", "_proof")

    def __init__(
        self, annotation: Annotation, key: Annotation, proof: Codec | None, inner: Codec
    ) -> None:
        self.annotation = annotation
        self._inner = inner
        self._key = key
        self._proof = proof
        self._keys = msgspec.json.Decoder(dict[key, None])  # type: ignore[valid-type]  # it is a type, at run time

    @property
    def kinds(self) -> frozenset[str]:
        return frozenset((OBJECT,))

    def schema(self) -> Schema:
        return {"type": "object", "additionalProperties": self._inner.schema()}

    def write(self, value: Any) -> bytes:
        if not isinstance(value, dict):
            raise Refused(f"Expected `dict`, got `{type(value).__qualname__}`")
        try:
            # The JSON form of each key, in a dict of its own, because two keys may share one.
            keys = [_NAME.encode({key: None})[1:-6] for key in value]
        except Exception as problem:
            raise Refused(str(problem)) from None
        parts: list[bytes] = []
        self._check(value)
        for key, (shown, item) in zip(keys, value.items(), strict=True):
            if key.startswith(b'"$onward.'):
                raise Refused(f"keys that begin with {RESERVED!r} are Onward's own: rename the key")
            parts.append(key + b":" + _at(f".{shown}", self._inner.write, item))
        return b"{" + b",".join(parts) + b"}"

    def read(self, raw: bytes | Raw) -> Any:
        items = _fields(raw)
        if self._key is str:
            keys: list[Any] = list(items)
        else:
            try:
                keys = [next(iter(self._keys.decode(_NAME.encode({at: None})))) for at in items]
            except msgspec.ValidationError as problem:
                raise Refused(str(problem)) from None
            check_items(keys)
        self._check(keys)
        values = (_at(f".{name}", self._inner.read, each) for name, each in items.items())
        return dict(zip(keys, values, strict=True))

    def _check(self, keys: Iterable[Any]) -> None:
        if self._proof is not None:
            for key in keys:
                self._proof.encode(key)


class RecordOf(Codec):
    """The codec of a dataclass, an attrs class, a struct, a named tuple or a `TypedDict`."""

    __slots__ = ("_fields", "_kind", "_names", "_tag")

    def __init__(self, annotation: Annotation, fields: Mapping[str, Codec]) -> None:
        self.annotation = annotation
        self._kind: Any = get_origin(annotation) or annotation
        self._fields = fields
        self._names = {name: name for name in fields}
        self._tag: tuple[str, object] | None = None
        struct: Any = self._kind
        if hasattr(struct, "__struct_config__"):
            config = struct.__struct_config__
            if config.array_like:
                raise TypeError(
                    "msgspec does not support one of its fields: leave out array_like=True"
                )
            encoded = struct.__struct_encode_fields__
            self._names = dict(zip(struct.__struct_fields__, encoded, strict=True))
            if config.tag is not None:
                self._tag = (config.tag_field or "type", config.tag)

    @property
    def kinds(self) -> frozenset[str]:
        return frozenset((ARRAY if self._is_array else OBJECT,))

    @property
    def _is_array(self) -> bool:
        return issubclass(self._kind, tuple)

    def schema(self) -> Schema:
        fields = {name: each.schema() for name, each in self._fields.items()}
        if self._is_array:
            least = sum(map(self._is_required, fields))
            items = list(fields.values())
            return {
                "type": "array",
                "prefixItems": items,
                "minItems": least,
                "maxItems": len(items),
            }
        required = [self._names[name] for name in fields if self._is_required(name)]
        return {
            "title": self._kind.__name__,
            "type": "object",
            "properties": {self._names[name]: each for name, each in fields.items()},
            "required": required,
        }

    def write(self, value: Any) -> bytes:
        if is_typeddict(self._kind):
            return self._write_dict(value)
        if type(value) is not self._kind:
            raise Refused(f"Expected `{self._kind.__qualname__}`, got `{type(value).__qualname__}`")
        parts: list[bytes] = []
        if self._tag is not None:
            parts.append(_NAME.encode(self._tag[0]) + b":" + _NAME.encode(self._tag[1]))
        for name, each in self._fields.items():
            item = getattr(value, name, UNSET)
            if item is UNSET:
                continue
            written = _at(f".{name}", each.write, item)
            parts.append(
                written if self._is_array else _NAME.encode(self._names[name]) + b":" + written
            )
        inner = b",".join(parts)
        return b"[" + inner + b"]" if self._is_array else b"{" + inner + b"}"

    def _write_dict(self, value: Any) -> bytes:
        if not isinstance(value, dict):
            raise Refused(f"Expected `dict`, got `{type(value).__qualname__}`")
        extra = [name for name in value if name not in self._fields]
        if extra:
            shown = ", ".join(map(repr, extra[:3]))
            raise Refused(f"the annotation has no place for {shown}, which would be lost")
        parts = (
            _NAME.encode(name) + b":" + _at(f".{name}", self._fields[name].write, item)
            for name, item in value.items()
        )
        return b"{" + b",".join(parts) + b"}"

    def read(self, raw: bytes | Raw) -> Any:
        if self._is_array:
            items = _items(raw)
            if len(items) > len(self._fields):
                raise Refused(f"Expected `array` of length {len(self._fields)}, got {len(items)}")
            found = dict(zip(self._fields, items, strict=False))
        else:
            given = _fields(raw)
            found = {name: given[key] for name, key in self._names.items() if key in given}
            self._check_object(given)
        values = {name: _at(f".{name}", self._fields[name].read, found[name]) for name in found}
        for name in self._fields:
            if name not in values and self._is_required(name):
                raise Refused(f"Object missing required field `{self._names[name]}`")
        try:
            return _made(self._kind, values)
        except RecursionError:
            raise
        except Exception as problem:  # the user's own checks raised
            raise Refused(str(problem) or type(problem).__name__) from None

    def _check_object(self, given: Mapping[str, Raw]) -> None:
        if self._tag is not None:
            tag = given.get(self._tag[0], Raw(b"null"))
            if bytes(tag) != _NAME.encode(self._tag[1]):
                raise Refused(f"Expected the tag {self._tag[1]!r} in `{self._tag[0]}`")
        config: Any = getattr(self._kind, "__struct_config__", None)
        if config is not None and config.forbid_unknown_fields:
            known = {*self._names.values(), *(self._tag or ())[:1]}
            for name in given:
                if name not in known:
                    raise Refused(f"Object contains unknown field `{name}`")

    def _is_required(self, name: str) -> bool:
        if is_typeddict(self._kind):
            return name in self._kind.__required_keys__
        return _default(self._kind, name) is MISSING


def _default(kind: Any, name: str) -> Any:
    """A function that makes the default of a record's field; MISSING if there is no default."""
    if hasattr(kind, "__attrs_attrs__"):
        return MISSING if getattr(kind.__attrs_attrs__, name).default is _nothing() else None
    if hasattr(kind, "__dataclass_fields__"):
        field = kind.__dataclass_fields__[name]
        if field.default is not MISSING:
            return lambda: field.default
        return field.default_factory
    if hasattr(kind, "__struct_fields__"):
        field = next(each for each in msgspec.structs.fields(kind) if each.name == name)
        return MISSING if field.required else None
    return None if name in kind._field_defaults else MISSING


def _nothing() -> Any:
    import attrs

    return attrs.NOTHING


def _made(kind: Any, values: Mapping[str, Any]) -> Any:
    if is_typeddict(kind):
        return dict(values)
    if hasattr(kind, "__attrs_attrs__"):
        own = {field.name: field for field in kind.__attrs_attrs__}
        made = kind(**{own[name].alias: values[name] for name in values if own[name].init})
        for name in values:
            if not own[name].init:
                object.__setattr__(made, name, values[name])
        return made
    if not hasattr(kind, "__dataclass_fields__"):
        return kind(**values)
    # Like msgspec, without __init__, which may be the user's own and take other arguments.
    made = kind.__new__(kind)
    for name in field_names(kind) or ():
        value = values[name] if name in values else _default(kind, name)()
        object.__setattr__(made, name, value)
    if hasattr(made, "__post_init__"):
        made.__post_init__()
    return made


def _joined(write: Callable[[Any], bytes], items: Any) -> bytes:
    return b"[" + b",".join([_at(f"[{at}]", write, each) for at, each in items]) + b"]"


def _at(where: str, do: Callable[[Any], Any], value: Any) -> Any:
    try:
        return do(value)
    except Refused as refused:
        raise refused.at(where) from None


def _items(raw: bytes | Raw) -> list[Raw]:
    found: list[Raw] = _json(_ARRAY, raw, "array")
    return found


def _fields(raw: bytes | Raw) -> dict[str, Raw]:
    found: dict[str, Raw] = _json(_OBJECT, raw, "object")
    return found


def _json(decoder: Any, raw: bytes | Raw, kind: Literal["array", "object"]) -> Any:
    try:
        return decoder.decode(raw)
    except msgspec.ValidationError:
        raise Refused(f"Expected `{kind}`") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as problem:
        raise Refused(f"not valid JSON: {problem}") from None
