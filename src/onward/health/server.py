"""A small HTTP server for probes and scrapers."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Mapping
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar, NamedTuple, TypeAlias
from urllib.parse import urlsplit

_PATIENCE = 5.0
"""How long a client may take to send its request, in seconds."""

_PAUSE = 0.1
"""How often it looks whether it is to close, in seconds."""


class Answer(NamedTuple):
    """What a page answers: its status, its body and what kind of text that is."""

    status: int
    body: bytes
    kind: str = "application/json"


Pages: TypeAlias = Mapping[str, Callable[[], Answer]]
"""What answers, by path."""


class PageServer:
    """Answers GET and HEAD of some pages, on threads.

    Args:
        host: The address to listen on.
        port: The port to listen on; 0 for a free one.
        pages: What answers, by path.

    Raises:
        OSError: If it cannot listen there.
    """

    def __init__(self, host: str, port: int, pages: Pages) -> None:
        is_v6 = ":" in host

        class Server(ThreadingHTTPServer):
            address_family = socket.AF_INET6 if is_v6 else socket.AF_INET
            daemon_threads = True

            def handle_error(self, request: object, client_address: object) -> None:
                """Says nothing: a client that goes away is no concern of the worker's."""

        class Handler(_Handler):
            answers = pages

        self._server = Server((host, port), Handler)
        shown = f"[{host}]" if is_v6 else host
        self.port: int = self._server.server_address[1]
        """The port that it listens on."""
        self.url: str = f"http://{shown}:{self.port}"
        """The server's URL."""
        serve = partial(self._server.serve_forever, poll_interval=_PAUSE)
        self._thread = threading.Thread(target=serve, name="onward-health-server", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stops answering."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Handler(BaseHTTPRequestHandler):
    answers: ClassVar[Pages]
    timeout = _PATIENCE
    server_version = "onward"
    sys_version = ""

    def do_GET(self) -> None:
        page = self.answers.get(urlsplit(self.path).path)
        if page is None:
            known = ", ".join(self.answers)
            answer = Answer(404, f"there are {known}\n".encode(), "text/plain; charset=utf-8")
        else:
            answer = page()
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.kind)
        self.send_header("Content-Length", str(len(answer.body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body)

    do_HEAD = do_GET  # noqa: N815  # the name that the base class looks up

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base class names it so
        """Logs nothing: probes come every few seconds."""
