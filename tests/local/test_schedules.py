"""`local()` makes the calls of its schedules, in its process."""

from collections.abc import Iterator
from contextlib import closing, contextmanager

from msgspec.structs import replace
from returns.result import Success

from onward import (
    Catalog,
    Secret,
    Unavailable,
    current,
    local,
    result,
    schedule,
    schedules,
    task,
)
from onward.backends.local import Local
from onward.interpret.scheduling import prepare_schedule
from onward.observe import Attempt, Sending, observed
from onward.sealing import sealing
from tests.local.common import PATIENCE, until

RUNS: list[str] = []


@task
def note(text: str) -> str:
    RUNS.append(f"{text} {current().id}")
    return text


@task
def reveal(secret: Secret[str]) -> int:
    RUNS.append(secret.get_secret_value())
    return len(secret.get_secret_value())


def runs_of(text: str) -> list[str]:
    """The ids of the calls that have noted a text."""
    return [line.partition(" ")[2] for line in RUNS if line.startswith(f"{text} ")]


class Notes:
    """An observer that notes what it is told."""

    def __init__(self) -> None:
        self.sent: list[str] = []
        self.attempts: list[str] = []

    @contextmanager
    def sending(self, sending: Sending) -> Iterator[None]:
        self.sent.append(sending.flow)
        yield

    @contextmanager
    def attempt(self, attempt: Attempt) -> Iterator[None]:
        self.attempts.append(attempt.context.id)
        yield


def test_a_schedule_needs_no_worker_and_observers_see_its_attempts(backend: Local) -> None:
    notes = Notes()
    schedule(note("observed"), on=observed(backend, notes), name="n", every=1).unwrap()
    until(lambda: len(runs_of("observed")) >= 1)
    [id, *_] = runs_of("observed")
    assert result(note.ref(id), on=backend, timeout=PATIENCE) == Success("observed")
    assert id in notes.attempts
    assert notes.sent == []


def test_secrets_of_a_schedule_are_opened_in_its_runs(backend: Local) -> None:
    sealed = sealing(backend, [b"k" * 32])
    schedule(reveal(Secret("hush")), on=sealed, name="n", every=1).unwrap()
    until(lambda: "hush" in RUNS)


def test_a_plan_without_its_flow_waits_for_a_worker(backend: Local) -> None:
    prepared = prepare_schedule(note("later"), "n", None, 1, "UTC", "skip", None, {})
    assert isinstance(prepared, tuple)
    declared, submission = prepared
    made = backend.schedule(declared, submission.plan).unwrap()
    assert replace(made, next_at=None) == declared
    worker = backend.serve(Catalog(note)).unwrap()
    until(lambda: len(runs_of("later")) >= 1)
    worker.stop()


def test_a_flow_that_has_changed_runs_from_then_on(backend: Local) -> None:
    """Also where its plan, and so the time of its next run, is the same."""

    def named(text: str) -> object:
        @task(name="same")
        def same(_: int) -> None:
            RUNS.append(f"{text} {current().id}")

        return schedule(same(1), on=backend, name="n", every=1).unwrap()

    assert named("before") == named("after")
    until(lambda: len(runs_of("after")) >= 1)
    assert runs_of("before") == []


def test_a_backend_that_is_closed_makes_no_more_calls() -> None:
    with closing(local()) as backend:
        schedule(note("closed"), on=backend, name="n", every=1).unwrap()
        until(lambda: len(runs_of("closed")) >= 1)
    before = runs_of("closed")
    assert isinstance(schedules(on=backend).failure(), Unavailable)
    with closing(local()) as other:
        schedule(note("other"), on=other, name="n", every=1).unwrap()
        until(lambda: len(runs_of("other")) >= 2)
    assert runs_of("closed") == before
