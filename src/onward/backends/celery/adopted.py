"""Runs tasks that exist in a Celery app without Onward."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import msgspec
from celery import Celery, states
from celery.backends.base import DisabledBackend

from onward.backend.outside import Outside, RunsTasks, failed

__all__ = ["Celery", "tasks"]

_SHORTEST, _LONGEST, _GROWTH = 0.02, 1.0, 1.3
"""The pause between two looks at a task's result, in seconds."""


@dataclass(frozen=True, slots=True)
class Tasks:
    """Runs the tasks of a Celery app.

    Args:
        app: The app.
        queue: The queue that they are sent to; None for what the app says.
        terminate: Whether a cancel kills the process that runs the task.
    """

    app: Celery
    queue: str | None
    terminate: bool

    async def run(self, asked: Outside, /) -> bytes:
        """See `RunsTasks.run`. It sends the task again if it knows nothing of it yet."""
        pause = _SHORTEST
        found = await asyncio.to_thread(self._look, asked.id)
        if found["status"] == states.PENDING:
            await asyncio.to_thread(self._send, asked)
        while found["status"] not in states.READY_STATES:
            await asyncio.sleep(pause)
            pause = min(_LONGEST, pause * _GROWTH)
            found = await asyncio.to_thread(self._look, asked.id)
        value: Any = found["result"]
        if found["status"] == states.SUCCESS:
            return msgspec.json.encode(value)
        if isinstance(value, Exception) and _is_importable(type(value)):
            raise value
        raise failed("celery", type(value).__name__, str(value))

    async def cancel(self, asked: Outside, /) -> None:
        """See `RunsTasks.cancel`."""
        control: Any = self.app.control
        await asyncio.to_thread(control.revoke, asked.id, terminate=self.terminate)

    def _look(self, id: str) -> dict[str, Any]:
        found: dict[str, Any] = self.app.backend.get_task_meta(id, cache=False)
        return found

    def _send(self, asked: Outside) -> None:
        options: dict[str, Any] = {} if self.queue is None else {"queue": self.queue}
        self.app.send_task(
            asked.name,
            args=list(map(msgspec.json.decode, asked.args)),
            kwargs={name: msgspec.json.decode(raw) for name, raw in asked.kwargs.items()},
            task_id=asked.id,
            **options,
        )


def _is_importable(kind: type) -> bool:
    """Whether a class is the task's own. Celery makes one up if its module is not imported here."""
    return getattr(sys.modules.get(kind.__module__), kind.__qualname__, None) is kind


@asynccontextmanager
async def tasks(
    on: Celery | str, result_backend: str | None, queue: str | None, *, terminate: bool
) -> AsyncGenerator[RunsTasks]:
    """A connection that runs tasks of an app, or of the app at a broker.

    Raises:
        ValueError: If the app keeps no results.
    """
    app = on
    if isinstance(app, str):
        app = Celery("onward", broker=app, backend=result_backend or app, set_as_current=False)
    if isinstance(app.backend, DisabledBackend):
        raise ValueError("the Celery app keeps no results, so nobody learns of them: give it one")
    try:
        yield Tasks(app, queue, terminate)
    finally:
        if isinstance(on, str):
            app.close()  # at the end of a program, there are no threads any more
