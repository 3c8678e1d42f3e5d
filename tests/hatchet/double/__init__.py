"""A Hatchet in this process, for where there is no real one: `with Double() as engine: ...`.

It speaks the engine's own protocol over real connections, so that all of our code runs as it does
beside the real one. It keeps nothing, knows no time (leases, crons, workers that are missed), and
refuses what it does not model, which the tests then say needs a real engine.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Mapping
from datetime import timedelta
from typing import Self

import grpc.aio
from aiohttp import web

from onward.backend.loop import LoopThread
from onward.backends.hatchet import sdk
from tests.engines.server import HOST

MAX_MESSAGE = 4 * 1024 * 1024


class Double:
    """An engine on a thread of its own.

    Args:
        expires: When its token says that it is over, as a Unix time.
        limit: How many bytes a message may have.
    """

    def __init__(self, expires: float | None = None, limit: int = MAX_MESSAGE) -> None:
        self._thread = LoopThread("hatchet-double")
        claims = {"sub": "5e6b7d5c-0000-4000-8000-000000000000", "exp": expires}
        payload = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
        self._token = f"e30.{payload}.double"
        self._limit = limit
        self._ports = (0, 0)

    @property
    def client_environment(self) -> Mapping[str, str]:
        """The environment by which clients find the engine."""
        port, http_port = self._ports
        return {
            "HATCHET_CLIENT_TOKEN": self._token,
            "HATCHET_CLIENT_HOST_PORT": f"{HOST}:{port}",
            "HATCHET_CLIENT_SERVER_URL": f"http://{HOST}:{http_port}",
            "HATCHET_CLIENT_TLS_STRATEGY": "none",
        }

    def __enter__(self) -> Self:
        self._ports = self._thread.call(self._start)
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.call(self._stop)
        self._thread.close()

    def take_away(self, id: str) -> None:
        """Assigns a task again, as if its lease had run out."""

        async def take() -> None:
            self._engine.take_away(id)

        self._thread.call(take)

    def fail_to_send(
        self, id: str, ago: float = 0.0, error: str = "Could not send task to worker"
    ) -> None:
        """Shows a task as failed, as if its delivery to a dead worker had failed so long ago."""

        async def fail() -> None:
            self._engine.fail_to_send(id, ago, error)

        self._thread.call(fail)

    @property
    def replays(self) -> list[str]:
        """The tasks that somebody had delivered again."""
        return list(self._engine.replays)

    def break_off(self, count: int) -> None:
        """Fails to start the runs of so many children, as if their worker had died meanwhile."""

        async def break_off() -> None:
            self._engine.broken_off = count

        self._thread.call(break_off)

    def lose_its_database(self, events: int) -> None:
        """Refuses so many events of workers."""

        async def lose() -> None:
            self._engine.lost_events = events

        self._thread.call(lose)

    def lag(self, seconds: float) -> None:
        """Lists a run so much later than it begins, from now on."""

        async def show_late() -> None:
            self._engine.lag = timedelta(seconds=seconds)

        self._thread.call(show_late)

    def go_away(self) -> None:
        """Stops answering, but keeps its state."""
        self._thread.call(lambda: self._server.stop(None))

    def come_back(self) -> None:
        """Answers again, at the same address."""
        self._thread.call(lambda: self._serve(self._ports[0]))

    async def _start(self) -> tuple[int, int]:
        sdk.load()
        from tests.hatchet.double.engine import Engine
        from tests.hatchet.double.services import http

        engine = self._engine = Engine(self._limit)
        port = await self._serve(0)
        self._http = web.AppRunner(http(engine, self._token))
        await self._http.setup()
        site = web.TCPSite(self._http, HOST, 0)
        await site.start()
        return port, self._http.addresses[0][1]

    async def _serve(self, port: int) -> int:
        from tests.hatchet.double.services import Services

        self._server = grpc.aio.server(
            options=[
                ("grpc.max_receive_message_length", self._limit),
                ("grpc.max_send_message_length", self._limit),
            ]
        )
        handlers = Services(self._engine, self._token).handlers()
        self._server.add_generic_rpc_handlers(handlers)
        bound = self._server.add_insecure_port(f"{HOST}:{port}")
        await self._server.start()
        return bound

    async def _stop(self) -> None:
        await self._server.stop(None)
        await self._http.cleanup()
        await asyncio.sleep(0.1)  # gRPC's thread may still call into this loop
