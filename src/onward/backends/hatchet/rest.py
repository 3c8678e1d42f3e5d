"""Hatchet's HTTP API, which alone has logs, crons, workers and their pause."""

from __future__ import annotations

import ssl
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from pathlib import Path

import aiohttp
import msgspec
from msgspec import Struct
from returns.result import Failure, Result, Success

from onward.fault import Fault, Unavailable

_PATIENCE = 10.0
_AWAY = (aiohttp.ClientError, TimeoutError, OSError)


class Answer(Struct, frozen=True):
    """The answer to a request.

    Args:
        raw: Its body.
        ahead: How far the server's clock is ahead of ours, in seconds, within half a second; None
            if the answer has no date.
    """

    raw: bytes
    ahead: float | None


class Rest:
    """The HTTP API of an engine, on one event loop.

    Args:
        url: Its URL.
        token: The token of the tenant.
        authorities: A file of the authorities to trust; None for the system's.
    """

    def __init__(self, url: str, token: str, authorities: Path | None = None) -> None:
        self._url = url
        self._token = token
        self._authorities = authorities
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        """Ends the connections."""
        if self._session is not None:
            await self._session.close()

    async def ask(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: object = None,
    ) -> Result[bytes, Fault | HTTPStatus]:
        """One request.

        Args:
            method: GET, POST, PATCH or DELETE.
            path: What follows `/api/v1/`.
            query: Its parameters.
            body: What it sends, as JSON.

        Returns:
            The body; else the status of an answer that is no success, or `Unavailable`.
        """
        answer = await self.answer(method, path, query=query, body=body)
        return answer.map(lambda answer: answer.raw)

    async def answer(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: object = None,
    ) -> Result[Answer, Fault | HTTPStatus]:
        """Like `ask`, and also gives the difference of the clocks."""
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
            said = str(problem) or "it does not answer"
            return Failure(Unavailable("", f"Hatchet's HTTP API at {self._url}: {said}"))
        if not answer.ok:
            return Failure(self._status(answer.status))
        there = _date(answer.headers.get("Date", ""))
        return Success(Answer(raw, None if there is None else there - middle))

    async def pause(self, worker: str) -> bool:
        """Has the engine hand nothing more to a worker; False if the HTTP API does not answer."""
        answer = await self.ask("PATCH", f"workers/{worker}", body={"isPaused": True})
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
    """The time of a server's clock, in the middle of the second that it gives."""
    try:
        return parsedate_to_datetime(text).timestamp() + 0.5
    except ValueError:
        return None
