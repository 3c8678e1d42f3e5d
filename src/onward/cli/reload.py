"""Starts the command again when the code that it has loaded is no longer the code on the disk."""

from __future__ import annotations

import os
import sys
import sysconfig
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import NoReturn

from onward.cli.console import say

_PAUSE = 0.5
"""How long it is from one look to the next, in seconds."""


class Changes:
    """What has changed of the modules' files since they were first seen.

    The times of the loaded modules' files are looked at, every now and then: these are some tens,
    and what a library for it would watch are folders.
    """

    def __init__(self) -> None:
        self.found: Path | None = None
        """The first file that was seen to have changed."""
        self._since = time.time_ns()
        self._seen: dict[Path, tuple[int, int]] = {}

    def watch(self, stop: threading.Event) -> None:
        """Looks, on a thread of its own, until it is to stop; and has it stop at a change."""
        self._is_changed(_loaded())

        def look() -> None:
            while not stop.wait(_PAUSE):
                if self._is_changed(_loaded()):
                    stop.set()
                    return

        threading.Thread(target=look, name="onward-reload", daemon=True).start()

    def wait(self, others: Iterable[Path]) -> bool:
        """Waits for a change, of these files too; False if there is no file to wait for."""
        files = [*_loaded(), *filter(_is_own, others)]
        pause = threading.Event()
        while not self._is_changed(files):
            if not self._seen:
                return False
            pause.wait(_PAUSE)
        return True

    def start_again(self) -> NoReturn:
        """Starts the same command again in this process, which keeps its id."""
        sys.stdout.flush()
        sys.stderr.flush()
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])

    def _is_changed(self, files: Iterable[Path]) -> bool:
        for file in files:
            now = _state(file)
            if now is None:
                continue
            # It may have changed between being loaded and being looked at for the first time.
            is_later = self._since < now[0] <= time.time_ns()
            if is_later or self._seen.setdefault(file, now) != now:
                self.found = file
                say(f"{file.name} has changed", "yellow")
                return True
        return False


def _loaded() -> list[Path]:
    """The files of the modules that are loaded, without those of installed packages."""
    files = [getattr(module, "__file__", None) for module in list(sys.modules.values())]
    return [path for file in files if file is not None and _is_own(path := Path(file))]


def _is_own(file: Path) -> bool:
    return file.suffix == ".py" and not str(file).startswith(_INSTALLED)


_INSTALLED = tuple(
    sysconfig.get_path(name) + os.sep for name in ("stdlib", "platstdlib", "purelib", "platlib")
)


def _state(file: Path) -> tuple[int, int] | None:
    """When a file was changed and how long it is; None while it is being replaced."""
    try:
        status = file.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size
