"""A worker's registration with the engine: its heartbeats, and the stream of assigned actions."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence

from hatchet_sdk.contracts.dispatcher_pb2 import AssignedAction

from onward.backends.hatchet.client import Actions, Client
from onward.backends.hatchet.errors import RpcError, is_gone

_HEARTBEAT = 4.0
_PAUSE = 0.5
_SETTLED = 0.1


class Registration:
    """One registration of a worker with the engine.

    Args:
        client: The connection.
        name: The worker's name in the dashboard.
        actions: The actions that the worker serves.
        slots: How many actions it runs at the same time, by the kind of slot.
        labels: The worker's labels.
        take: Called with each assigned action, and this registration.
        note: Called with each error of the engine, and with None when the engine answers again.
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
        note: Callable[[RpcError | None], None],
    ) -> None:
        self.id: str = ""
        """The engine's id of the worker. It changes if the engine forgets the worker."""
        self.ready: asyncio.Event = asyncio.Event()
        """Set after the first heartbeat."""
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
        self._heard = time.monotonic()

    def silent(self) -> float:
        """How long the engine has not answered a heartbeat, in seconds."""
        return time.monotonic() - self._heard

    async def open(self) -> asyncio.Task[None]:
        """Registers the worker, and starts to receive actions.

        Returns:
            The asyncio task that receives them.

        Raises:
            RpcError: If the engine refuses the worker, or is away.
        """
        self.id = await self._register()
        self._tasks = [asyncio.create_task(self._listen()), asyncio.create_task(self._beat())]
        return self._tasks[0]

    def take_no_more(self) -> None:
        """Stops receiving actions, but keeps sending heartbeats."""
        self._is_taking = False
        self._hang_up()

    def close(self) -> None:
        """Stops the stream and the heartbeats."""
        for task in self._tasks:
            task.cancel()

    def _register(self) -> Awaitable[str]:
        return self._client.register(self._name, self._actions, self._slots, self._labels)

    def _hang_up(self) -> None:
        if self._stream is not None:
            self._stream.cancel()

    async def _listen(self) -> None:
        """Receives assigned actions, and opens the stream again when it breaks."""
        try:
            while self._is_taking:
                try:
                    if not self.id:
                        self.id = await self._register()
                    self._stream = self._client.listen(self.id)
                    async for action in self._stream:
                        self._take(action, self)
                except RpcError as problem:
                    self._went_wrong(problem)
                except asyncio.CancelledError:  # maybe only the stream was cancelled
                    if _is_cancelled():
                        raise
                await asyncio.sleep(_PAUSE)
        finally:
            self._hang_up()

    async def _beat(self) -> None:
        # At the first heartbeat the engine checks whether a new worker listens. If the worker does
        # not listen yet, the engine checks again only much later.
        await asyncio.sleep(_SETTLED)
        refused = 0
        while True:
            pause = _HEARTBEAT
            try:
                if self.id and self._stream is not None:
                    await self._client.heartbeat(self.id)
                    self._heard = time.monotonic()
                    self.ready.set()
                    self._note(None)
                    refused = 0
            except RpcError as problem:
                refused += 1
                pause = _PAUSE
                self._went_wrong(problem)
                if refused > 2 and self._is_taking:
                    self._hang_up()  # the engine has lost the stream
            await asyncio.sleep(pause)

    def _went_wrong(self, problem: RpcError) -> None:
        if is_gone(problem):
            self.id = ""  # the engine has forgotten the worker
            self._hang_up()
        self._note(problem)


def _is_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
