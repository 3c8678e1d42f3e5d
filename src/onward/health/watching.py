"""Reports a worker's health while `work` serves it."""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Callable, Collection

import msgspec
from returns.result import Failure, Result, Success

from onward.backend import Worker
from onward.fault import Fault, Misconfigured
from onward.health import Health
from onward.health.monitor import Monitor, Report
from onward.health.server import Answer, PageServer
from onward.health.systemd import Systemd
from onward.observer import Observer

_MISSING = 'the metrics need prometheus-client: pip install "onward[metrics]"'

_LOGGER = logging.getLogger("onward.health")


class Watching:
    """A worker's health on a port and for systemd, until it is closed.

    Args:
        health: What is reported.
        names: The names of the tasks and flows that the worker serves.

    Raises:
        OSError: If the port cannot be listened on.
    """

    def __init__(self, health: Health, names: Collection[str]) -> None:
        self.observers: tuple[Observer, ...] = ()
        """Follow the attempts of the worker, for its metrics."""
        self._systemd = Systemd()
        self._state = ""
        self._monitor = Monitor(health.deaf, self._systemd.every, self._tell_systemd)
        self._server: PageServer | None = None
        if health.port is not None:
            pages = {"/live": self._live, "/ready": self._ready, "/metrics": self._metrics(names)}
            self._server = PageServer(health.host, health.port, pages)
            _LOGGER.info("the worker's health is at %s: %s", self._server.url, ", ".join(pages))

    def serve(self, worker: Worker) -> None:
        """Reports on this worker from now on, which is ready."""
        self._monitor.serve(worker)

    def drain(self) -> None:
        """Notes that the worker takes no more steps, and will be replaced once it has none."""
        self._monitor.stop("draining")

    def stop(self) -> None:
        """Notes that the worker has been told to stop."""
        self._monitor.stop("stopping")

    def close(self) -> None:
        """Stops reporting."""
        self._monitor.close()
        if self._server is not None:
            self._server.close()

    def _live(self) -> Answer:
        report = self._monitor.report
        return _answer(report, is_fine=report.live)

    def _ready(self) -> Answer:
        report = self._monitor.report
        return _answer(report, is_fine=report.ready)

    def _metrics(self, names: Collection[str]) -> Callable[[], Answer]:
        if importlib.util.find_spec("prometheus_client") is None:
            _LOGGER.warning(_MISSING)
            return lambda: Answer(501, f"{_MISSING}\n".encode(), "text/plain; charset=utf-8")
        from onward.health.metrics import KIND, Metrics

        metrics = Metrics(names, lambda: self._monitor.report)
        self.observers = (metrics,)
        return lambda: Answer(200, metrics.text(), KIND)

    def _tell_systemd(self, report: Report) -> None:
        lines = ["WATCHDOG=1"] if report.live else []
        if report.state != self._state:
            self._state = report.state
            lines.append(f"STATUS={report.state}")
            lines += {"ready": ["READY=1"], "stopping": ["STOPPING=1"]}.get(report.state, [])
        if lines:
            self._systemd.notify(*lines)


def _answer(report: Report, *, is_fine: bool) -> Answer:
    body = msgspec.json.encode({"state": report.state, "silent": report.silent})
    return Answer(200 if is_fine else 503, body + b"\n")


def watch_over(health: Health, names: Collection[str]) -> Result[Watching, Fault]:
    """Begins to report a worker's health, before it is served.

    Args:
        health: What is reported.
        names: The names of the tasks and flows that the worker serves.

    Returns:
        What reports it; `Misconfigured` if the port cannot be listened on.
    """
    try:
        return Success(Watching(health, names))
    except OSError as problem:
        why = problem.strerror or problem
        where = f"port {health.port} of {health.host}"
        return Failure(Misconfigured("health", f"{where} cannot be listened on: {why}"))
