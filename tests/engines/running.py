"""A server for as long as a fixture lasts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest

from tests.engines.server import Server

S = TypeVar("S", bound=Server)


def running(
    kind: type[S], folders: pytest.TempPathFactory, start: Callable[[Path], S] | None = None
) -> Iterator[S]:
    """Yields a server; skips where it cannot be started.

    Args:
        kind: Its kind.
        folders: Where it gets one.
        start: How it is started, where that is not by `kind.start`.
    """
    if reason := kind.missing():
        pytest.skip(reason)
    with (start or kind.start)(folders.mktemp(kind.__name__.lower())) as server:
        yield server
