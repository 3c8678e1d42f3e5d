"""A worker's metrics, as Prometheus reads them (extra `metrics`)."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Generator, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector

from onward.fault import Fault
from onward.health.monitor import Report
from onward.observer import Attempt, Sending

_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600)

_OTHER = "(other)"
"""What stands for a task that the worker does not serve: anyone who submits could make one up."""

KIND = "text/plain; version=0.0.4; charset=utf-8"
"""The content type of the text. prometheus_client has a name for it since 0.22 only."""


class Metrics:
    """An observer that counts and times the attempts of a worker.

    Args:
        names: The names of the tasks and flows that the worker serves.
        report: Says how the worker is.
    """

    def __init__(self, names: Collection[str], report: Callable[[], Report]) -> None:
        self._names = frozenset(names)
        # One of its own, so that two workers of one process do not mix.
        self._registry = CollectorRegistry()
        self._registry.register(_Condition(report))
        self._lock = threading.Lock()
        self._running = Gauge(
            "onward_steps_running", "Steps that run now.", ["task"], registry=self._registry
        )
        self._begun = Counter(
            "onward_steps_begun", "Attempts that began.", ["task"], registry=self._registry
        )
        self._ended = Counter(
            "onward_steps_ended",
            "Attempts that ended, by what came of them.",
            ["task", "outcome"],
            registry=self._registry,
        )
        self._seconds = Histogram(
            "onward_step_duration_seconds",
            "How long attempts took.",
            ["task"],
            buckets=_BUCKETS,
            registry=self._registry,
        )

    def text(self) -> bytes:
        """The metrics, and those that the program itself keeps in the library's own registry."""
        return generate_latest(self._registry) + generate_latest(REGISTRY)

    def sending(self, _: Sending, /) -> AbstractContextManager[object]:
        """See `Observer.sending`."""
        return nullcontext()

    @contextmanager
    def attempt(self, attempt: Attempt, /) -> Generator[None]:
        """See `Observer.attempt`."""
        name = attempt.context.task
        task = name if name in self._names else _OTHER
        self._begun.labels(task).inc()
        self._running.labels(task).inc()
        start = time.perf_counter()
        try:
            yield
        finally:
            self._running.labels(task).dec()
            self._seconds.labels(task).observe(time.perf_counter() - start)
            self._ended.labels(task, outcome_of(attempt)).inc()


def outcome_of(attempt: Attempt) -> str:
    """What came of an attempt: `value`, `error` for a domain error, or the kind of its fault."""
    if isinstance(attempt.error, Fault):
        return type(attempt.error).__name__
    if attempt.error is not None:
        return "error"
    return "value" if attempt.exception is None else "Raised"


class _Condition(Collector):
    def __init__(self, report: Callable[[], Report]) -> None:
        self._report = report

    def collect(self) -> Iterator[Metric]:
        report = self._report()
        yield GaugeMetricFamily("onward_worker_ready", "1 if it takes steps.", int(report.ready))
        yield GaugeMetricFamily("onward_worker_live", "1 if it is worth keeping.", int(report.live))
        if report.slots is not None:
            yield GaugeMetricFamily(
                "onward_worker_slots", "How many steps it can run at a time.", report.slots
            )
        if report.silent is not None:
            yield GaugeMetricFamily(
                "onward_engine_silent_seconds",
                "How long it has heard nothing from its engine.",
                report.silent,
            )
