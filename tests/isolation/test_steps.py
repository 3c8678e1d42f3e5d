"""Isolated steps, on the two engines that need no server. Their laws are in `onward.testing`."""

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from returns.result import Failure, Success

from onward import (
    Backend,
    Call,
    Catalog,
    Lost,
    Misconfigured,
    Raised,
    Secret,
    cancel,
    fused,
    local,
    result,
    run,
    status,
    submit,
    task,
    together,
    work,
)
from onward.backends.sqlite import sqlite
from onward.observe import observed
from onward.sealing import sealing
from tests.engines.process import until
from tests.isolation import steps
from tests.isolation.notes import Notes


@pytest.fixture(scope="module", params=["local", "sqlite"])
def backend(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Backend]:
    if request.param == "local":
        with_calls = local()
        yield with_calls
        with_calls.close()
        return
    durable = sqlite(tmp_path_factory.mktemp("sqlite") / "onward.db")
    worker = durable.serve(Catalog.of(steps)).unwrap()
    yield durable
    worker.stop()
    durable.close()


def wait_for(condition: Callable[[], bool]) -> None:
    until(condition, within=120, otherwise=lambda: "it never came to be true")


def test_children_are_used_again_by_sync_and_async_steps(backend: Backend) -> None:
    chain = [run(each(1), on=backend).unwrap() for each in (steps.pid, steps.pid)]
    first, second = (run(steps.pid_async(1), on=backend).unwrap() for _ in range(2))
    assert first == second  # the same process, and the same loop
    assert {*chain, first[0]} == {chain[0]}
    assert chain[0] != os.getpid() == run(steps.here(1), on=backend).unwrap()


def test_a_resource_is_opened_once_in_the_child(backend: Backend) -> None:
    for which, opened in ((steps.place, 1), (steps.place_async, 2)):
        for _ in range(2):
            pid, (its, number) = run(which(1), on=backend).unwrap()
            assert os.getpid() != pid == its
            assert number == opened


def test_branches_run_in_children_of_their_own(backend: Backend) -> None:
    one, other = run(together(steps.pid, fused(steps.pid >> steps.pid))(1), on=backend).unwrap()
    assert os.getpid() not in (one, other)


def test_domain_errors_reach_their_handlers(backend: Backend) -> None:
    assert run(steps.halve(3), on=backend) == Failure(steps.Odd(3))
    assert run(steps.halve.rescue(steps.mend)(3), on=backend) == Success(3)
    assert run(steps.leave.rescue(steps.mend)(3), on=backend) == Success(-1)


def test_an_exception_arrives_with_its_traceback(
    backend: Backend, caplog: pytest.LogCaptureFixture
) -> None:
    fault = run(steps.fails(7), on=backend).failure()
    assert isinstance(fault, Raised)
    assert (fault.error_type, fault.message) == ("LookupError", "nothing at 7")
    assert "in fails" in fault.traceback
    assert "onward" not in fault.traceback
    [record] = [each for each in caplog.records if "nothing at 7" in each.getMessage()]
    assert "in fails" in (record.exc_text or "")


@pytest.mark.parametrize(
    ("call", "cause", "advice"),
    [
        (steps.crash(1), "killed by SIGSEGV", "Native code crashed"),
        (steps.leave(3), "ended with exit code 3", "raise an exception instead"),
    ],
    ids=["segfault", "exit"],
)
def test_a_process_that_dies_is_lost_with_its_cause(
    backend: Backend, call: Call[int], cause: str, advice: str
) -> None:
    fault = run(call, on=backend).failure()
    assert isinstance(fault, Lost)
    assert cause in fault.message
    assert advice in str(fault)


def test_sys_exit_is_an_exception_as_in_a_thread(backend: Backend) -> None:
    fault = run(steps.exits(3), on=backend).failure()
    assert isinstance(fault, Raised)
    assert fault.error_type == "SystemExit"


def test_large_values_pass_both_ways(backend: Backend) -> None:
    data = os.urandom(3_000_000)
    assert run(steps.doubled(data), on=backend) == Success(data + data)


def test_a_child_is_replaced_after_so_many_steps_and_when_it_is_large(backend: Backend) -> None:
    pids = [run(steps.heavy(1), on=backend).unwrap() for _ in range(2)]
    assert len(set(pids)) == 2
    assert len({run(steps.worn(1), on=backend).unwrap() for _ in range(4)}) >= 2


def test_a_step_knows_its_call_and_sees_nobody_elses_variables(backend: Backend) -> None:
    ref = submit((steps.pid >> steps.context)(1), on=backend, deadline=60).unwrap()
    found = result(ref, on=backend).unwrap()
    assert found == (ref.id, "context", "1", 1, True, {})
    assert run((steps.set_seen >> steps.set_seen)(""), on=backend) == Success("nothing")


def test_records_of_a_child_are_logged_by_its_worker(
    backend: Backend, caplog: pytest.LogCaptureFixture
) -> None:
    ref = submit(steps.logs(7), on=backend).unwrap()
    assert result(ref, on=backend) == Success(7)
    [record] = [each for each in caplog.records if each.name == "tests.isolated"]
    assert record.getMessage() == "number 7"
    assert (record.levelno, record.funcName, vars(record)["n"]) == (logging.WARNING, "logs", 7)
    assert record.process != os.getpid()
    assert "ValueError: inside" in (record.exc_text or "")


def test_progress_travels(backend: Backend, tmp_path: Path) -> None:
    go = tmp_path / "go"
    ref = submit(steps.reports(str(go)), on=backend).unwrap()
    wait_for(lambda: status(ref, on=backend).unwrap().progress is not None)
    shown = status(ref, on=backend).unwrap().progress
    assert shown is not None
    assert (shown.done, shown.note) == (3.0, "far")
    go.touch()
    assert result(ref, on=backend) == Success(True)


def test_what_a_step_has_started_ends_with_it(backend: Backend, tmp_path: Path) -> None:
    file = tmp_path / "written"
    ref = submit(steps.starts_another(str(file)), on=backend).unwrap()
    wait_for(file.exists)
    assert cancel(ref, on=backend) == Success(None)  # type: ignore[arg-type]  # both can
    wait_for(lambda: _is_still(file))


def _is_still(file: Path) -> bool:
    size = file.stat().st_size
    time.sleep(0.2)  # in which it would grow twenty times
    return file.stat().st_size == size


def test_observers_see_the_attempt_in_the_worker() -> None:
    notes = Notes()
    backend = observed(local(), notes)
    run(steps.halve(3), on=backend)
    run(steps.leave(3), on=backend)
    run(steps.pid(3), on=backend)
    errors = [attempt.error for attempt in notes.attempts]
    assert errors[0] == steps.Odd(3)
    assert isinstance(errors[1], Lost)
    assert errors[2] is None
    backend.close()


def test_secrets_are_decrypted_for_the_child_alone(tmp_path: Path) -> None:
    backend = sealing(sqlite(tmp_path / "onward.db"), [b"k" * 32])
    stop = threading.Event()
    worker = threading.Thread(
        target=work, args=(Catalog(steps.reveals), backend), kwargs={"stop": stop}
    )
    worker.start()
    found = run(steps.reveals(Secret("hush")), on=backend, timeout=120).unwrap()
    stop.set()
    worker.join()
    assert found.get_secret_value() == "HUSH"
    backend.close()
    assert b"HUSH" not in b"".join(each.read_bytes() for each in tmp_path.iterdir())


def test_a_task_that_no_child_finds_is_refused_with_the_cure() -> None:
    @task(isolate=True)
    def inside(n: int) -> int:
        return n

    backend = local()
    fault = run(inside(1), on=backend).failure()
    assert isinstance(fault, Misconfigured)
    assert "top level" in fault.message
    for catalog, isolate in ((Catalog(inside), False), (Catalog(inside.with_(isolate=None)), True)):
        refused = work(catalog, on=backend, isolate=isolate).failure()
        assert isinstance(refused, Misconfigured)
        assert "'inside'" in refused.message
    assert isinstance(work(Catalog(steps.pid), on=backend, isolate="yes").failure(), Misconfigured)  # type: ignore[arg-type]  # on purpose
    assert isinstance(work(Catalog(steps.pid), on=backend, max_tasks=0).failure(), Misconfigured)
    backend.close()
