"""Tasks to be seen, and a worker that serves them: `python -m tests.otel.served URL`."""

import sys

from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider

from onward import Catalog, connect, task, work
from onward.observe import observed
from onward.otel import OpenTelemetry


@task
def spanned(n: int) -> str:
    """The trace that it runs in, and the parent of the span that it runs in."""
    span = trace.get_current_span()
    assert isinstance(span, ReadableSpan)
    assert span.parent is not None
    return f"{span.parent.trace_id} {span.parent.span_id}"


@task
def upper(text: str) -> str:
    return text


@task
def bad(n: int) -> int:
    raise ValueError("bad")


if __name__ == "__main__":
    backend = observed(connect(sys.argv[1]).unwrap(), OpenTelemetry(TracerProvider()))
    work(Catalog(spanned, upper), on=backend).unwrap()
