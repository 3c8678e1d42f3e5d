"""JSON Schemas of codecs: what they write, and what they accept."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import msgspec

Schema: TypeAlias = Mapping[str, Any]
"""A JSON Schema. A reference in it names a type that contains itself."""


def of_plain(annotation: Any) -> Schema:
    """The schema of an annotation that msgspec supports."""
    return inlined(msgspec.json.schema(annotation, schema_hook=_custom))


def _custom(kind: type) -> dict[str, Any]:
    return {"format": kind.__name__}


def inlined(schema: Schema) -> Schema:
    """A schema with its definitions in the places that refer to them.

    Example:
        >>> inlined({"$ref": "#/$defs/A", "$defs": {"A": {"type": "null"}}})
        {'type': 'null'}
    """
    known: Mapping[str, Schema] = schema.get("$defs", {})
    own = {key: value for key, value in schema.items() if key != "$defs"}
    found: Schema = _inlined(own, known, ())
    return found


def _inlined(schema: Any, known: Mapping[str, Schema], within: tuple[str, ...]) -> Any:
    if isinstance(schema, list):
        return [_inlined(each, known, within) for each in schema]
    if not isinstance(schema, Mapping):
        return schema
    reference = schema.get("$ref")
    if isinstance(reference, str):
        name = reference.rpartition("/")[2]
        if name in within or name not in known:
            return {"$ref": name}
        return _inlined(known[name], known, (*within, name))
    return {key: _inlined(value, known, within) for key, value in schema.items()}
