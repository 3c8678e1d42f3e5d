"""What the tests of wrong input share."""

from dataclasses import dataclass, field
from typing import Any

from onward import (
    task,
)


def wrong(value: object) -> Any:
    """A value that the type checker would refuse here, and that a user may pass all the same."""
    return value


@dataclass
class Tree:
    name: str
    children: "list[Tree]" = field(default_factory=list)


@task
def inc(n: int) -> int:
    return n + 1
