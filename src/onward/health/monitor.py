"""Looks at a worker at intervals, and says how it is."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Literal, TypeAlias

from msgspec import Struct

from onward.backend import Hearing, Worker
from onward.backend.support import hearing_of

_LOGGER = logging.getLogger("onward.health")

State: TypeAlias = Literal["starting", "ready", "deaf", "draining", "stopping", "ended"]


class Report(Struct, frozen=True):
    """How a worker is.

    Args:
        state: What it does: it starts, is ready, is deaf, finishes its last steps, or has ended.
        live: Whether it is worth keeping.
        silent: How long it has heard nothing from its engine, in seconds; None if it cannot tell.
        slots: How many steps it can run at a time; None if it does not say.
    """

    state: State
    live: bool
    silent: float | None = None
    slots: int | None = None

    @property
    def ready(self) -> bool:
        """Whether it takes steps."""
        return self.state == "ready"


class Monitor:
    """Looks at a worker at intervals.

    Args:
        deaf: How long the worker may be deaf before it counts as not live, in seconds.
        every: The interval, in seconds.
        tell: Gets each report.
    """

    def __init__(self, deaf: float, every: float, tell: Callable[[Report], None]) -> None:
        self.report: Report = Report("starting", live=True)
        """How the worker is."""
        self._deaf = deaf
        self._every = every
        self._tell = tell
        self._worker: Worker | None = None
        self._leaving: Literal["draining", "stopping"] | None = None
        self._was_deaf = False
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="onward-health", daemon=True)

    def serve(self, worker: Worker) -> None:
        """Looks at this worker from now on."""
        self._worker = worker
        self._look()
        self._thread.start()

    def stop(self, state: Literal["draining", "stopping"]) -> None:
        """Notes that the worker takes no more steps."""
        self._leaving = state
        self._look()

    def close(self) -> None:
        """Looks no more."""
        self._closed.set()

    def _run(self) -> None:
        while not self._closed.wait(self._every):
            self._look()

    def _look(self) -> None:
        worker = self._worker
        if worker is None:
            return
        with self._lock:
            hearing = hearing_of(worker)
            self.report = self._judge(worker, hearing)
            self._log(hearing)
            self._tell(self.report)

    def _judge(self, worker: Worker, hearing: Hearing | None) -> Report:
        silent = None if hearing is None else hearing.silent
        slots = None if hearing is None else hearing.slots
        if self._leaving is not None:
            return Report(self._leaving, True, silent, slots)
        if worker.wait(0):
            return Report("ended", False, silent, slots)
        if hearing is None or not hearing.is_deaf:
            return Report("ready", True, silent, slots)
        return Report("deaf", hearing.silent <= max(self._deaf, hearing.limit), silent, slots)

    def _log(self, hearing: Hearing | None) -> None:
        if hearing is None or hearing.is_deaf == self._was_deaf:
            return
        self._was_deaf = hearing.is_deaf
        if hearing.is_deaf:
            text = "the worker is deaf: it has heard nothing from its engine for %.0f s"
            _LOGGER.warning(text, hearing.silent)
        else:
            _LOGGER.warning("the worker hears its engine again")
