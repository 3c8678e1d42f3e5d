"""Spans and metrics, as the OpenTelemetry SDK gets them."""

from pathlib import Path

import pytest
from msgspec import Raw
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader, NumberDataPoint
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from returns.result import Success

from onward import Backend, Catalog, connect, local, run, submit_all, task
from onward.backend import Submission
from onward.observe import observed, watched_catalog
from onward.otel import OpenTelemetry
from onward.plan import VERSION, Args, Plan, StepNode
from tests.engines.temporal import Temporal
from tests.engines.valkey import Valkey
from tests.engines.worker import WorkerProcess
from tests.otel.served import bad, spanned, upper


class Seen:
    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        self.reader = InMemoryMetricReader()
        spans = TracerProvider()
        spans.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.observer = OpenTelemetry(spans, MeterProvider([self.reader]))

    def spans(self) -> dict[str, ReadableSpan]:
        return {span.name: span for span in self.exporter.get_finished_spans()}

    def failed(self) -> dict[object, int | float]:
        """How many attempts failed, by the kind of fault."""
        data = self.reader.get_metrics_data()
        assert data is not None
        return {
            (point.attributes or {})["error.type"]: point.value
            for resource in data.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
            if metric.name == "onward.attempts.failed"
            for point in metric.data.data_points
            if isinstance(point, NumberDataPoint)
        }

    def metrics(self) -> set[str]:
        data = self.reader.get_metrics_data()
        assert data is not None
        return {
            metric.name
            for resource in data.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
        }


@pytest.fixture
def seen() -> Seen:
    return Seen()


def id_of(span: ReadableSpan) -> int:
    context = span.get_span_context()
    assert context is not None
    return context.span_id


def place_of(span: ReadableSpan) -> str:
    """What `spanned` gives, where this is the span it runs in."""
    assert span.parent is not None
    return f"{span.parent.trace_id} {span.parent.span_id}"


def check_chain(spans: dict[str, ReadableSpan], flow: str) -> None:
    """That each attempt is a child of the submission, and linked to it."""
    sent = spans[f"send {flow}"]
    assert sent.kind is SpanKind.PRODUCER
    for name in ("process spanned", "process upper"):
        span = spans[name]
        assert span.kind is SpanKind.CONSUMER
        assert span.parent is not None
        assert span.parent.span_id == id_of(sent)
        assert [link.context.span_id for link in span.links] == [id_of(sent)]


def test_an_attempt_is_a_child_of_its_submission_and_current_inside_the_task(seen: Seen) -> None:
    on = observed(local(), seen.observer)
    given = run((spanned >> upper)(1), on=on)
    check_chain(seen.spans(), "spanned >> upper")
    assert given == Success(place_of(seen.spans()["process spanned"]))


def test_a_failed_attempt_has_its_error_and_its_exception(seen: Seen) -> None:
    run(bad(1), on=observed(local(), seen.observer))
    span = seen.spans()["process bad"]
    assert span.status.status_code is StatusCode.ERROR
    assert span.attributes is not None
    assert span.attributes["error.type"] == "ValueError"
    assert [event.name for event in span.events] == ["exception"]


def test_there_are_metrics_of_what_is_submitted_and_run(seen: Seen) -> None:
    on = observed(local(), seen.observer)
    run(bad(1), on=on)
    run(upper("a"), on=on)
    assert seen.metrics() == {
        "messaging.client.sent.messages",
        "messaging.client.operation.duration",
        "messaging.process.duration",
        "onward.attempts.started",
        "onward.attempts.succeeded",
        "onward.attempts.failed",
        "onward.queue.duration",
    }


def test_an_attempt_counts_as_failed_whose_arguments_cannot_be_read(seen: Seen) -> None:
    backend = local()
    worker = backend.serve(watched_catalog(Catalog(upper), [seen.observer])).unwrap()
    args = Args((Raw(b"1"),))
    plan = Plan(v=VERSION, id="id", flow="upper", root=StepNode(task="upper"), args=args)
    backend.outcome(backend.submit(Submission(plan)).unwrap(), 30).unwrap()
    worker.stop()
    backend.close()
    assert seen.failed() == {"BadPayload": 1}
    assert seen.spans()["process upper"].status.status_code is StatusCode.ERROR


def test_calls_that_are_sent_together_are_no_children_of_each_other(seen: Seen) -> None:
    submit_all([upper("a"), upper("b")], on=observed(local(), seen.observer)).unwrap()
    sent = [span for span in seen.exporter.get_finished_spans() if span.name == "send upper"]
    assert [span.parent for span in sent] == [None, None]


def test_a_call_that_is_submitted_inside_a_task_is_its_child(seen: Seen) -> None:
    on = observed(local(), seen.observer)

    @task
    def outer(text: str) -> str:
        return run(upper(text), on=on).unwrap()

    assert run(outer("a"), on=on) == Success("a")
    spans = seen.spans()
    parent = spans["send upper"].parent
    assert parent is not None
    assert parent.span_id == id_of(spans["process outer"])


def check_other_process(seen: Seen, url: str, folder: Path) -> None:
    """That what a worker in another process runs is a child of the submission in this one."""
    backend: Backend = connect(url).unwrap()
    with WorkerProcess.module("tests.otel.served", url, log=folder / "log"):
        given = run((spanned >> upper)(1), on=observed(backend, seen.observer), timeout=30)
    sent = seen.spans()["send spanned >> upper"].get_span_context()
    assert sent is not None
    assert given == Success(f"{sent.trace_id} {sent.span_id}")


def test_the_context_travels_over_celery(seen: Seen, valkey: Valkey, tmp_path: Path) -> None:
    check_other_process(seen, f"celery+{valkey.url}", tmp_path)


def test_the_context_travels_over_temporal(seen: Seen, temporal: Temporal, tmp_path: Path) -> None:
    check_other_process(seen, f"{temporal.url}?task_queue=otel", tmp_path)
