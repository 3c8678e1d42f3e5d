"""The settings of `sqlite:///onward.db`, by URL, file and environment."""

from __future__ import annotations

from typing import TypedDict, cast
from urllib.parse import unquote

from onward.backend import Backend
from onward.engines import Engine
from onward.url import parameters, split


class _Parameters(TypedDict, total=False):
    queue: str
    keep: float
    lease: float
    synchronous: str
    busy_timeout: float


class Settings(_Parameters, total=False):
    """See `onward.backends.sqlite.sqlite`."""

    path: str


def _from_url(url: str) -> Settings:
    delegated = split(url)
    if delegated.netloc:
        raise ValueError(
            "a file has no host: write sqlite:///onward.db, or sqlite:////srv/onward.db for a path "
            "from the root"
        )
    settings = cast(Settings, parameters(url, _Parameters))
    settings["path"] = unquote(delegated.path.removeprefix("/"))
    return settings


def _connect(settings: Settings) -> Backend:
    from onward.backends.sqlite import Synchronous, sqlite

    given = {**settings}
    path = given.pop("path", "")
    if not path:
        raise ValueError("path is missing: write sqlite:///onward.db, or path: onward.db")
    synchronous = cast(Synchronous, given.pop("synchronous", "full"))
    return sqlite(str(path), synchronous=synchronous, **cast("_Others", given))


class _Others(TypedDict, total=False):
    queue: str
    keep: float
    lease: float
    busy_timeout: float


ENGINE = Engine(Settings, _connect, _from_url, variables={"path": "ONWARD_SQLITE_PATH"})
