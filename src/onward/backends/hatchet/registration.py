"""A worker as the engine knows it: it is registered, says that it is alive, and is handed work."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from hatchet_sdk.contracts.dispatcher_pb2 import AssignedAction

from onward.backends.hatchet.client import Actions, Client
from onward.backends.hatchet.errors import Problem, is_gone

_HEARTBEAT = 4.0
_PAUSE = 0.5
_SETTLED = 0.1


class Registration:
    """What the engine hands out to, as long as it is open.

    Args:
        client: The connection.
        name: What people see in the dashboard.
        actions: What it can be handed.
        slots: How much of it at a time, by the kind of slot.
        labels: What else it is found by.
        take: Is told what it is handed, and by which registration.
        note: Is told what goes wrong with the engine, and None when that is over.
    """

    def __init__(
        self,
        client: Client,
        name: str,
        actions: Sequence[str],
        slots: dict[str, int],
        labels: Sequence[str],
        *,
        take: Callable[[AssignedAction, Registration], None],
        note: Callable[[Problem | None], None],
    ) -> None:
        self.id: str = ""
        """By which the engine knows it; another one, once it was forgotten and is known again."""
        self.ready: asyncio.Event = asyncio.Event()
        """Is set once the engine has heard that it is alive."""
        self._client = client
        self._name = name
        self._actions = actions
        self._slots = slots
        self._labels = labels
        self._take = take
        self._note = note
        self._tasks: list[asyncio.Task[None]] = []
        self._stream: Actions | None = None
        self._is_taking = True

    async def open(self) -> asyncio.Task[None]:
        """Registers, and takes what it is handed from then on.

        Returns:
            What takes it.

        Raises:
            Problem: If the engine refuses, or is away.
        """
        self.id = await self._register()
        self._tasks = [asyncio.create_task(self._listen()), asyncio.create_task(self._beat())]
        return self._tasks[0]

    def take_no_more(self) -> None:
        """Lets the engine hand it nothing more, and goes on to say that it is alive."""
        self._is_taking = False
        self._hang_up()

    def close(self) -> None:
        """Ends it, on this side."""
        for task in self._tasks:
            task.cancel()

    def _register(self) -> Awaitable[str]:
        return self._client.register(self._name, self._actions, self._slots, self._labels)

    def _hang_up(self) -> None:
        if self._stream is not None:
            self._stream.cancel()

    async def _listen(self) -> None:
        """Takes what the engine hands out, and begins again when the stream breaks."""
        try:
            while self._is_taking:
                try:
                    if not self.id:
                        self.id = await self._register()
                    self._stream = self._client.listen(self.id)
                    async for action in self._stream:
                        self._take(action, self)
                except Problem as problem:
                    self._went_wrong(problem)
                except asyncio.CancelledError:  # of the stream, perhaps
                    if _is_cancelled():
                        raise
                await asyncio.sleep(_PAUSE)
        finally:
            self._hang_up()

    async def _beat(self) -> None:
        # The engine looks at a new worker with its first heartbeat, and not soon again if it does
        # not find the worker listening.
        await asyncio.sleep(_SETTLED)
        refused = 0
        while True:
            pause = _HEARTBEAT
            try:
                if self.id and self._stream is not None:
                    await self._client.heartbeat(self.id)
                    self.ready.set()
                    self._note(None)
                    refused = 0
            except Problem as problem:
                refused += 1
                pause = _PAUSE
                self._went_wrong(problem)
                if refused > 2 and self._is_taking:
                    self._hang_up()  # the engine has no such stream any more
            await asyncio.sleep(pause)

    def _went_wrong(self, problem: Problem) -> None:
        if is_gone(problem):
            self.id = ""  # the engine has forgotten the worker, which registers anew
            self._hang_up()
        self._note(problem)


def _is_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
