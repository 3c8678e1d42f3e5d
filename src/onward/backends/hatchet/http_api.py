"""Hatchet's HTTP API. The gRPC API lacks logs, crons, and the list and pause of workers."""

from __future__ import annotations

import ssl
import time
from collections.abc import Mapping, Sequence
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from pathlib import Path
from typing import TypeAlias

import aiohttp
import msgspec
from msgspec import Struct
from returns.result import Failure, Result, Success

from onward.fault import Fault, Unavailable

_PATIENCE = 10.0
_AWAY = (aiohttp.ClientError, TimeoutError, OSError)


Query: TypeAlias = Mapping[str, str] | Sequence[tuple[str, str]]
"""The parameters of a request; a sequence may repeat a name."""


class Answer(Struct, frozen=True):
    """The answer to a request.

    Args:
        raw: The body.
        ahead: How far the server's clock is ahead of this machine's, in seconds, accurate to half a
            second; None if the answer has no date.
    """

    raw: bytes
    ahead: float | None


class HttpApi:
    """The HTTP API of an engine, on one event loop.

    Args:
        url: The URL of the API.
        token: The tenant's token.
        authorities: A file of the trusted authorities; None for the system's.
    """

    def __init__(self, url: str, token: str, authorities: Path | None = None) -> None:
        self._url = url
        self._token = token
        self._authorities = authorities
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        """Closes the connections."""
        if self._session is not None:
            await self._session.close()

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Query | None = None,
        body: object = None,
    ) -> Result[bytes, Fault | HTTPStatus]:
        """Sends a request.

        Args:
            method: GET, POST, PATCH or DELETE.
            path: The path below `/api/v1/`.
            query: The parameters.
            body: The body, sent as JSON.

        Returns:
            The body of the answer; the HTTP status if it is not a success; or `Unavailable`.
        """
        answer = await self.fetch(method, path, query=query, body=body)
        return answer.map(lambda answer: answer.raw)

    async def fetch(
        self,
        method: str,
        path: str,
        *,
        query: Query | None = None,
        body: object = None,
    ) -> Result[Answer, Fault | HTTPStatus]:
        """Like `request`, but also returns the difference between the clocks."""
        url = f"{self._url}/api/v1/{path}"
        data = None if body is None else msgspec.json.encode(body)
        before = time.time()
        try:
            if self._session is None:
                self._session = self._connected()
            async with self._session.request(method, url, params=query, data=data) as answer:
                middle = (before + time.time()) / 2
                raw = await answer.read()
        except _AWAY as problem:
            text = str(problem) or "it does not answer"
            return Failure(Unavailable("", f"Hatchet's HTTP API at {self._url}: {text}"))
        if not answer.ok:
            return Failure(self._status(answer.status))
        there = _date(answer.headers.get("Date", ""))
        return Success(Answer(raw, None if there is None else there - middle))

    async def pause(self, worker: str) -> bool:
        """Stops the engine from assigning to a worker; False if the HTTP API does not answer."""
        answer = await self.request("PATCH", f"workers/{worker}", body={"isPaused": True})
        return isinstance(answer, Success)

    def _connected(self) -> aiohttp.ClientSession:
        trusted = ssl.create_default_context(cafile=self._authorities)
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=trusted),
            headers={
                "Authorization": f"Bearer {self._token}",
                "Content-Type": "application/json",
            },
            timeout=aiohttp.ClientTimeout(total=_PATIENCE),
        )

    def _status(self, code: int) -> HTTPStatus | Unavailable:
        try:
            return HTTPStatus(code)
        except ValueError:  # some proxies have their own codes
            return Unavailable("", f"Hatchet's HTTP API at {self._url}: it answers {code}")


def _date(text: str) -> float | None:
    """Returns a server's time: the middle of the second in a Date header."""
    try:
        return parsedate_to_datetime(text).timestamp() + 0.5
    except ValueError:
        return None
