"""Says which changes between two snapshots break what."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Struct

from onward.compat.schemas import refusals
from onward.compat.shapes import Parameter, Snapshot, TaskShape

BEFORE = "calls made before the change"
BESIDE = "workers and clients from before the change, while both run"


class Change(Struct, frozen=True):
    """A change of a task that breaks something.

    Args:
        task: The task.
        what: The change.
        breaks: What it breaks.
        cure: What to do about it.
    """

    task: str
    what: str
    breaks: str
    cure: str

    def __str__(self) -> str:
        return f"{self.task}: {self.what}. It breaks {self.breaks}. {self.cure}"


def changes(old: Snapshot, new: Snapshot) -> list[Change]:
    """The changes from one snapshot to the next that break something.

    Args:
        old: The snapshot of what runs.
        new: The snapshot of what shall run.

    Example:
        >>> from onward import Catalog, task
        >>> from onward.compat import snapshot
        >>> @task(name="double")
        ... def old(n: int) -> int:
        ...     return 2 * n
        >>> @task(name="double")
        ... def new(n: int, by: int) -> int:
        ...     return by * n
        >>> [change] = changes(snapshot(Catalog(old)), snapshot(Catalog(new)))
        >>> change.what
        "the new parameter 'by' has no default"
    """
    found: list[Change] = []
    for name, was in old.tasks.items():
        if name not in new.tasks:
            cure = "Serve it until no call has it any more: onward compat --against URL says so."
            found.append(Change(name, "the task is gone", BEFORE, cure))
        else:
            found += _of_task(name, was, new.tasks[name])
    return found


def _of_task(name: str, was: TaskShape, now: TaskShape) -> Iterator[Change]:
    for what, cure in _of_parameters(was.parameters, now.parameters):
        yield Change(name, what, BEFORE, cure)
    wider = "Take both types until no call has the old one."
    for why in refusals(now.returns, was.returns):
        yield Change(name, f"its value has another type: {why}", f"the results of {BEFORE}", wider)
    for why in refusals(was.returns, now.returns):
        yield Change(name, f"its value has a wider type: {why}", BESIDE, "Deploy who reads first.")
    yield from _of_errors(name, was, now)
    if was.queue != now.queue:
        old, new = (each or "the engine's own" for each in (was.queue, now.queue))
        yield Change(
            name,
            f"its queue was {old}, and is {new}",
            BEFORE,
            "Let a worker serve the old queue until it is empty.",
        )


def _of_parameters(
    was: tuple[Parameter, ...], now: tuple[Parameter, ...]
) -> Iterator[tuple[str, str]]:
    old = {each.name: each for each in was}
    new = {each.name: each for each in now}
    for name, each in new.items():
        if name not in old and each.required:
            yield f"the new parameter {name!r} has no default", "Give it a default."
    for name, each in old.items():
        if name not in new:
            if not _has_rest(now):
                yield f"the parameter {name!r} is gone", "Keep it, and ignore its value."
            continue
        for why in refusals(new[name].schema, each.schema):
            yield (
                f"the parameter {name!r} has a narrower type: {why}",
                "Take both types until no call has the old one.",
            )
        if new[name].required and not each.required:
            yield f"the parameter {name!r} has no default any more", "Keep the default."
        if new[name].kind != each.kind and new[name].kind != "any":
            yield f"the parameter {name!r} is taken in another way", "Take it in both ways."
    kept = [name for name in _by_position(was) if name in new]
    if kept != _by_position(now)[: len(kept)]:
        yield "its parameters are in another order", "Add new parameters at the end."


def _by_position(parameters: tuple[Parameter, ...]) -> list[str]:
    return [each.name for each in parameters if each.kind in ("any", "position")]


def _has_rest(parameters: tuple[Parameter, ...]) -> bool:
    return any(each.kind == "rest" for each in parameters)


def _of_errors(name: str, was: TaskShape, now: TaskShape) -> Iterator[Change]:
    if was.errors == now.errors:
        return
    if now.errors is None:
        cure = "Return a Result until no call has such an error."
        yield Change(name, "it has no domain errors any more", f"the errors of {BEFORE}", cure)
    elif was.errors is None:
        yield Change(name, "it has domain errors now", BESIDE, "Deploy who reads first.")
    else:
        for why in refusals(now.errors, was.errors):
            what = f"an error has another type: {why}"
            yield Change(name, what, f"the errors of {BEFORE}", "Keep the old type beside it.")
        for why in refusals(was.errors, now.errors):
            yield Change(name, f"an error is new: {why}", BESIDE, "Deploy who reads first.")
