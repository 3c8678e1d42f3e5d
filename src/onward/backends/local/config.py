"""The settings of `local://`, which runs calls in this process."""

from __future__ import annotations

from typing import TypedDict

from onward.backend import Backend
from onward.engines import Engine
from onward.url import parameters, refuse_host


class Settings(TypedDict, total=False):
    """See `onward.local`."""

    workers: int
    keep: float


def _from_url(url: str) -> Settings:
    refuse_host(url)
    return parameters(url, Settings)


def _connect(settings: Settings) -> Backend:
    from onward.backends.local import local

    return local(**settings)


ENGINE = Engine(Settings, _connect, _from_url)
