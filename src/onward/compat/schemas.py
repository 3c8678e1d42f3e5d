"""Compares JSON Schemas: what one writes, and another one does not accept."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

Schema = Mapping[str, Any]

_AT_LEAST = ("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties")
_AT_MOST = ("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties")
_EXACT = ("pattern", "format", "multipleOf", "contentEncoding", "uniqueItems")


def refusals(reader: Schema, writer: Schema, path: str = "$") -> Iterator[str]:
    """Says why values that are written by one schema may not be accepted by another one.

    Args:
        reader: The schema of who reads.
        writer: The schema of who has written.
        path: Where the values stand.

    Example:
        >>> list(refusals({"type": "integer"}, {"type": "string"}))
        ['$: string, and integer is expected']
        >>> list(refusals({"type": "number"}, {"type": "integer"}))
        []
    """
    if reader == writer or not _limits(reader) or "$ref" in reader or "$ref" in writer:
        return
    options = _options(writer)
    if options is not None:
        for each in options:
            yield from refusals(reader, each, path)
        return
    alternatives = _options(reader)
    if alternatives is not None:
        yield from _unless_one_accepts(alternatives, writer, path)
        return
    if "value" in writer or "value" in reader:
        if reader.get("title") != writer.get("title"):
            yield f"{path}: {_name(writer)} is not expected"
        else:
            yield from refusals(reader.get("value", {}), writer.get("value", {}), path)
        return
    yield from _of_one_kind(reader, writer, path)


def _unless_one_accepts(alternatives: Sequence[Schema], writer: Schema, path: str) -> Iterator[str]:
    tried = [list(refusals(each, writer, path)) for each in alternatives]
    if all(tried):
        same = [
            why
            for each, why in zip(alternatives, tried, strict=True)
            if _name(each) == _name(writer)
        ]
        expected = " or ".join(map(_name, alternatives))
        yield from same[0] if same else [f"{path}: {_name(writer)}, and {expected} is expected"]


def _of_one_kind(reader: Schema, writer: Schema, path: str) -> Iterator[str]:
    wants, has = reader.get("type"), writer.get("type")
    if wants is not None and wants != has and (wants, has) != ("number", "integer"):
        yield f"{path}: {_name(writer)}, and {_name(reader)} is expected"
        return
    if (allowed := _constants(reader)) is not None:
        sent = _constants(writer)
        missing = ["others"] if sent is None else [each for each in sent if each not in allowed]
        if missing:
            shown = ", ".join(map(str, missing))
            yield f"{path}: only {', '.join(map(str, allowed))} are accepted, and not {shown}"
    yield from _bounds(reader, writer, path)
    yield from _in_object(reader, writer, path)
    yield from _in_array(reader, writer, path)


def _bounds(reader: Schema, writer: Schema, path: str) -> Iterator[str]:
    for key in _AT_LEAST:
        if key in reader and not writer.get(key, float("-inf")) >= reader[key]:
            yield f"{path}: {key} is {reader[key]}, and was {writer.get(key, 'not set')}"
    for key in _AT_MOST:
        if key in reader and not writer.get(key, float("inf")) <= reader[key]:
            yield f"{path}: {key} is {reader[key]}, and was {writer.get(key, 'not set')}"
    for key in _EXACT:
        if key in reader and reader[key] != writer.get(key):
            yield f"{path}: {key} is {reader[key]}, and was {writer.get(key, 'not set')}"
    for check in reader.get("checks", ()):
        if check not in writer.get("checks", ()):
            yield f"{path}: values {check} only"


def _in_object(reader: Schema, writer: Schema, path: str) -> Iterator[str]:
    fields: Mapping[str, Schema] = reader.get("properties", {})
    sent: Mapping[str, Schema] = writer.get("properties", {})
    others = writer.get("additionalProperties")
    for name in reader.get("required", ()):
        if name not in writer.get("required", ()):
            yield f"{path}.{name}: it is required, and may be missing"
    for name, field in fields.items():
        if name in sent:
            yield from refusals(field, sent[name], f"{path}.{name}")
        elif isinstance(others, Mapping):
            yield from refusals(field, others, f"{path}.{name}")
    rest = reader.get("additionalProperties")
    extra = [name for name in sent if name not in fields]
    if rest is False:
        yield from (f"{path}.{name}: there is no such field" for name in extra)
    elif isinstance(rest, Mapping):
        for name in extra:
            yield from refusals(rest, sent[name], f"{path}.{name}")
        if isinstance(others, Mapping):
            yield from refusals(rest, others, f"{path}.*")


def _in_array(reader: Schema, writer: Schema, path: str) -> Iterator[str]:
    items, sent = reader.get("items"), writer.get("items")
    first: Sequence[Schema] = reader.get("prefixItems", ())
    theirs: Sequence[Schema] = writer.get("prefixItems", ())
    for at, (item, other) in enumerate(zip(first, theirs, strict=False)):
        yield from refusals(item, other, f"{path}[{at}]")
    if isinstance(items, Mapping):
        for at, other in enumerate(theirs[len(first) :], len(first)):
            yield from refusals(items, other, f"{path}[{at}]")
        if isinstance(sent, Mapping):
            yield from refusals(items, sent, f"{path}[]")
    elif isinstance(sent, Mapping):
        for at, item in enumerate(first):
            yield from refusals(item, sent, f"{path}[{at}]")


def _options(schema: Schema) -> Sequence[Schema] | None:
    found: Sequence[Schema] | None = schema.get("anyOf", schema.get("oneOf"))
    return found


def _constants(schema: Schema) -> Sequence[object] | None:
    if "const" in schema:
        return [schema["const"]]
    found: Sequence[object] | None = schema.get("enum")
    return found


def _limits(schema: Schema) -> bool:
    """Whether a schema refuses anything."""
    return any(key not in ("title", "description", "default", "examples") for key in schema)


def _name(schema: Schema) -> str:
    return str(schema.get("title") or schema.get("type") or schema.get("format") or "any value")
