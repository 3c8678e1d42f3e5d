"""A payload that becomes too large by a payload codec is `TooLarge`."""

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace

import pytest
from returns.result import Success
from temporalio.api.common.v1 import Payload
from temporalio.converter import DataConverter, PayloadCodec

from onward import (
    TooLarge,
    each,
    fused,
    run,
    schedule,
    schedules,
    submit,
    together,
)
from onward.backends.temporal import TemporalBackend
from onward.backends.temporal import temporal as temporal_at
from onward.flows.flow import AnyFlow
from tests.engines.server import HOST
from tests.engines.temporal import Temporal
from tests.temporal.served import blob, catalog, complain, inc, mend, same, size, sizes

PATIENCE = 120.0
LARGE = 1_200_000


class Doubling(PayloadCodec):
    """Encodes each byte as two."""

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        return [
            Payload(metadata={"encoding": b"hex"}, data=one.SerializeToString().hex().encode())
            for one in payloads
        ]

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        return [Payload.FromString(bytes.fromhex(one.data.decode())) for one in payloads]


@pytest.fixture(scope="module")
def growing(temporal: Temporal) -> Iterator[TemporalBackend]:
    converter = replace(DataConverter.default, payload_codec=Doubling())
    made = temporal_at(HOST, temporal.port, task_queue="growing", data_converter=converter)
    with closing(made):
        worker = made.serve(catalog).unwrap()
        yield made
        worker.stop(0)


@pytest.mark.parametrize("flow", [size, same >> size])
def test_arguments_that_become_too_large_are_refused_at_once(
    flow: AnyFlow, growing: TemporalBackend
) -> None:
    assert isinstance(submit(flow("x" * LARGE), on=growing).failure(), TooLarge)
    found = schedule(flow("x" * LARGE), on=growing, name="growing", every=3600)
    assert isinstance(found.failure(), TooLarge)
    assert "growing" not in [one.name for one in schedules(on=growing).unwrap()]


@pytest.mark.parametrize("flow", [blob, blob >> size, inc >> blob >> size, complain >> inc])
def test_a_value_that_becomes_too_large_is_a_fault_of_its_task(
    flow: AnyFlow, growing: TemporalBackend
) -> None:
    """In the middle of a chain and at its end; and it is not retried forever."""
    fault = run(flow(LARGE), on=growing, timeout=PATIENCE).failure()
    assert isinstance(fault, TooLarge)
    assert fault.size > 2 * LARGE
    assert fault.task in ("blob", "complain")


@pytest.mark.parametrize("flow", [each(blob) >> sizes, each(blob)])
def test_values_that_become_too_large_together_are_a_fault_of_the_next_task(
    flow: AnyFlow, growing: TemporalBackend
) -> None:
    fault = run(flow([600_000, 600_000]), on=growing, timeout=PATIENCE).failure()
    assert isinstance(fault, TooLarge)
    assert fault.task in ("sizes", flow.name)


def test_a_value_that_becomes_too_large_can_be_rescued(growing: TemporalBackend) -> None:
    flow = (blob >> size).rescue(mend) >> inc
    assert run(flow(LARGE), on=growing, timeout=PATIENCE) == Success(0)


def test_values_that_stay_small_enough_arrive(growing: TemporalBackend) -> None:
    large = 1_000_000
    flow = blob >> together(size, fused(same >> size))
    assert run(flow(large), on=growing, timeout=PATIENCE) == Success((large, large))
    assert run(blob(large), on=growing, timeout=PATIENCE).map(len) == Success(large)
    assert run(fused(blob >> size)(LARGE), on=growing, timeout=PATIENCE) == Success(LARGE)
