"""Values that are too large are `TooLarge`, and long flows continue in parts."""

import pytest
from returns.result import Failure, Success
from temporalio.client import Client

from onward import (
    Raised,
    Status,
    TooLarge,
    check,
    each,
    fused,
    result,
    run,
    schedule,
    schedules,
    status,
    submit,
    submit_all,
    together,
)
from onward.backends.temporal import TemporalBackend
from onward.backends.temporal.lower import ITEMS_PER_PART
from onward.flows.flow import AnyFlow
from onward.policy import Constant, Retry
from tests.engines.process import until
from tests.temporal.sdk import Sdk
from tests.temporal.served import (
    Long,
    Odd,
    blob,
    complain,
    crash,
    double,
    halve,
    inc,
    listed,
    mend,
    place,
    same,
    size,
    sizes,
    span,
    total,
)

HUGE = "x" * 2_000_001
LARGE = 1_500_000
PATIENCE = 120.0


@pytest.mark.parametrize("flow", [size, same >> size, fused(same >> size)])
def test_arguments_that_are_too_large_are_refused_at_once(
    flow: AnyFlow, workerless: TemporalBackend
) -> None:
    """There is no worker, so the call was refused before it was submitted."""
    fault = submit(flow(HUGE), on=workerless).failure()
    assert isinstance(fault, TooLarge)
    assert fault.size > fault.limit == 2_000_000
    assert check(flow(HUGE), on=workerless).failure() == (fault,)


def test_submit_all_submits_none_if_one_is_too_large(workerless: TemporalBackend, sdk: Sdk) -> None:
    flow = same >> size
    calls = [flow("small"), flow(HUGE), flow("small")]
    assert isinstance(submit_all(calls, on=workerless).failure(), TooLarge)
    after = submit(flow("small"), on=workerless).unwrap()

    async def found(client: Client) -> list[str]:
        query = f'TaskQueue = "{workerless.address.task_queue}"'
        return [each.id async for each in client.list_workflows(query)]

    until(lambda: bool(sdk.run(found)), within=120, otherwise=lambda: "it is not listed")
    assert sdk.run(found) == [after.id]


def test_a_schedule_that_is_too_large_is_not_made(workerless: TemporalBackend) -> None:
    fault = schedule(size(HUGE), on=workerless, name="too-large", every=3600).failure()
    assert isinstance(fault, TooLarge)
    assert "too-large" not in [one.name for one in schedules(on=workerless).unwrap()]


def test_arguments_of_almost_two_megabytes_arrive(backend: TemporalBackend) -> None:
    text = "x" * 1_990_000
    assert run(size(text), on=backend, timeout=PATIENCE) == Success(len(text))
    assert run((same >> size)(text), on=backend, timeout=PATIENCE) == Success(len(text))


@pytest.mark.parametrize("flow", [blob, blob >> size, inc >> blob, fused(blob >> same)])
def test_a_value_that_is_too_large_is_a_fault_of_its_task(
    flow: AnyFlow, backend: TemporalBackend
) -> None:
    """In the middle of a chain and at its end; and it is not retried forever."""
    fault = run(flow(2_100_000), on=backend, timeout=PATIENCE).failure()
    assert isinstance(fault, TooLarge)
    assert fault.size > 2_000_000
    assert fault.task in ("blob", flow.name)


def test_a_value_that_is_too_large_can_be_rescued(backend: TemporalBackend) -> None:
    flow = (blob >> size).rescue(mend) >> inc
    assert run(flow(2_100_000), on=backend, timeout=PATIENCE) == Success(0)


def test_a_large_domain_error_arrives_whole(backend: TemporalBackend) -> None:
    n = 1_900_000
    for flow in (complain, complain >> inc, inc >> complain):
        fault = run(flow(n), on=backend, timeout=PATIENCE).failure()
        assert isinstance(fault, Long)
        assert len(fault.text) - n in (0, 1)
    assert run(complain.rescue(mend)(n), on=backend, timeout=PATIENCE) == Success(n)


def test_a_domain_error_that_is_too_large_is_a_fault(backend: TemporalBackend) -> None:
    for flow in (complain, complain >> inc):
        assert isinstance(run(flow(2_100_000), on=backend).failure(), TooLarge)


def test_an_exception_with_a_long_text_keeps_its_traceback(backend: TemporalBackend) -> None:
    """The server stores at most 4 KB of a failed attempt."""
    for flow in (crash, crash >> inc):
        fault = run(flow(100_000), on=backend, timeout=PATIENCE).failure()
        assert isinstance(fault, Raised)
        assert fault.error_type == "ValueError"
        assert 16_000 < len(fault.message) < 17_000
        assert "in crash" in fault.traceback


def test_an_exception_with_a_long_text_keeps_it_through_its_retries(
    backend: TemporalBackend,
) -> None:
    again = crash.with_(retry=Retry(attempts=3, backoff=Constant(0.01)))
    for flow in (again, again >> inc):
        fault = run(flow(100_000), on=backend, timeout=PATIENCE).failure()
        assert isinstance(fault, Raised)
        assert fault.attempts == 3
        assert "in crash" in fault.traceback


def test_the_arguments_of_branches_can_exceed_one_message_together(
    backend: TemporalBackend,
) -> None:
    """Five times 1.5 MB are scheduled at once, and a message has at most 4 MB."""
    branch = same >> size
    flow = blob >> together(branch, branch, branch, branch, branch)
    assert run(flow(LARGE), on=backend, timeout=PATIENCE) == Success((LARGE,) * 5)


def test_the_items_of_each_can_exceed_one_message_together(backend: TemporalBackend) -> None:
    flow = each(blob >> size) >> total
    assert run(flow([LARGE] * 6), on=backend, timeout=PATIENCE) == Success(6 * LARGE)


@pytest.mark.parametrize("flow", [each(blob), each(blob) >> sizes])
def test_values_that_are_too_large_together_are_a_fault_if_they_are_sent_together(
    flow: AnyFlow, backend: TemporalBackend
) -> None:
    fault = run(flow([600_000] * 4), on=backend, timeout=PATIENCE).failure()
    assert isinstance(fault, TooLarge)
    assert fault.size > 2_400_000


def test_values_that_are_too_large_together_can_be_sent_one_by_one(
    backend: TemporalBackend,
) -> None:
    flow = each(blob) >> each(size)
    assert run(flow([600_000] * 4), on=backend, timeout=PATIENCE) == Success([600_000] * 4)


def test_a_history_that_is_too_large_is_a_fault(backend: TemporalBackend) -> None:
    """The server terminates the workflow, which must not look like a cancellation."""
    flow = each(blob >> size, limit=4)
    fault = run(flow([1_900_000] * 16), on=backend, timeout=PATIENCE).failure()
    assert isinstance(fault, TooLarge)
    assert "history" in fault.message


# -- long flows -----------------------------------------------------------------------------------


def chain(step: AnyFlow, length: int) -> AnyFlow:
    flow = step
    for _ in range(length - 1):
        flow = flow >> step
    return flow


LATE = chain(listed, 20)
"""After these steps the history of the workflow is long for the test's server."""


def test_a_long_chain_continues_in_parts(
    short_histories: TemporalBackend, short_histories_sdk: Sdk
) -> None:
    """Its own history has room for only some steps."""
    flow = chain(inc, 100).named("long")
    ref = submit(flow(0), on=short_histories).unwrap()
    assert result(ref, on=short_histories, timeout=PATIENCE) == Success(100)
    parts = short_histories_sdk.children(ref.id)
    assert parts
    assert all(part.startswith(f"{ref.id}/") for part in parts)
    assert short_histories_sdk.describe(parts[0]).workflow_type == "long"


def test_many_items_continue_in_parts(
    short_histories: TemporalBackend, short_histories_sdk: Sdk
) -> None:
    numbers = list(range(ITEMS_PER_PART + 10))
    ref = submit(each(inc)(numbers), on=short_histories).unwrap()
    assert result(ref, on=short_histories, timeout=PATIENCE) == Success([n + 1 for n in numbers])
    assert short_histories_sdk.children(ref.id)


def test_paths_in_parts_are_those_of_the_flow(
    short_histories: TemporalBackend, short_histories_sdk: Sdk
) -> None:
    """Both in parts that run in the workflow and in child workflows."""
    count = ITEMS_PER_PART + 2
    flow = LATE >> each(inc >> place) >> sizes
    ref = submit(flow([0] * count), on=short_histories).unwrap()
    items = [f"20[{index}].1 of place" for index in range(count)]
    assert result(ref, on=short_histories, timeout=PATIENCE) == Success(sum(map(len, items)))
    assert short_histories_sdk.children(ref.id)
    assert status(ref, on=short_histories) == Success(Status("done", "sizes", "21", 1))
    listing = (LATE >> each(inc >> place)).named("listing")
    assert run(listing([0] * count), on=short_histories, timeout=PATIENCE) == Success(items)


def test_a_part_can_contain_further_parts(
    short_histories: TemporalBackend, short_histories_sdk: Sdk
) -> None:
    """The items are lists, each with a part of its own."""
    inner = (halve >> span >> each(inc) >> total).rescue(mend)
    ref = submit((LATE >> each(inner))([8] * 5), on=short_histories).unwrap()
    assert result(ref, on=short_histories, timeout=PATIENCE) == Success([10] * 5)
    assert short_histories_sdk.children(ref.id)


def test_a_failure_in_a_part_is_the_outcome_of_the_call(short_histories: TemporalBackend) -> None:
    flow = LATE >> each(double >> halve >> halve)
    assert run(flow([2, 2, 3, 2]), on=short_histories, timeout=PATIENCE) == Failure(Odd(3))


def test_a_rescue_of_a_long_flow_rescues_it(short_histories: TemporalBackend) -> None:
    flow = (chain(inc, 60) >> halve >> inc).rescue(mend) >> double
    assert run(flow(1), on=short_histories, timeout=PATIENCE) == Success(120)


@pytest.mark.parametrize(
    ("limit", "chunk"), [(None, 7), (3, None), (2, 100), (None, 2 * ITEMS_PER_PART)]
)
def test_limit_and_chunk_mean_the_same_across_parts(
    limit: int | None, chunk: int | None, short_histories: TemporalBackend
) -> None:
    count = ITEMS_PER_PART + 30 if chunk != 7 else 7 * ITEMS_PER_PART + 30
    flow = each(inc, limit=limit, chunk=chunk)
    assert run(flow(list(range(count))), on=short_histories, timeout=PATIENCE) == Success(
        list(range(1, count + 1))
    )
