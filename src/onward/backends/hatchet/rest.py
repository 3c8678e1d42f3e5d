"""What only Hatchet's HTTP API has: logs, crons, and workers that are to be left alone."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus

import aiohttp
import msgspec
from returns.result import Failure, Result, Success

from onward.fault import Fault, Unavailable

_PATIENCE = 10.0
_AWAY = (aiohttp.ClientError, TimeoutError, OSError)


class Rest:
    """The HTTP API of an engine, on one event loop.

    Args:
        url: Where it is.
        token: What opens it.
    """

    def __init__(self, url: str, token: str) -> None:
        self._url = url
        self._token = token
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
            What came; the status, if that is no success; `Unavailable` if nothing came.
        """
        if self._session is None:
            self._session = aiohttp.ClientSession(
                headers={
                    "Authorization": f"Bearer {self._token}",
                    "Content-Type": "application/json",
                },
                timeout=aiohttp.ClientTimeout(total=_PATIENCE),
            )
        url = f"{self._url}/api/v1/{path}"
        data = None if body is None else msgspec.json.encode(body)
        try:
            async with self._session.request(method, url, params=query, data=data) as answer:
                raw = await answer.read()
        except _AWAY as problem:
            return Failure(Unavailable("", f"Hatchet's HTTP API at {self._url}: {problem}"))
        return Success(raw) if answer.ok else Failure(HTTPStatus(answer.status))
