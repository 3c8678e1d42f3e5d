"""Workers in processes of their own, which tests kill."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from signal import SIGKILL, SIGTERM
from typing import Self

from tests.engines.process import Process


class WorkerProcess(Process):
    """A worker: `with WorkerProcess.module("celery", …, log=folder / "log") as worker: …`."""

    @classmethod
    def module(
        cls,
        name: str,
        *arguments: str,
        log: Path,
        environment: Mapping[str, str] | None = None,
        folder: Path | None = None,
    ) -> Self:
        """Runs `python -m name`, with the interpreter that runs the tests."""
        command = [sys.executable, "-m", name, *arguments]
        return cls(command, log=log, environment=environment, folder=folder)

    def kill(self) -> None:
        """Kills the main process only; its children live on."""
        self.send(SIGKILL)

    def kill_children(self) -> frozenset[int]:
        """Kills the children of the main process; returns their ids."""
        children = self.pids() - {self.pid}
        for pid in children:
            with suppress(ProcessLookupError):
                os.kill(pid, SIGKILL)
        return children

    def terminate(self) -> None:
        """Sends SIGTERM to the main process, which stops most workers normally."""
        self.send(SIGTERM)
