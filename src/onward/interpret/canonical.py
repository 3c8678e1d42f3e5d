"""One text for each call that is to have one id: whatever is equal is written alike.

The id of a call with a key comes from it, and so must be the same in every process: with another
hash seed, with the entries of a dict in another order, and on the day after a deploy.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import Any

import msgspec

from onward.codec import is_model
from onward.flows.nodes import Each, Fused, Given, Named, Node, Task, kind, parts
from onward.flows.values import decode
from onward.plan import Args
from onward.secret import HIDDEN, is_secret

_ENCODER = msgspec.json.Encoder(order="deterministic")


def id_of(flow: Node, key: str) -> str:
    """The id that every submission of a flow with this key has.

    A task and a named flow go by their names, so that a deploy can change what is in them. Any
    other flow goes by what it is made of: its tasks, how they are composed, and the values of its
    `given` that are no secrets. How a step is delivered, its policy, is no part of that.

    Args:
        flow: The flow.
        key: The key, which is not empty.

    Returns:
        32 hexadecimal digits.
    """
    # A task's name has no space, so no flow's scope is ever a task's.
    match kind(flow):
        case Task(name):
            scope = name
        case Named(_, label):
            scope = f"flow {label}"
        case _:
            scope = f"plan {_ENCODER.encode(_shape(flow)).decode()}"
    return hashlib.sha256(f"{scope}\n{key}".encode()).hexdigest()[:32]


def _shape(flow: Node) -> list[object]:
    """What a flow is made of, as JSON."""
    match kind(flow):
        case Task(name):
            return ["task", name]
        case Given(inner, rest):
            return ["given", _shape(inner), _arguments(inner, rest)]
        case Named(body, label):
            return ["named", label, _shape(body)]
        case Each(step, _, chunk):
            return ["each", _shape(step), chunk]
        case Fused(body, _):
            return ["fused", _shape(body)]
        case _:
            return [type(flow).__name__.lower(), *map(_shape, parts(flow))]


def _arguments(flow: Node, rest: Args) -> object:
    positional, keyword = decode(flow, rest, skip=1)
    return [[canonical(value) for value in positional], canonical(keyword)]


def canonical(value: Any) -> object:
    """A value as JSON, in which equal values are alike.

    Args:
        value: Anything that travels.

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
        return HIDDEN  # an id is shown, and a guess at what it is made of could be tried on it
    names = _fields(value)
    if names is None:
        return msgspec.to_builtins(value, enc_hook=str)
    parts = {name: canonical(getattr(value, name)) for name in names if hasattr(value, name)}
    # By the name of its type as well: two types of one union may have the same fields.
    return {"": type(value).__qualname__, **parts}


def _fields(value: Any) -> list[str] | None:
    """The names of a record's fields; None for what is no record."""
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
