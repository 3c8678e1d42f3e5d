"""The nesting of a plan, which is counted before the plan is read."""

from __future__ import annotations

from msgspec import Struct


class Outline(Struct):
    """The nesting of a node, without its contents, which reads in a tenth of the time."""

    steps: tuple[Outline, ...] = ()
    branches: tuple[Outline, ...] = ()
    body: Outline | None = None
    handler: Outline | None = None
    cleanup: Outline | None = None


class Outlined(Struct):
    """The nesting of a plan."""

    root: Outline


def counted(outline: Outline, most: int) -> int:
    """Counts the nodes of a plan, but only until there are more than `most`.

    Example:
        >>> counted(Outline(steps=(Outline(), Outline())), 10)
        3
    """
    count, todo = 0, [outline]
    while todo and count <= most:
        node = todo.pop()
        count += 1
        todo += [*node.steps, *node.branches]
        inner = node.body, node.handler, node.cleanup
        todo += [part for part in inner if part is not None]
    return count
