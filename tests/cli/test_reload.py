"""`onward worker --reload`, while somebody edits its modules."""

import uuid
from pathlib import Path
from signal import SIGTERM

import pytest
from returns.result import Success

from onward import Backend, connect, run, submit
from onward import result as result_of
from tests.cli.pipeline import hold, twice
from tests.cli.serving import PATIENCE, serving, wait_for_file
from tests.engines.process import until
from tests.engines.valkey import Valkey
from tests.engines.worker import WorkerProcess


@pytest.fixture
def url(valkey: Valkey) -> str:
    return f"celery+{valkey.url}?queue={uuid.uuid4().hex}"


@pytest.fixture
def backend(url: str) -> Backend:
    return connect(url).unwrap()


def edit(folder: Path, before: str, after: str) -> None:
    module = folder / "pipeline.py"
    module.write_text(module.read_text().replace(before, after))


def wait_for(worker: WorkerProcess, text: str, times: int = 1) -> None:
    until(
        lambda: worker.log.read_text().count(text) >= times or worker.exit_code() is not None,
        within=PATIENCE,
        otherwise=lambda: f"It never said {text!r} {times} times:\n{worker.tail()}",
    )
    assert worker.exit_code() is None, worker.tail()


def test_a_worker_runs_the_code_that_is_on_the_disk(
    folder: Path, url: str, backend: Backend
) -> None:
    with serving(folder, url, "--reload") as worker:
        assert run(twice(4), on=backend, timeout=PATIENCE) == Success(8)
        edit(folder, "return 2 * number", "return 2 * number + 1")
        wait_for(worker, "\nready", 2)
        assert run(twice(4), on=backend, timeout=PATIENCE) == Success(9)
        assert "pipeline.py has changed\n" in worker.tail()
        worker.send(SIGTERM)
        assert worker.wait(PATIENCE) == 0
    assert worker.tail().endswith("\nstopped\n")


def test_a_worker_finishes_what_it_runs_before_it_starts_again(
    folder: Path, url: str, backend: Backend
) -> None:
    with serving(folder, url, "--reload") as worker:
        ref = submit(hold(str(folder)), on=backend).unwrap()
        wait_for_file(folder / "running-hold")
        edit(folder, 'return "done"', 'return "edited"')
        wait_for(worker, "stopping: 1 task running, with 30 s to end")
        (folder / "let-go").touch()
        wait_for(worker, "\nready", 2)
        assert result_of(ref, on=backend, timeout=PATIENCE) == Success("done")


def test_a_worker_waits_out_a_module_that_cannot_be_imported(
    folder: Path, url: str, backend: Backend
) -> None:
    with serving(folder, url, "--reload") as worker:
        edit(folder, "return 2 * number", "return 3 * number +")
        wait_for(worker, "waiting for a change\n")
        assert "SyntaxError" in worker.tail()
        edit(folder, "return 3 * number +", "return 3 * number")
        wait_for(worker, "\nready", 2)
        assert run(twice(4), on=backend, timeout=PATIENCE) == Success(12)


def test_a_worker_that_is_stopped_while_it_starts_again_stops(
    folder: Path, url: str, backend: Backend
) -> None:
    with serving(folder, url, "--reload") as worker:
        submit(hold(str(folder)), on=backend).unwrap()
        wait_for_file(folder / "running-hold")
        edit(folder, 'return "done"', 'return "edited"')
        wait_for(worker, "stopping: 1 task running, with 30 s to end")
        worker.send(SIGTERM)
        assert worker.wait(PATIENCE) == 0
    assert worker.tail().endswith("\n0 tasks finished, 1 task given back\nstopped\n")


def test_a_worker_that_is_stopped_does_not_start_again(
    folder: Path, url: str, backend: Backend
) -> None:
    """Also if something changes while what is running may end."""
    with serving(folder, url, "--reload", "--grace", "2") as worker:
        submit(hold(str(folder)), on=backend).unwrap()
        wait_for_file(folder / "running-hold")
        worker.send(SIGTERM)
        wait_for(worker, "stopping: 1 task running, with 2 s to end")
        edit(folder, 'return "done"', 'return "edited"')
        assert worker.wait(PATIENCE) == 0
    assert worker.tail().endswith("\n0 tasks finished, 1 task given back\nstopped\n")
