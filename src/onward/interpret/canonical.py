"""Computes the id of a call with a key, so that equal calls have equal ids in every process.

The id must not depend on the hash seed, on the order of a dict's entries, or on a deploy. So equal
values get the same canonical text.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import Any

import msgspec

from onward.codec import is_model
from onward.flows.annotations import shown
from onward.flows.node import Node
from onward.flows.nodes import (
    Awaits,
    Case,
    Each,
    Fixed,
    Fused,
    Given,
    Named,
    Rescue,
    Sleep,
    Task,
    Together,
    kind,
    parts,
)
from onward.flows.values import decode
from onward.plan import Args, OnFailure
from onward.secret import HIDDEN, is_secret

_ENCODER = msgspec.json.Encoder(order="deterministic")


def id_of(flow: Node, key: str) -> str:
    """The id of every submission of a flow with this key.

    A task or a named flow is identified by its name, so that a deploy can change its contents. Any
    other flow is identified by its structure: its tasks, how they are composed, and the values of
    its `given` except secrets. Policies do not count.

    Args:
        flow: The flow.
        key: The key, which is not empty.

    Returns:
        32 hexadecimal digits.
    """
    # A task's name has no space, so its scope differs from every flow's.
    match kind(flow):
        case Task(name):
            scope = name
        case Named(_, label):
            scope = f"flow {label}"
        case _:
            scope = f"plan {_ENCODER.encode(_shape(flow)).decode()}"
    return hashlib.sha256(f"{scope}\n{key}".encode()).hexdigest()[:32]


def _shape(flow: Node) -> list[object]:
    """The structure of a flow, as JSON data."""
    match kind(flow):
        case Task(name):
            return ["task", name]
        case Given(inner, rest):
            return ["given", _shape(inner), _arguments(inner, rest, 1)]
        case Fixed(inner, args):
            return ["fixed", _shape(inner), _arguments(inner, args, 0)]
        case Named(body, label):
            return ["named", label, _shape(body)]
        case Each(step, _, chunk, on_failure):
            return ["each", _shape(step), chunk, *_unless_settle(on_failure)]
        case Together(branches, on_failure):
            return ["together", *map(_shape, branches), *_unless_settle(on_failure)]
        case Rescue(body, handler, True):
            return ["rescue with input", _shape(body), _shape(handler)]
        case Sleep(seconds):
            return ["sleep", seconds]
        case Awaits(signal):
            return ["awaits", signal.name]
        case Fused(body, _):
            return ["fused", _shape(body)]
        case Case(kinds, branches):
            shapes = map(_shape, branches)
            return ["case", *map(list, zip(map(shown, kinds), shapes, strict=True))]
        case _:
            return [type(flow).__name__.lower(), *map(_shape, parts(flow))]


def _unless_settle(on_failure: OnFailure) -> list[object]:
    return [] if on_failure == "settle" else [on_failure]


def _arguments(flow: Node, args: Args, skip: int) -> object:
    positional, keyword = decode(flow, args, skip)
    return [[canonical(value) for value in positional], canonical(keyword)]


def canonical(value: Any) -> object:
    """JSON data for a value, the same for equal values.

    Args:
        value: Any value that can travel.

    Example:
        >>> canonical({"b": {3, 1, 2}, "a": 1})
        [['a', 1], ['b', [1, 2, 3]]]
    """
    if isinstance(value, Mapping):
        return _sorted([[canonical(key), canonical(item)] for key, item in value.items()])
    if isinstance(value, AbstractSet):
        return _sorted([canonical(item) for item in value])
    if isinstance(value, list | tuple):
        return [canonical(item) for item in value]
    if is_secret(type(value)):
        return HIDDEN  # ids are shown, and a guess at the secret could be tested against one
    names = _fields(value)
    if names is None:
        return msgspec.to_builtins(value, enc_hook=str)
    parts = {name: canonical(getattr(value, name)) for name in names if hasattr(value, name)}
    # With the name of its type, because two types of a union may have the same fields.
    return {"": type(value).__qualname__, **parts}


def _fields(value: Any) -> list[str] | None:
    """The names of a record's fields; None if the value is not a record."""
    kind: Any = type(value)
    if is_model(kind):
        return [*kind.model_fields, *(value.model_extra or {})]
    if hasattr(kind, "__attrs_attrs__"):
        return [field.name for field in kind.__attrs_attrs__]
    for names in ("__struct_fields__", "__dataclass_fields__"):
        if hasattr(kind, names):
            return list(getattr(kind, names))
    return None


def _sorted(items: list[Any]) -> list[Any]:
    return sorted(items, key=_ENCODER.encode)
