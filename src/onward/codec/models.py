"""The codec of pydantic's models, and of annotations with its types and constraints."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec import Raw

from onward.codec.base import (
    KINDS_OF_JSON,
    OBJECT,
    RESERVED,
    Annotation,
    Codec,
    Refused,
    check_keys,
)
from onward.codec.limits import MAX_EXPONENT, check_hashes, has_large_exponent
from onward.codec.plain import not_finite
from onward.codec.same import NOT_FINITE, field_names, is_model
from onward.codec.schemas import Schema, inlined
from onward.secret import all_unmarked, has_marks, holds_secrets, revealed

_UNSET, _VALUE = f"{RESERVED}unset", f"{RESERVED}value"


class _Unset(msgspec.Struct, array_like=True, frozen=True):
    """The unset fields of a model, and those of the models within it, by place."""

    names: list[str]
    inner: dict[str, _Unset] = {}


class PydanticCodec(Codec):
    """The codec of an annotation that pydantic encodes and decodes.

    Raises:
        TypeError: If pydantic cannot encode it; the message is pydantic's.
    """

    __slots__ = ("_adapter", "_has_fractions")

    def __init__(self, annotation: Annotation) -> None:
        self.annotation = annotation
        self._adapter: Any = None
        self._has_fractions = False
        # A model may refer to others that are not defined yet.
        if not is_model(annotation):
            self._adapted()

    def _adapted(self) -> Any:
        if self._adapter is None:
            import pydantic
            from pydantic.errors import PydanticUserError

            try:
                annotation: Any = self.annotation
                self._adapter = pydantic.TypeAdapter(annotation)
                self._has_fractions = _has_fractions(self._adapter)
                if not getattr(self._adapter, "pydantic_complete", True):
                    raise TypeError("a type in it is not defined yet: define it above")
            except (PydanticUserError, TypeError, NameError) as problem:
                raise TypeError(f"pydantic says: {_first_line(problem)}") from None
        return self._adapter

    @property
    def kinds(self) -> frozenset[str]:
        kind: Any = self.annotation
        is_object = is_model(kind) and "root" not in kind.model_fields
        return frozenset((OBJECT,)) if is_object or field_names(kind) else KINDS_OF_JSON

    def schema(self) -> Schema:
        return inlined(self._adapted().json_schema())

    def encode(self, value: Any) -> bytes:
        try:
            return super().encode(value)
        except Refused as refused:
            raise self._explained(value, refused) from None

    def _explained(self, value: Any, refused: Refused) -> Refused:
        """The refusal, with advice that pydantic does not give."""
        try:
            shown = self._adapted().dump_python(value, warnings=False)
        except Exception:  # the user's own serializer raised
            return refused
        for path in not_finite(shown, "$"):
            if path == refused.path:
                return Refused(NOT_FINITE, path)
        if is_model(self.annotation) and _has_two_aliases(self.annotation):
            return Refused(f"{refused.reason}{_ALIASES}", refused.path)
        return refused

    def write(self, value: Any) -> bytes:
        try:
            raw: bytes = self._adapted().dump_json(
                value, by_alias=True, round_trip=True, warnings=False
            )
        except RecursionError:
            raise
        except Exception as problem:
            hint = _BASE64 if "utf-8" in str(problem) else ""
            raise Refused(f"{_first_line(problem)}{hint}") from None
        check_keys(raw)
        if b"NaN" in raw or b"Infinity" in raw:
            _check_json(raw)
        if holds_secrets(value):
            raw = _revealed(value, raw)
        unset = _unset(value)
        if unset is None:
            return raw
        mark = b'"%b":%b' % (_UNSET.encode(), msgspec.json.encode(unset))
        if not raw.startswith(b"{"):
            return b'{"%b":%b,%b}' % (_VALUE.encode(), raw, mark)
        return b"{%b%b%b}" % (raw[1:-1], b"," if raw != b"{}" else b"", mark)

    def read(self, raw: bytes | Raw) -> Any:
        raw = bytes(raw)
        unset: _Unset | None = None
        if has_marks(raw):
            raw = _bare(raw)
        if b'"$onward.' in raw:
            raw, unset = _unmarked(raw)
        check_hashes(raw, is_decimal=True)
        adapter = self._adapted()
        if self._has_fractions and has_large_exponent(raw):
            raise Refused(f"a fraction cannot have an exponent over {MAX_EXPONENT}")
        value = self._validated(adapter, raw)
        if unset is not None:
            _unset_again(value, unset)
        return value

    def _validated(self, adapter: Any, raw: bytes) -> Any:
        from pydantic import ValidationError

        try:
            return adapter.validate_json(raw)
        except ValidationError as problem:
            # Without the input and the context of the message, which may contain a secret.
            [first, *others] = problem.errors(
                include_url=False, include_input=False, include_context=False
            )
            more = f" (and {len(others)} more)" if others else ""
            path = "".join(f"[{at}]" if isinstance(at, int) else f".{at}" for at in first["loc"])
            raise Refused(f"{first['msg']}{more}", f"${path}") from None
        except RecursionError:
            raise
        except Exception as problem:  # the user's own validator raised
            raise Refused(f"{type(problem).__name__}: {_first_line(problem)}") from None


def _revealed(value: Any, raw: bytes) -> bytes:
    """The JSON that pydantic made, with secrets in place of its asterisks."""
    import json  # only models with secrets pay for it

    data = revealed(value, json.loads(raw))
    try:
        return json.dumps(
            data, ensure_ascii=False, separators=(",", ":"), default=msgspec.to_builtins
        ).encode()
    except (TypeError, UnicodeEncodeError):
        raise Refused("the value of a secret in it has no JSON form") from None


def _bare(raw: bytes) -> bytes:
    """JSON with its secrets in the form that pydantic reads."""
    import json

    try:
        return json.dumps(all_unmarked(json.loads(raw)), ensure_ascii=False).encode()
    except ValueError as problem:  # also of invalid JSON
        raise Refused(str(problem)) from None


def _first_line(problem: Exception) -> str:
    return str(problem).partition("\n")[0] or type(problem).__name__


_BASE64 = ' (write ser_json_bytes="base64", val_json_bytes="base64" in its model_config)'
_ALIASES = " (a field has one alias for reading and another for writing: use the same for both)"


def _has_two_aliases(model: Any) -> bool:
    return any(
        field.validation_alias != field.serialization_alias for field in model.model_fields.values()
    )


def _check_json(raw: bytes) -> None:
    try:
        msgspec.json.decode(raw)
    except msgspec.DecodeError:
        raise Refused(NOT_FINITE) from None


def _unmarked(raw: bytes) -> tuple[bytes, _Unset | None]:
    try:
        parts = msgspec.json.decode(raw, type=dict[str, Raw])
        marks = parts.pop(_UNSET, None)
        unset = None if marks is None else msgspec.json.decode(marks, type=_Unset)
    except (msgspec.MsgspecError, RecursionError) as problem:
        raise Refused(f"not valid JSON: {problem}") from None
    if _VALUE in parts:
        return bytes(parts[_VALUE]), unset
    return msgspec.json.encode(parts), unset


def _unset(value: Any) -> _Unset | None:
    names: list[str] = []
    if is_model(type(value)):
        was_set = value.model_fields_set
        fields = type(value).model_fields
        names = [name for name in fields if name not in was_set and not fields[name].exclude]
    inner = {where: found for where, part in _parts(value) if (found := _unset(part)) is not None}
    return _Unset(names, inner) if names or inner else None


def _unset_again(value: Any, unset: _Unset) -> None:
    if is_model(type(value)):
        value.model_fields_set.difference_update(unset.names)
    if unset.inner:
        for where, part in _parts(value):
            if where in unset.inner:
                _unset_again(part, unset.inner[where])


def _parts(value: Any) -> Iterator[tuple[str, Any]]:
    """The parts of a value that may be models or contain one, each with its place."""
    if is_model(type(value)):
        yield from ((name, part) for name, part in vars(value).items() if not _is_leaf(part))
    elif isinstance(value, dict):
        yield from ((str(at), it) for at, it in enumerate(value.values()) if not _is_leaf(it))
    elif isinstance(value, list | tuple):
        yield from ((str(at), part) for at, part in enumerate(value) if not _is_leaf(part))
    elif not isinstance(value, type) and hasattr(type(value), "__dataclass_fields__"):
        kind: Any = type(value)
        names = field_names(kind) or ()
        parts = ((name, getattr(value, name, None)) for name in names)
        yield from ((name, part) for name, part in parts if not _is_leaf(part))


def _is_leaf(value: object) -> bool:
    return value is None or isinstance(value, str | int | float | bytes)


def _has_fractions(adapter: Any) -> bool:
    return "fractions" in sys.modules and "fraction" in str(adapter.core_schema).lower()
