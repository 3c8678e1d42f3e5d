"""On a server without standalone activities, a single task runs as a workflow of one step."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from returns.result import Failure, Success

from onward import (
    Cancelled,
    Expired,
    Status,
    TooLarge,
    Unknown,
    cancel,
    fused,
    result,
    results,
    run,
    status,
    submit,
    submit_all,
)
from onward.backend import CallQuery
from onward.backends.temporal import TemporalBackend
from onward.backends.temporal import temporal as temporal_at
from tests.engines.process import until
from tests.engines.server import HOST
from tests.temporal.conftest import Older, served_on, until_status
from tests.temporal.sdk import Sdk
from tests.temporal.served import (
    Odd,
    blob,
    halve,
    hold,
    inc,
    noted,
    twice_in_vain,
    unserved,
)

PATIENCE = 120.0


@pytest.fixture(scope="module")
def there(older: Older) -> Iterator[TemporalBackend]:
    """A backend with a worker in this process."""
    yield from served_on(older)


@pytest.fixture
def elsewhere(older: Older) -> Iterator[TemporalBackend]:
    """Another client, which has submitted nothing yet."""
    with closing(temporal_at(HOST, older.port, task_queue="tests")) as made:
        yield made


@pytest.fixture(scope="module")
def sdk(older: Older) -> Iterator[Sdk]:
    with closing(Sdk(older.address)) as made:
        yield made


def test_a_task_has_the_same_outcome_as_elsewhere(there: TemporalBackend, tmp_path: Path) -> None:
    assert run(inc(1), on=there, timeout=PATIENCE) == Success(2)
    assert run(halve(3), on=there, timeout=PATIENCE) == Failure(Odd(3))
    assert run(twice_in_vain(str(tmp_path)), on=there, timeout=PATIENCE) == Success(3)
    assert isinstance(run(unserved(1), on=there, timeout=PATIENCE).failure(), Unknown)
    assert isinstance(run(blob(2_100_000), on=there, timeout=PATIENCE).failure(), TooLarge)
    assert run(fused(inc >> inc)(1), on=there, timeout=PATIENCE) == Success(3)


def test_a_task_is_a_workflow_of_its_name(there: TemporalBackend, sdk: Sdk) -> None:
    ref = submit(inc(1), on=there).unwrap()
    assert result(ref, on=there, timeout=PATIENCE) == Success(2)
    assert sdk.describe(ref.id).workflow_type == "inc"
    assert len(sdk.scheduled(ref.id)) == 1


def test_its_ref_is_valid_in_another_process(
    there: TemporalBackend, elsewhere: TemporalBackend
) -> None:
    ref = submit(inc(1), on=there).unwrap()
    assert result(inc.ref(ref.id), on=elsewhere, timeout=PATIENCE) == Success(2)
    assert status(ref, on=elsewhere) == Success(Status("done", "inc", "0", 1))


def test_an_unknown_id_is_unknown(elsewhere: TemporalBackend) -> None:
    for id in ("unknown", "task-unknown"):
        for found in (
            result(inc.ref(id), on=elsewhere, timeout=PATIENCE),
            status(inc.ref(id), on=elsewhere),
            cancel(inc.ref(id), on=elsewhere),
        ):
            assert isinstance(found.failure(), Unknown), found


def test_it_has_a_status_and_can_be_cancelled(
    there: TemporalBackend, elsewhere: TemporalBackend, tmp_path: Path
) -> None:
    ref = submit(hold(str(tmp_path)), on=there).unwrap()
    now = until_status(ref, elsewhere, lambda now: now.progress is not None)
    assert (now.state, now.task, now.attempt) == ("running", "hold", 1)
    assert now.progress is not None
    assert now.progress.note == "holding"
    assert cancel(ref, on=elsewhere) == Success(None)
    assert isinstance(result(ref, on=there, timeout=PATIENCE).failure(), Cancelled)
    assert status(ref, on=there).unwrap().state == "cancelled"
    until(lambda: "cancelled" in noted(tmp_path), within=120, otherwise=lambda: "it goes on")


def test_a_key_is_one_call(there: TemporalBackend, elsewhere: TemporalBackend) -> None:
    first = submit(inc(1), on=there, key="once").unwrap()
    assert result(first, on=there, timeout=PATIENCE) == Success(2)
    assert submit(inc(5), on=elsewhere, key="once").unwrap() == first
    assert run(inc(5), on=elsewhere, key="once", timeout=PATIENCE) == Success(2)


def test_many_are_submitted_at_once(elsewhere: TemporalBackend, there: TemporalBackend) -> None:
    """By a client that does not know yet what the server supports."""
    refs = submit_all([inc(n) for n in range(12)], on=elsewhere).unwrap()
    found = dict(results(refs, on=elsewhere, timeout=PATIENCE))
    assert [found[ref] for ref in refs] == [Success(n + 1) for n in range(12)]


def test_a_delay_and_a_deadline_are_kept(older: Older) -> None:
    with closing(temporal_at(HOST, older.port, task_queue="nobody-s")) as workerless:
        ref = submit(inc(1), on=workerless, deadline=0.3).unwrap()
        later = submit(inc(1), on=workerless, delay=3600).unwrap()
        assert isinstance(result(ref, on=workerless, timeout=PATIENCE).failure(), Expired)
        assert status(later, on=workerless).unwrap().state == "queued"
        cancel(later, on=workerless).unwrap()


def test_its_calls_are_listed(there: TemporalBackend) -> None:
    ref = submit(inc(1), on=there).unwrap()

    def ids() -> list[str]:
        return [call.id for call in there.calls(CallQuery()).unwrap().calls]

    until(lambda: ref.id in ids(), within=PATIENCE, otherwise=lambda: f"{ids()}")
