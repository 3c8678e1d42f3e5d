"""A function that has got some of its resources, and needs another one to become a task."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from onward.policy import Policy

if TYPE_CHECKING:
    from onward.resource import Resource


class Unfinished:
    """A function whose next parameter only another resource can fill.

    Args:
        name: The name of the task to be.
        fn: The function.
        policy: The task's policy so far.
        resources: Its resources so far.
        problem: Why it is no task; raised by each use of it.
    """

    def __init__(
        self,
        name: str,
        fn: Callable[..., Any],
        policy: Policy,
        resources: tuple[Resource[Any], ...],
        problem: TypeError,
    ) -> None:
        self.name = name
        self.fn = fn
        self.policy = policy
        self.resources = resources
        self.problem = problem

    def __getattr__(self, name: str) -> object:
        if name.startswith("__"):
            raise AttributeError(name)
        raise self.problem

    def __repr__(self) -> str:
        return f"<{self.name}, which is no task yet: {self.problem}>"

    def __call__(self, *args: object, **kwargs: object) -> object:
        raise self.problem

    def __rshift__(self, other: object) -> object:
        raise self.problem

    def __rrshift__(self, other: object) -> object:
        raise self.problem
