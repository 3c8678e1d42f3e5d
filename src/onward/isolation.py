"""`Isolation`: when the child processes that run isolated steps are replaced."""

from __future__ import annotations

from typing import Annotated, Final

import msgspec
from msgspec import Meta


class Isolation(msgspec.Struct, frozen=True, omit_defaults=True):
    """Runs the steps of a task in child processes, and says when a process is replaced.

    `isolate=True` is `isolate=Isolation()`: a process is replaced only if it dies, or is killed
    because its step timed out or its call was cancelled.

    Args:
        max_tasks: After how many steps a process is replaced; None for no limit.
        max_memory: A process that has more memory than this after a step is replaced, in megabytes
            (10^6 bytes); None for no limit. It counts resident memory; on macOS, the most that the
            process ever had.

    Raises:
        TypeError: If an argument is of the wrong type.
        ValueError: If it is out of bounds.

    Example:
        >>> from onward import Isolation, task
        >>> @task(isolate=Isolation(max_tasks=100, max_memory=500), timeout=60)
        ... def render(page: str) -> bytes: ...
        >>> render.policy.isolate
        Isolation(max_tasks=100, max_memory=500)
    """

    max_tasks: Annotated[int, Meta(ge=1)] | None = None
    max_memory: Annotated[float, Meta(gt=0)] | None = None

    def __post_init__(self) -> None:
        tasks, memory = self.max_tasks, self.max_memory
        if tasks is not None:
            if isinstance(tasks, bool) or not isinstance(tasks, int):
                raise TypeError(f"max_tasks is a whole number, not {tasks!r}: write max_tasks=100")
            if tasks < 1:
                raise ValueError(f"max_tasks is 1 or more, not {tasks}: leave it out for no limit")
        if memory is not None:
            if isinstance(memory, bool) or not isinstance(memory, int | float):
                raise TypeError(
                    f"max_memory is a number of megabytes, not {memory!r}: write max_memory=500"
                )
            if not memory > 0:
                raise ValueError(
                    f"max_memory is more than 0 megabytes, not {memory}: leave it out for no limit"
                )


ISOLATED: Final = Isolation()
"""What `isolate=True` stands for."""


def isolation_of(isolate: bool | Isolation) -> Isolation | None:
    """What the option `isolate` means: how steps are isolated, or None if they are not."""
    if isinstance(isolate, bool):
        return ISOLATED if isolate else None
    return isolate


def check_isolate(isolate: object) -> None:
    """Raises TypeError if the option `isolate` is neither a bool nor an `Isolation`."""
    if not isinstance(isolate, bool | Isolation):
        raise TypeError(
            f"isolate is True, False or an Isolation, not {isolate!r}: write isolate=True, or "
            "isolate=Isolation(max_tasks=100)"
        )
