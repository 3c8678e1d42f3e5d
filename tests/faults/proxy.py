"""A proxy between clients and a server, which fails as networks do, when a test says so.

It forwards bytes and knows no protocol, so it works for Redis, RabbitMQ and Temporal.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Callable
from typing import Self, TypeVar
from urllib.parse import urlsplit

from tests.engines.server import HOST

T = TypeVar("T")

_CHUNK = 65536
_AHEAD = 64
"""How many chunks are buffered in one direction of a connection."""
_PROMPT = 10.0
"""How long a request to the proxy's own thread may take, in seconds."""


class Proxy:
    """Forwards connections to a server: `with Proxy(server.port) as network: ...`.

    Args:
        target: The server's port on loopback. While the server is away, connections are closed.
    """

    def __init__(self, target: int) -> None:
        self.target = target
        self.latency = 0.0
        """How long bytes take each way, in seconds."""
        self.accepted = 0
        """How many connections were accepted so far."""
        self._is_swallowing = False
        self._connections: set[_Connection] = set()
        self._loop = asyncio.new_event_loop()
        listening = socket.create_server((HOST, 0), backlog=1000)
        self.port: int = listening.getsockname()[1]
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._thread.start()
        self._server = asyncio.run_coroutine_threadsafe(
            asyncio.start_server(self._accept, sock=listening), self._loop
        ).result(_PROMPT)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def url(self, url: str) -> str:
        """The URL of a server, by way of this proxy; that of a file as it is."""
        parts = urlsplit(url)
        if not parts.netloc:
            return url
        host = f"{parts.netloc.rpartition(':')[0]}:{self.port}"
        return parts._replace(netloc=host).geturl()

    @property
    def open(self) -> int:
        """How many connections are open."""
        return self._call(lambda: len(self._connections))

    def drop(self) -> int:
        """Closes all connections, as a restarted router does; returns their number."""
        return self._each(_Connection.end)

    def reset(self) -> int:
        """Resets all connections; returns their number."""
        return self._each(_Connection.reset)

    def tear(self) -> int:
        """Resets each connection in the middle of the server's next answer.

        The client's request has been processed then, but the client does not know.
        """

        def torn(connection: _Connection) -> None:
            connection.is_torn = True

        return self._each(torn)

    def swallow(self) -> int:
        """Makes all open and new connections half-open: neither side receives anything.

        Connections are still accepted. After `heal` only new connections work.
        """
        self._is_swallowing = True

        def dead(connection: _Connection) -> None:
            connection.is_dead = True

        return self._each(dead)

    def heal(self) -> None:
        """Lets new connections work after `swallow`."""
        self._call(lambda: setattr(self, "_is_swallowing", False))

    def close(self) -> None:
        """Closes all connections and the port."""
        if self._loop.is_closed():
            return
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(_PROMPT)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_PROMPT)
        self._loop.close()

    async def _close(self) -> None:
        self._server.close()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for connection in list(self._connections):
            connection.reset()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _each(self, do: Callable[[_Connection], None]) -> int:
        def each() -> int:
            there = list(self._connections)
            for connection in there:
                do(connection)
            return len(there)

        return self._call(each)

    def _call(self, do: Callable[[], T]) -> T:
        """Calls a function on the proxy's own thread."""

        async def done() -> T:
            return do()

        return asyncio.run_coroutine_threadsafe(done(), self._loop).result(_PROMPT)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        connection = _Connection(writer)
        connection.is_dead = self._is_swallowing
        self._connections.add(connection)
        pumps: list[asyncio.Task[None]] = []
        # The server may be away. And asyncio would log a cancelled handler as a failed one.
        with contextlib.suppress(OSError, asyncio.CancelledError):
            there, server = await asyncio.open_connection(HOST, self.target)
            connection.writers.append(server)
            pumps += [
                asyncio.ensure_future(self._pump(reader, server, connection, is_reply=False)),
                asyncio.ensure_future(self._pump(there, writer, connection, is_reply=True)),
            ]
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        for pump in pumps:
            pump.cancel()
        connection.end()
        self._connections.discard(connection)

    async def _pump(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        connection: _Connection,
        *,
        is_reply: bool,
    ) -> None:
        """Forwards the bytes of one direction, each chunk after the latency."""
        loop = asyncio.get_running_loop()
        chunks: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_AHEAD)

        async def read() -> None:
            try:
                while chunk := await reader.read(_CHUNK):
                    await chunks.put((loop.time() + self.latency, chunk))
            except OSError:
                pass
            await chunks.put((loop.time() + self.latency, b""))

        reading = asyncio.ensure_future(read())
        try:
            while True:
                due, chunk = await chunks.get()
                if due > loop.time():
                    await asyncio.sleep(due - loop.time())
                if connection.is_dead:
                    if not chunk:  # the other side must not notice that this one has closed
                        await asyncio.Event().wait()
                    continue
                if not chunk:
                    return
                if connection.is_torn and is_reply:
                    writer.write(chunk[: len(chunk) // 2])
                    connection.reset()
                    return
                writer.write(chunk)
                await writer.drain()
        except OSError:
            return
        finally:
            reading.cancel()


class _Connection:
    """A client's connection, and its connection to the server."""

    def __init__(self, client: asyncio.StreamWriter) -> None:
        self.writers = [client]
        self.is_dead = False
        self.is_torn = False

    def end(self) -> None:
        for writer in self.writers:
            writer.close()

    def reset(self) -> None:
        for writer in self.writers:
            sock = writer.get_extra_info("socket")
            if sock is not None and sock.fileno() >= 0:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()
