"""Restarts the command when a file of a loaded module changes."""

from __future__ import annotations

import os
import sys
import sysconfig
import threading
import time
from collections.abc import Iterable
from pathlib import Path

from onward.cli.console import say

_PAUSE = 0.5
"""The time between two looks, in seconds."""


class Changes:
    """Watches the files of the loaded modules for changes.

    It polls the times of these files, of which there are some tens. Libraries watch whole folders.
    """

    def __init__(self) -> None:
        self.found: Path | None = None
        """The first changed file."""
        self._since = time.time_ns()
        self._seen: dict[Path, tuple[int, int]] = {}

    def watch(self, stop: threading.Event) -> None:
        """Watches on a thread until `stop` is set, and sets it at a change."""
        self._is_changed(_loaded())

        def look() -> None:
            while not stop.wait(_PAUSE):
                if self._is_changed(_loaded()):
                    stop.set()
                    return

        threading.Thread(target=look, name="onward-reload", daemon=True).start()

    def wait(self, others: Iterable[Path]) -> bool:
        """Waits for a change, also of these files; False if there is no file to watch."""
        files = [*_loaded(), *filter(_is_own, others)]
        pause = threading.Event()
        while not self._is_changed(files):
            if not self._seen:
                return False
            pause.wait(_PAUSE)
        return True

    def _is_changed(self, files: Iterable[Path]) -> bool:
        for file in files:
            now = _state(file)
            if now is None:
                continue
            # The file may have changed between its import and the first look.
            is_later = self._since < now[0] <= time.time_ns()
            if is_later or self._seen.setdefault(file, now) != now:
                self.found = file
                say(f"{file.name} has changed", "yellow")
                return True
        return False


def _loaded() -> list[Path]:
    """The files of the loaded modules, except those of installed packages."""
    files = [getattr(module, "__file__", None) for module in list(sys.modules.values())]
    return [path for file in files if file is not None and _is_own(path := Path(file))]


def _is_own(file: Path) -> bool:
    return file.suffix == ".py" and not str(file).startswith(_INSTALLED)


_INSTALLED = tuple(
    sysconfig.get_path(name) + os.sep for name in ("stdlib", "platstdlib", "purelib", "platlib")
)


def _state(file: Path) -> tuple[int, int] | None:
    """When a file was changed, and its size; None while it is being replaced."""
    try:
        status = file.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size
