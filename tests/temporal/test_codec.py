"""With a payload codec, the server's operators can read nothing of a call's values."""

import zlib
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from uuid import uuid4

import pytest
from returns.result import Success
from temporalio.api.common.v1 import Payload
from temporalio.client import Client
from temporalio.converter import (
    DataConverter,
    DefaultFailureConverterWithEncodedAttributes,
    PayloadCodec,
)

from onward import (
    Flow,
    Lost,
    Raised,
    Signal,
    TooLarge,
    awaits,
    calls,
    cancel,
    each,
    fixed,
    fused,
    history,
    keep,
    result,
    resume,
    run,
    schedule,
    send,
    sleep,
    submit,
    together,
    unschedule,
)
from onward.backends.temporal import TemporalBackend
from onward.backends.temporal import temporal as temporal_at
from onward.flows.flow import AnyFlow
from tests.engines.process import until
from tests.engines.server import HOST
from tests.engines.temporal import Temporal
from tests.temporal.conftest import until_status
from tests.temporal.sdk import Sdk
from tests.temporal.served import (
    Long,
    blob,
    catalog,
    complain,
    crash,
    double,
    hold,
    inc,
    mend,
    mendable,
    same,
    size,
    total,
    twice_in_vain,
)

PATIENCE = 120.0
SECRET = "open-sesame"


class Sealed(PayloadCodec):
    """A codec that only looks like encryption, for tests."""

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        return [
            Payload(metadata={"encoding": b"sealed"}, data=_turned(each.SerializeToString()))
            for each in payloads
        ]

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        return [_opened(each) for each in payloads]


def _turned(raw: bytes) -> bytes:
    return bytes(255 - byte for byte in zlib.compress(raw))


def _opened(payload: Payload) -> Payload:
    if payload.metadata.get("encoding") != b"sealed":
        return payload
    opened = Payload()
    opened.ParseFromString(zlib.decompress(bytes(255 - byte for byte in payload.data)))
    return opened


SEALED = replace(
    DataConverter.default,
    payload_codec=Sealed(),
    failure_converter_class=DefaultFailureConverterWithEncodedAttributes,
)


@pytest.fixture(scope="module")
def sealed(temporal: Temporal) -> Iterator[TemporalBackend]:
    made = temporal_at(HOST, temporal.port, task_queue="sealed", data_converter=SEALED)
    with closing(made):
        worker = made.serve(catalog).unwrap()
        yield made
        worker.stop(0)


def test_all_flows_run(sealed: TemporalBackend, tmp_path: Path) -> None:
    assert run(inc(1), on=sealed, timeout=PATIENCE) == Success(2)
    flow = inc >> together(double, fused(inc >> double)) >> each(inc, chunk=1) >> total
    assert run(flow(1), on=sealed, timeout=PATIENCE) == Success(12)
    assert run(twice_in_vain(str(tmp_path)), on=sealed, timeout=PATIENCE) == Success(3)


def test_errors_come_as_themselves(sealed: TemporalBackend) -> None:
    flows: tuple[AnyFlow, ...] = (complain, inc >> complain)
    for flow in flows:
        found = run(flow(3), on=sealed, timeout=PATIENCE).failure()
        assert isinstance(found, Long)
    assert run(complain.rescue(mend)(3), on=sealed, timeout=PATIENCE) == Success(3)
    crashing: tuple[AnyFlow, ...] = (crash, crash >> inc)
    for flow in crashing:
        fault = run(flow(3), on=sealed, timeout=PATIENCE).failure()
        assert isinstance(fault, Raised)
        assert "in crash" in fault.traceback


def test_nothing_can_be_read_in_a_history(sealed: TemporalBackend, sdk: Sdk) -> None:
    ref = submit((same >> same >> size)(SECRET), on=sealed).unwrap()
    assert result(ref, on=sealed, timeout=PATIENCE) == Success(len(SECRET))
    assert_sealed(sdk, ref.id)


def test_what_is_recorded_can_be_read(sealed: TemporalBackend, tmp_path: Path) -> None:
    """Also the waits, whose steps stand in timers and memos, the tags, and what failed before."""
    flow = same >> keep(sleep(0.01)) >> fixed(same, str(tmp_path))
    flow = flow >> keep(awaits(Signal("by", int))) >> fixed(mendable, str(tmp_path))
    tag = uuid4().hex
    ref = submit(flow(SECRET), on=sealed, tags=[tag]).unwrap()
    send(ref, Signal("by", int), 5, on=sealed).unwrap()
    assert isinstance(result(ref, on=sealed, timeout=PATIENCE).failure(), Raised)
    (tmp_path / "mended").touch()
    again = resume(ref, on=sealed).unwrap()
    assert result(again, on=sealed, timeout=PATIENCE) == Success(str(tmp_path))
    found = history(ref, on=sealed).unwrap()
    assert (found.tags, found.signals) == ((tag,), {"by": 5})
    assert [step.path for step in found.steps] == ["0", "1[1]", "2", "3[1]", "4"]
    until(
        lambda: {call.unwrap().ref.id for call in calls(sealed, tags=[tag])} == {ref.id, again.id},
        within=PATIENCE,
        otherwise=lambda: "they are not listed",
    )
    flaky = submit(twice_in_vain(str(tmp_path)), on=sealed).unwrap()
    assert result(flaky, on=sealed, timeout=PATIENCE) == Success(3)
    before = history(flaky, on=sealed).unwrap().steps[0].attempts[0]
    assert "attempt 2" in str(before.result)


@pytest.mark.parametrize("flow", [inc, inc >> double])
def test_a_call_that_a_worker_without_the_codec_took_is_a_dead_letter_that_goes_on_with_it(
    flow: Flow[[int], int], temporal: Temporal
) -> None:
    on = partial(temporal_at, HOST, temporal.port, task_queue=uuid4().hex)
    with closing(on()) as plain, closing(on(data_converter=SEALED)) as sealed:
        worker = plain.serve(catalog).unwrap()
        ref = submit(flow(1), on=sealed).unwrap()
        fault = result(ref, on=sealed, timeout=PATIENCE).failure()
        worker.stop(0)
        assert isinstance(fault, Lost)
        worker = sealed.serve(catalog).unwrap()
        again = resume(ref, on=sealed).unwrap()
        assert result(again, on=sealed, timeout=PATIENCE) == Success(2 if flow is inc else 4)
        worker.stop(0)


def test_progress_is_sealed_and_seen(sealed: TemporalBackend, sdk: Sdk, tmp_path: Path) -> None:
    for flow in (hold, same >> hold):
        ref = submit(flow(str(tmp_path)), on=sealed).unwrap()
        progress = until_status(ref, sealed, lambda now: now.progress is not None).progress
        assert progress is not None
        assert progress.note == "holding"
        cancel(ref, on=sealed).unwrap()


def test_a_schedule_s_calls_are_sealed(sealed: TemporalBackend, sdk: Sdk) -> None:
    name = uuid4().hex
    schedule((same >> size)(SECRET), on=sealed, name=name, every=1).unwrap()

    async def ids(client: Client) -> list[str]:
        query = 'TaskQueue = "sealed" AND ExecutionStatus = "Completed"'
        return [each.id async for each in client.list_workflows(query) if name in each.id]

    until(lambda: bool(sdk.run(ids)), within=120, otherwise=lambda: "it runs nothing")
    unschedule(name, on=sealed).unwrap()
    id = sdk.run(ids)[0]
    flow = same >> size
    assert result(flow.ref(id), on=sealed, timeout=PATIENCE) == Success(len(SECRET))
    assert_sealed(sdk, id)


def test_what_is_too_large_is_still_too_large(sealed: TemporalBackend) -> None:
    """By what it is before it is sealed."""
    assert isinstance(run((blob >> size)(2_100_000), on=sealed).failure(), TooLarge)


def assert_sealed(sdk: Sdk, id: str) -> None:
    """Nothing in a history tells what a call was made with, and what came of it."""
    text = sdk.history(id).to_json()
    assert SECRET not in text
    encodings = [dict(payload.metadata) for payload in payloads(sdk, id)]
    assert encodings
    assert all(each == {"encoding": b"sealed"} for each in encodings)


def payloads(sdk: Sdk, id: str) -> Iterator[Payload]:
    """What the events of a workflow and its activities carry."""
    for event in sdk.history(id).events:
        for _, attributes in event.ListFields():
            for field in ("input", "result"):
                if field in getattr(attributes, "DESCRIPTOR", NOTHING).fields_by_name:
                    yield from getattr(attributes, field).payloads


class NOTHING:
    """What has no fields."""

    fields_by_name: frozenset[str] = frozenset()
