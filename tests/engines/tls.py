"""Certificates, and a TLS proxy for servers without TLS."""

from __future__ import annotations

import asyncio
import ssl
import subprocess
import threading
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from queue import Queue

from tests.engines.server import HOST

_NEW = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]


@dataclass(frozen=True)
class Identity:
    """The files of a certificate and of its key."""

    certificate: Path
    key: Path


class Authority:
    """A certificate authority."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._own = _identity(folder, "authority", "-addext", "keyUsage=keyCertSign")

    @property
    def file(self) -> Path:
        """The authority's own certificate."""
        return self._own.certificate

    def certify(self, name: str, *hosts: str) -> Identity:
        """A new certificate.

        Args:
            name: Whose it is.
            hosts: Where it is, each as `DNS:localhost` or `IP:127.0.0.1`; nowhere, for a client.
        """
        options: list[str | Path] = ["-CA", self._own.certificate, "-CAkey", self._own.key]
        options += ["-addext", "basicConstraints=critical,CA:FALSE"]
        if hosts:
            options += ["-addext", f"subjectAltName={','.join(hosts)}"]
        return _identity(self._folder, name, *options)


def _identity(folder: Path, name: str, *options: str | Path) -> Identity:
    made = Identity(folder / f"{name}.pem", folder / f"{name}.key")
    files: list[str | Path] = [
        "-nodes",
        "-subj",
        f"/CN={name}",
        "-out",
        made.certificate,
        "-keyout",
        made.key,
    ]
    subprocess.run([*_NEW, *files, *options], check=True, capture_output=True)
    return made


@contextmanager
def over_tls(
    port: int, identity: Identity, *, asks_for: Path | None = None, protocols: Sequence[str] = ()
) -> Generator[int]:
    """The port of a TLS proxy.

    Args:
        port: Of the server behind it.
        identity: What it shows.
        asks_for: The authority of which it wants a certificate from who comes; None for nothing.
        protocols: What is spoken over it, as `h2`.
    """
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=asks_for)
    context.load_cert_chain(identity.certificate, identity.key)
    if asks_for is not None:
        context.verify_mode = ssl.CERT_REQUIRED
    if protocols:
        context.set_alpn_protocols(list(protocols))
    proxy = _Proxy(port)
    ports: Queue[int] = Queue()
    thread = threading.Thread(target=asyncio.run, args=(proxy.run(context, ports),))
    thread.start()
    try:
        yield ports.get(timeout=30)
    finally:
        proxy.end()
        thread.join()


class _Proxy:
    """Forwards bytes to a server and back."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._writers: set[asyncio.StreamWriter] = set()
        self._carrying: set[asyncio.Future[tuple[None, None]]] = set()

    async def run(self, context: ssl.SSLContext, ports: Queue[int]) -> None:
        self._loop = asyncio.get_running_loop()
        self._ended = asyncio.Event()
        async with await asyncio.start_server(self._serve, HOST, 0, ssl=context) as listening:
            ports.put(listening.sockets[0].getsockname()[1])
            await self._ended.wait()
        for writer in self._writers:
            writer.transport.abort()
        await asyncio.gather(*self._carrying)

    def end(self) -> None:
        self._loop.call_soon_threadsafe(self._ended.set)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(HOST, self._port)
        carrying = asyncio.gather(self._pump(reader, back), self._pump(there, writer))
        self._carrying.add(carrying)
        await carrying

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        with suppress(OSError):
            while data := await reader.read(65_536):
                writer.write(data)
                await writer.drain()
        writer.transport.abort()
        self._writers.discard(writer)
