"""OpenTelemetry: spans and metrics of submissions and attempts (extra `otel`).

It follows the messaging conventions. A `send` span of kind PRODUCER surrounds each submission, and
its context travels with the plan. A `process` span of kind CONSUMER surrounds each attempt at a
task; it is a child of the `send` span, and linked to it. The global propagator decides how a
context travels, so baggage travels too.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Generator, Mapping
from importlib.metadata import version

from opentelemetry import context as contexts
from opentelemetry import propagate, trace
from opentelemetry.metrics import MeterProvider, get_meter
from opentelemetry.trace import Link, Span, SpanKind, Status, StatusCode, TracerProvider

from onward.fault import Fault
from onward.observe import Attempt, Sending
from onward.plan import fits_trace
from onward.policy import type_name

SYSTEM = "onward"
_CONVENTIONS = "https://opentelemetry.io/schemas/1.44.0"
_OURS = version("onward")
_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)


class OpenTelemetry:
    """An observer that makes OpenTelemetry spans and metrics.

    Args:
        tracer_provider: Takes the spans; None for the global provider.
        meter_provider: Takes the metrics; None for the global provider.

    Example:
        >>> from onward import local, run, task
        >>> from onward.observe import observed
        >>> @task
        ... def double(n: int) -> int:
        ...     return 2 * n
        >>> run(double(21), on=observed(local(), OpenTelemetry()))
        <Success: 42>
    """

    def __init__(
        self,
        tracer_provider: TracerProvider | None = None,
        meter_provider: MeterProvider | None = None,
    ) -> None:
        self._tracer = trace.get_tracer("onward", _OURS, tracer_provider, _CONVENTIONS)
        meter = get_meter("onward", _OURS, meter_provider, _CONVENTIONS)
        self._submitted = meter.create_counter("messaging.client.sent.messages", "{message}")
        self._started = meter.create_counter("onward.attempts.started", "{attempt}")
        self._succeeded = meter.create_counter("onward.attempts.succeeded", "{attempt}")
        self._failed = meter.create_counter("onward.attempts.failed", "{attempt}")
        self._sent_in = meter.create_histogram(
            "messaging.client.operation.duration",
            "s",
            explicit_bucket_boundaries_advisory=_BUCKETS,
        )
        self._processed_in = meter.create_histogram(
            "messaging.process.duration", "s", explicit_bucket_boundaries_advisory=_BUCKETS
        )
        self._queued = meter.create_histogram(
            "onward.queue.duration", "s", explicit_bucket_boundaries_advisory=_BUCKETS
        )

    @contextlib.contextmanager
    def sending(self, sending: Sending, /) -> Generator[None]:
        """See `Observer.sending`."""
        about = _about("send", sending.flow)
        began = time.perf_counter()
        # Not the current span: calls that are sent together are not each other's children.
        span = self._tracer.start_span(
            f"send {sending.flow}",
            kind=SpanKind.PRODUCER,
            attributes=about,
        )
        propagate.inject(sending.trace, context=trace.set_span_in_context(span))
        if not fits_trace(sending.trace):  # baggage alone may be too large
            sending.trace.pop("baggage", None)
        yield
        span.set_attribute("messaging.message.id", sending.id)
        kind = _kind(sending.fault)
        if sending.fault is not None:
            _fail(span, kind, sending.fault.message)
        span.end()
        about |= _error(kind)
        self._submitted.add(1, about)
        self._sent_in.record(time.perf_counter() - began, about)

    @contextlib.contextmanager
    def attempt(self, attempt: Attempt, /) -> Generator[None]:
        """See `Observer.attempt`."""
        of = attempt.context
        about = _about("process", of.task)
        around = trace.get_current_span().get_span_context()
        created = propagate.extract(of.trace, contexts.get_current())
        sent = trace.get_current_span(created).get_span_context()
        links = [] if sent == around else [Link(sent)]
        if links and around.is_valid and around.trace_id != sent.trace_id:
            links.append(Link(around))
        began = time.perf_counter()
        token = contexts.attach(created)
        try:
            with self._tracer.start_as_current_span(
                f"process {of.task}",
                kind=SpanKind.CONSUMER,
                links=links,
                attributes={
                    **about,
                    "messaging.message.id": of.id,
                    "onward.step": of.step,
                    "onward.attempt": of.attempt,
                },
            ) as span:
                self._started.add(1, about)
                if attempt.queued is not None:
                    self._queued.record(attempt.queued, about)
                yield
                failure = attempt.exception or attempt.error
                kind = _kind(failure)
                about |= _error(kind)
                (self._failed if kind else self._succeeded).add(1, about)
                self._processed_in.record(time.perf_counter() - began, about)
                if failure is not None:
                    _fail(span, kind, _message(failure))
                if attempt.exception is not None:
                    span.record_exception(attempt.exception)  # last, because it may raise
        finally:
            contexts.detach(token)


def _about(operation: str, destination: str) -> dict[str, str]:
    return {
        "messaging.system": SYSTEM,
        "messaging.operation.name": operation,
        "messaging.operation.type": operation,
        "messaging.destination.name": destination,
    }


def _kind(failure: object) -> str:
    """The name of a failure: a fault's kind, or the class of an error or exception."""
    if failure is None:
        return ""
    if isinstance(failure, BaseException):
        return type_name(type(failure))
    return type(failure).__name__


def _message(failure: object) -> str:
    """The text of a failure; empty for a domain error, which may have private data."""
    if isinstance(failure, Fault):
        return failure.message
    if not isinstance(failure, BaseException):
        return ""
    try:
        return str(failure)
    except Exception:  # the user's `__str__` raised
        return ""


def _error(kind: str) -> Mapping[str, str]:
    return {"error.type": kind} if kind else {}


def _fail(span: Span, kind: str, message: str) -> None:
    span.set_attribute("error.type", kind)
    span.set_status(Status(StatusCode.ERROR, message))
