"""Reaches the backends that calls were moved to, by URLs without credentials."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from typing import TypeAlias
from urllib.parse import unquote

from msgspec.structs import replace
from returns.result import Result

from onward.backend import Backend
from onward.backend.additions import additions_of, set_additions
from onward.fault import Fault, Misconfigured
from onward.url import split

Connect: TypeAlias = Callable[[str], Result[Backend, Misconfigured]]

URLS = "ONWARD_URLS"
"""The variable with the URLs of backends that calls may have been moved to, separated by spaces."""


def without_credentials(url: str) -> str:
    """A URL without users and passwords, also in the URLs of its parameters.

    Example:
        >>> without_credentials("celery+redis://mail:secret@localhost:6379/0?queue=mail")
        'celery+redis://localhost:6379/0?queue=mail'
        >>> without_credentials("sqlite:///onward.db")
        'sqlite:///onward.db'
    """
    parts = split(url)
    parameters = [part.partition("=") for part in parts.query.split("&") if part]
    query = "&".join(f"{name}={_without(value)}" for name, _, value in parameters)
    url = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
    return f"{url}?{query}" if query else url


def _without(value: str) -> str:
    text = value if "://" in value else unquote(value)
    return without_credentials(text) if "://" in text else value


def make_reachable(backend: Backend, url: str, connect: Connect) -> None:
    """Tells a backend its address, and how to reach others.

    Args:
        backend: The backend, which was just made.
        url: The URL that it was made of; empty if it was made of something else.
        connect: Makes a backend of a URL.
    """

    def reach(address: str) -> Result[Backend, Fault]:
        known = [os.environ.get("ONWARD_URL", ""), *os.environ.get(URLS, "").split()]
        named = [each for each in known if _address(each) == address]
        return connect(named[0] if named else address)

    is_here = hasattr(backend, "run_here")  # another process has other calls
    address = "" if is_here else _address(url)
    with contextlib.suppress(AttributeError):  # it has __slots__: moved calls are not followed
        set_additions(backend, replace(additions_of(backend), address=address, reach=reach))


def _address(url: str) -> str:
    try:
        return without_credentials(url)
    except ValueError:
        return ""
