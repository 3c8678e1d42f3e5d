"""Processes whose clocks are wrong, by libfaketime."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

CURE = "libfaketime is not installed: apt-get install faketime"

_FOLDERS = ("/usr/lib", "/usr/local/lib", "/opt/homebrew/lib")


def environment(seconds: float) -> Mapping[str, str]:
    """The environment that sets a process' clock ahead; raises FileNotFoundError."""
    found = [
        library
        for folder in _FOLDERS
        for library in Path(folder).glob("**/faketime/libfaketimeMT.so.1")
    ]
    if not found:
        raise FileNotFoundError(CURE)
    return {
        "LD_PRELOAD": str(found[0]),
        "FAKETIME": f"{seconds:+g}",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "DONT_FAKE_MONOTONIC": "1",  # its name in older releases
    }


@contextmanager
def clocks_ahead(seconds: float) -> Iterator[None]:
    """Sets the clocks of processes that are started meanwhile ahead."""
    if not seconds:
        yield
        return
    before = {name: os.environ.get(name) for name in environment(seconds)}
    os.environ.update(environment(seconds))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
