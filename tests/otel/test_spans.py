"""Spans and metrics, as the OpenTelemetry SDK gets them."""

import re
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from msgspec import Raw
from opentelemetry import baggage, context, trace
from opentelemetry.context import Context as OtelContext
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader, Metric, NumberDataPoint
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    StatusCode,
    TraceFlags,
    TraceState,
)
from returns.result import Success

from onward import (
    Backend,
    Catalog,
    Context,
    TimedOut,
    connect,
    local,
    result,
    run,
    submit,
    submit_all,
    task,
)
from onward.backend import Submission
from onward.observe import Attempt, Sending, observed, observed_catalog
from onward.otel import OpenTelemetry
from onward.plan import MAX_TRACE, VERSION, Args, Plan, StepNode
from tests.engines.process import until
from tests.engines.temporal import Temporal
from tests.engines.valkey import Valkey
from tests.engines.worker import WorkerProcess
from tests.hatchet.served import Engine, fresh, serving
from tests.otel.served import bad, carried, late, late_async, passed_on, spanned, upper

PAGE = Path(__file__).parents[2] / "docs" / "observability.md"


class Seen:
    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        self.reader = InMemoryMetricReader()
        spans = TracerProvider()
        spans.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.observer = OpenTelemetry(spans, MeterProvider([self.reader]))

    def spans(self) -> dict[str, ReadableSpan]:
        return {span.name: span for span in self.exporter.get_finished_spans()}

    def ids(self, name: str) -> set[str]:
        """Those of the messages that the spans of this name are about."""
        spans = [span for span in self.exporter.get_finished_spans() if span.name == name]
        return {str((span.attributes or {})["messaging.message.id"]) for span in spans}

    def failed(self) -> dict[tuple[object, object], int | float]:
        """How many attempts failed, by the task and the kind of fault."""
        return {
            (about["messaging.destination.name"], about["error.type"]): point.value
            for metric in self.metrics()
            if metric.name == "onward.attempts.failed"
            for point in metric.data.data_points
            if isinstance(point, NumberDataPoint)
            if (about := point.attributes)
        }

    def metrics(self) -> list[Metric]:
        data = self.reader.get_metrics_data()
        assert data is not None
        return [
            metric
            for resource in data.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
        ]


@pytest.fixture
def seen() -> Seen:
    return Seen()


@contextmanager
def in_context(wanted: OtelContext) -> Generator[None]:
    token = context.attach(wanted)
    try:
        yield
    finally:
        context.detach(token)


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


class Mute(Exception):
    def __str__(self) -> str:
        raise RuntimeError("it has no text")


def test_an_exception_without_a_text_counts_and_leaves_no_context_behind(seen: Seen) -> None:
    sent = "00-00000000000000000000000000000001-0000000000000002-01"
    attempt = Attempt(Context(task="t", trace={"traceparent": sent}))
    with suppress(RuntimeError), seen.observer.attempt(attempt):
        attempt.exception = Mute()
    assert not trace.get_current_span().get_span_context().is_valid
    [kind] = {kind for _, kind in seen.failed()}
    assert str(kind).endswith("Mute")
    attributes = seen.spans()["process t"].attributes
    assert attributes is not None
    assert attributes["error.type"] == kind


def test_the_metrics_are_those_of_the_page(seen: Seen) -> None:
    on = observed(local(), seen.observer)
    run(bad(1), on=on)
    run(upper("a"), on=on)
    rows = re.findall(
        r"^\| `((?:messaging|onward)\.\S+)` \| `(\S+)` \|", PAGE.read_text(), re.MULTILINE
    )
    assert sorted((metric.name, metric.unit) for metric in seen.metrics()) == sorted(rows)


def test_an_attempt_counts_as_failed_whose_arguments_cannot_be_read(seen: Seen) -> None:
    backend = local()
    worker = backend.serve(observed_catalog(Catalog(upper), [seen.observer])).unwrap()
    args = Args((Raw(b"1"),))
    plan = Plan(v=VERSION, id="id", flow="upper", root=StepNode(task="upper"), args=args)
    backend.outcome(backend.submit(Submission(plan)).unwrap(), 30).unwrap()
    worker.stop()
    backend.close()
    assert seen.failed() == {("upper", "BadPayload"): 1}
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


def test_who_is_not_sampled_stays_so(seen: Seen) -> None:
    parent = NonRecordingSpan(SpanContext(1, 1, True, TraceFlags(TraceFlags.DEFAULT)))
    with in_context(trace.set_span_in_context(parent)):
        given = run(carried("vendor"), on=observed(local(), seen.observer))
    assert given == Success(("None", "", False))
    assert seen.spans() == {}
    assert len(seen.metrics()) == 6


def test_an_attempt_is_linked_to_the_span_around_it_where_that_is_of_another_trace(
    seen: Seen,
) -> None:
    sent = "00-00000000000000000000000000000001-0000000000000002-01"
    around = NonRecordingSpan(SpanContext(3, 4, True, TraceFlags(TraceFlags.SAMPLED)))
    with in_context(trace.set_span_in_context(around)):
        for headers in ({"traceparent": sent}, {}):
            with seen.observer.attempt(Attempt(Context(task="t", trace=headers))):
                pass
        assert trace.get_current_span() is around
    linked, alone = seen.exporter.get_finished_spans()
    assert [link.context.span_id for link in linked.links] == [2, 4]
    assert linked.parent is not None
    assert linked.parent.span_id == 2
    assert alone.links == ()
    assert alone.parent is not None
    assert alone.parent.span_id == 4


def check_other_process(seen: Seen, url: str, folder: Path) -> None:
    """That what a worker in another process runs is a child of the submission in this one."""
    backend: Backend = connect(url).unwrap()
    on = observed(backend, seen.observer)
    with WorkerProcess.module("tests.otel.served", url, log=folder / "log"):
        given = run((spanned >> upper)(1), on=on, timeout=120)
        refs = submit_all([upper("a"), upper("b")], on=on).unwrap()
    sent = seen.spans()["send spanned >> upper"].get_span_context()
    assert sent is not None
    assert given == Success(f"{sent.trace_id} {sent.span_id}")
    assert seen.ids("send upper") == set(map(str, refs))


def test_baggage_that_fills_all_the_room_is_left_behind_and_the_trace_is_not(seen: Seen) -> None:
    sending = Sending("id", "flow", {})
    with in_context(baggage.set_baggage("much", "x" * MAX_TRACE)), seen.observer.sending(sending):
        assert sending.trace.keys() == {"traceparent"}


def test_baggage_and_the_trace_s_state_travel_too(
    seen: Seen, valkey: Valkey, tmp_path: Path
) -> None:
    url = f"celery+{valkey.url}?queue=baggage"
    state = TraceState([("vendor", "here")])
    parent = NonRecordingSpan(SpanContext(1, 1, True, TraceFlags(TraceFlags.SAMPLED), state))
    around = baggage.set_baggage("vendor", "there", trace.set_span_in_context(parent))
    on = observed(connect(url).unwrap(), seen.observer)
    with (
        WorkerProcess.module("tests.otel.served", url, log=tmp_path / "log"),
        in_context(around),
    ):
        assert run(carried("vendor"), on=on, timeout=120) == Success(("there", "here", True))
    assert {span.context.trace_id for span in seen.spans().values() if span.context} == {1}


def test_the_context_travels_over_celery(seen: Seen, valkey: Valkey, tmp_path: Path) -> None:
    check_other_process(seen, f"celery+{valkey.url}", tmp_path)


def test_the_context_travels_over_temporal(seen: Seen, temporal: Temporal, tmp_path: Path) -> None:
    check_other_process(seen, f"{temporal.url}?task_queue=otel", tmp_path)


def test_the_context_travels_over_hatchet(seen: Seen, hatchet: Engine) -> None:
    catalog = observed_catalog(Catalog(spanned, upper, spanned >> upper), [seen.observer])
    with serving(hatchet, catalog, namespace=fresh()) as backend:
        on = observed(backend, seen.observer)
        given = run((spanned >> upper)(1), on=on, timeout=120)
        check_chain(seen.spans(), "spanned >> upper")
        assert given == Success(place_of(seen.spans()["process spanned"]))
        ref = submit(upper("a"), on=on).unwrap()
        result(ref, on=on, timeout=120).unwrap()
    assert seen.ids("send upper") == {str(ref)}
    assert str(ref) in seen.ids("process upper")


def check_timeouts(seen: Seen, backend: Backend) -> None:
    """That an attempt that times out fails as that, and once."""
    on = observed(backend, seen.observer)
    for call in (late(1), late_async(1)):
        assert isinstance(run(call, on=on, timeout=120).failure(), TimedOut)
    told = "the attempts that timed out are not all told of"
    until(lambda: len(seen.spans()) == 4, within=120, otherwise=lambda: told)
    assert seen.failed() == {("late", "TimedOut"): 1, ("late_async", "TimedOut"): 1}


def test_a_timeout_is_told_on_temporal(seen: Seen, temporal: Temporal) -> None:
    backend: Backend = connect(f"{temporal.url}?task_queue=late").unwrap()
    catalog = observed_catalog(Catalog(late, late_async), [seen.observer])
    worker = backend.serve(catalog, concurrency=None, queues=None).unwrap()
    check_timeouts(seen, backend)
    worker.stop()


def test_a_timeout_is_told_on_hatchet(seen: Seen, hatchet: Engine) -> None:
    catalog = observed_catalog(Catalog(late, late_async), [seen.observer])
    with serving(hatchet, catalog, namespace=fresh()) as backend:
        check_timeouts(seen, backend)


def test_a_trace_goes_on_where_a_task_on_one_engine_submits_to_another(
    seen: Seen, valkey: Valkey, temporal: Temporal, tmp_path: Path
) -> None:
    here, there = f"celery+{valkey.url}?queue=passing", f"{temporal.url}?task_queue=passing"
    backend = connect(here).unwrap()
    with (
        WorkerProcess.module("tests.otel.served", here, log=tmp_path / "here"),
        WorkerProcess.module("tests.otel.served", there, log=tmp_path / "there"),
    ):
        given = run(passed_on(there), on=observed(backend, seen.observer), timeout=120).unwrap()
    sent = seen.spans()["send passed_on"].get_span_context()
    assert sent is not None
    trace_id, parent_id = map(int, given.split())
    assert trace_id == sent.trace_id
    assert parent_id != sent.span_id
