"""Tasks to be seen, and a worker that serves them: `python -m tests.otel.served URL`."""

import asyncio
import sys
import time

from opentelemetry import baggage, trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider

from onward import Catalog, connect, run, task, work
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


@task(timeout=0.1)
def late(n: int) -> int:
    """Ends some time after its timeout."""
    time.sleep(1)
    return n


@task(timeout=0.1)
async def late_async(n: int) -> int:
    await asyncio.sleep(30)
    return n


@task
def carried(entry: str) -> tuple[str, str, bool]:
    """What travelled beside the trace: an entry of the baggage, one of the state, and the flag."""
    context = trace.get_current_span().get_span_context()
    said = str(baggage.get_baggage(entry))
    return said, context.trace_state.get(entry, ""), context.trace_flags.sampled


@task
def passed_on(url: str) -> str:
    """What `spanned` gives where another engine runs it."""
    on = observed(connect(url).unwrap(), OpenTelemetry(TracerProvider()))
    return run(spanned(1), on=on, timeout=120).unwrap()


if __name__ == "__main__":
    backend = observed(connect(sys.argv[1]).unwrap(), OpenTelemetry(TracerProvider()))
    work(Catalog(spanned, upper, carried, passed_on), on=backend).unwrap()
