"""Tasks that exist on an engine without Onward, as steps run them: `RunsTasks`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Outside:
    """One run of a task that an engine has without Onward.

    Args:
        name: The task's name on the engine.
        id: The run's id. The same attempt at a step has the same one in each process.
        args: The arguments by position, as JSON.
        kwargs: The arguments by name, as JSON.
    """

    name: str
    id: str
    args: Sequence[bytes] = ()
    kwargs: Mapping[str, bytes] = field(default_factory=dict)


class RunsTasks(Protocol):
    """Runs such tasks on an engine, over one connection."""

    async def run(self, asked: Outside, /) -> bytes:
        """Starts a run, unless its id is known, and returns its value as JSON.

        Raises:
            Exception: What the task failed with. `failed` makes one of the name of an error.
        """
        ...

    async def cancel(self, asked: Outside, /) -> None:
        """Asks the engine to end a run."""
        ...


def failed(engine: str, kind: str, message: str) -> Exception:
    """The exception for an error of which only the name and the text are known.

    Args:
        engine: The engine's name, which is the error's module.
        kind: The name of the error's class.
        message: The error's text.
    """
    name = kind if kind.isidentifier() else "Failed"
    kinds = type(name, (Exception,), {"__module__": engine})
    made: Exception = kinds(message)
    return made
