"""SQLite: calls in a file, for the processes of one machine, without a server."""

from __future__ import annotations

import importlib
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

from onward.policy import check_queue, check_seconds

if TYPE_CHECKING:
    from onward.backends.sqlite.backend import SqliteBackend

__all__ = ["SqliteBackend", "sqlite"]

Synchronous: TypeAlias = Literal["full", "normal"]
"""How much survives a power failure: everything, or all but the last moments."""


def sqlite(
    path: str | PathLike[str],
    *,
    queue: str = "onward",
    keep: float = 24 * 3600.0,
    lease: float = 5.0,
    synchronous: Synchronous = "full",
    busy_timeout: float = 30.0,
) -> SqliteBackend:
    """A backend that keeps calls in a SQLite file.

    Clients and workers are processes of one machine that open the same file. It is created when it
    is first used, readable and writable by its owner alone. Whoever can write to it can have any
    task run.

    Args:
        path: The file; it may be a database of your own, to which Onward adds tables.
        queue: The queue of steps that name none.
        keep: How long the outcome of a finished call can be had by its ref, in seconds.
        lease: How long a worker may be silent before others take over what it holds, in seconds.
        synchronous: `full` writes each call through to the disk before it is acknowledged; with
            `normal`, a power failure may lose the last moments, and a crashed process nothing.
        busy_timeout: How long a write waits while another program has the file locked, in seconds.

    Raises:
        TypeError: If an argument is of the wrong kind.
        ValueError: If it is out of bounds.

    Example:
        >>> from onward.backends.sqlite import sqlite
        >>> sqlite("onward.db", keep=3600)
        sqlite('onward.db')
    """
    if not isinstance(path, str | PathLike):
        raise TypeError(f"path is the path of a file, not {path!r}")
    if not str(path) or str(path) == ":memory:":
        raise ValueError("path is a file's: for calls in memory alone, use local()")
    if "\0" in str(path):
        raise ValueError("path has a NUL, which no file's has")
    check_queue(queue)
    for name, seconds, least in (
        ("keep", keep, 1.0),
        ("lease", lease, 1.0),
        ("busy_timeout", busy_timeout, 0.0),
    ):
        check_seconds(name, seconds, least)
    if synchronous not in ("full", "normal"):
        raise ValueError(f"synchronous is full or normal, not {synchronous!r}")
    from onward.backends.sqlite.backend import SqliteBackend
    from onward.backends.sqlite.client import File
    from onward.backends.sqlite.core import Core

    file = File(Path(path), synchronous, float(busy_timeout))
    return SqliteBackend(Core(file, queue, float(keep), float(lease)))


def __getattr__(name: str) -> object:
    if name == "SqliteBackend":
        return importlib.import_module("onward.backends.sqlite.backend").SqliteBackend
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
