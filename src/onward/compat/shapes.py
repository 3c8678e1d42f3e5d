"""A snapshot of a catalog: what its tasks take and give, as JSON that can be committed."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Struct

from onward.catalog import Catalog
from onward.flows.flow import AnyTask


class Parameter(Struct, frozen=True, omit_defaults=True):
    """A parameter of a task.

    Args:
        name: Its name.
        schema: The JSON Schema of its values.
        required: Whether it has no default.
        kind: How it is given: `any` way, by `position` only, by `name` only, or as the `rest` of
            either.
    """

    name: str
    schema: dict[str, Any]
    required: bool = True
    kind: str = "any"


class TaskShape(Struct, frozen=True, omit_defaults=True):
    """What a task takes and gives.

    Args:
        parameters: Its parameters, in order.
        returns: The JSON Schema of its value.
        errors: The JSON Schema of its domain errors; None if it has none.
        queue: The queue that its steps go to; None for the engine's own.
    """

    parameters: tuple[Parameter, ...]
    returns: dict[str, Any]
    errors: dict[str, Any] | None = None
    queue: str | None = None


class Snapshot(Struct, frozen=True):
    """What the tasks of a catalog take and give.

    Args:
        tasks: The tasks, by name.
        flows: The names of the named flows.
        version: The version of this form.
    """

    tasks: dict[str, TaskShape]
    flows: list[str] = []
    version: int = 1


_KINDS = {
    "POSITIONAL_ONLY": "position",
    "POSITIONAL_OR_KEYWORD": "any",
    "KEYWORD_ONLY": "name",
    "VAR_POSITIONAL": "rest",
    "VAR_KEYWORD": "rest",
}


def snapshot(catalog: Catalog) -> Snapshot:
    """The snapshot of a catalog.

    Example:
        >>> from onward import Catalog, task
        >>> @task
        ... def double(n: int) -> int:
        ...     return 2 * n
        >>> snapshot(Catalog(double)).tasks["double"].returns
        {'type': 'integer'}
    """
    tasks = {name: _shape(task) for name, task in sorted(catalog.tasks.items())}
    return Snapshot(tasks, sorted(catalog.flows))


def written(made: Snapshot) -> str:
    """A snapshot as JSON, of which equal snapshots have the same."""
    raw = msgspec.json.encode(made, order="sorted")
    return f"{msgspec.json.format(raw).decode()}\n"


def read(text: str) -> Snapshot:
    """Reads a snapshot; raises ValueError if it is none that this release can read."""
    try:
        found = msgspec.json.decode(text, type=Snapshot)
    except (msgspec.MsgspecError, UnicodeDecodeError) as problem:
        raise ValueError(f"it is no snapshot of a catalog: {problem}") from None
    if found.version != 1:
        raise ValueError(f"it is of version {found.version}, and this release reads version 1")
    return found


def _shape(task: AnyTask) -> TaskShape:
    signature = task.signature
    by_position = dict(signature.positional)
    parameters: list[Parameter] = []
    for name, each in signature.python.parameters.items():
        codec = by_position.get(name) or signature.keyword.get(name)
        if each.kind is each.VAR_POSITIONAL:
            codec = signature.rest
        elif each.kind is each.VAR_KEYWORD:
            codec = signature.others
        assert codec is not None  # each parameter has an annotation
        is_required = each.default is each.empty and _KINDS[each.kind.name] != "rest"
        schema = dict(codec.schema())
        parameters.append(Parameter(name, schema, is_required, _KINDS[each.kind.name]))
    errors = None if signature.errors is None else dict(signature.errors.schema())
    return TaskShape(tuple(parameters), dict(signature.returns.schema()), errors, task.policy.queue)
