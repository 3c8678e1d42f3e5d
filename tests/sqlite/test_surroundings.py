"""What becomes of calls where the disk, the file or the machine fails, and is well again."""

from __future__ import annotations

import os
import resource
import shutil
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from returns.result import Success

from onward import (
    Catalog,
    Ref,
    Unavailable,
    Unknown,
    result,
    results,
    run,
    status,
    submit,
    submit_all,
    task,
)
from onward.backends.sqlite import SqliteBackend, sqlite
from tests.cli.serving import serving, wait_for_text
from tests.engines.clocks import environment
from tests.engines.process import Process, until
from tests.engines.worker import WorkerProcess
from tests.faults.served import chain, step

PATIENCE = 120.0

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="prlimit is Linux's")

TASKS = "from tests.faults.served import chain, step\n"
AGAIN = "can be used again"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "pipeline.py").write_text(TASKS)
    (tmp_path / "disk").mkdir()
    return tmp_path


@pytest.fixture
def path(folder: Path) -> Path:
    return folder / "disk" / "onward.db"


@pytest.fixture
def client(path: Path) -> Iterator[SqliteBackend]:
    backend = sqlite(path, lease=1.0, busy_timeout=0.3)
    yield backend
    backend.close()


@pytest.fixture
def worker(folder: Path, path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[WorkerProcess]:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(("", *sys.path)).strip(os.pathsep))
    monkeypatch.setenv("FAULTS_PACE", "0.1")
    with serving(folder, f"sqlite:///{path}?lease=1&busy_timeout=0.3") as process:
        yield process


def lines(worker: WorkerProcess) -> list[str]:
    return [line for line in worker.tail().splitlines() if "onward.sqlite" in line]


def assert_quiet(worker: WorkerProcess, at_most: int = 4) -> None:
    """It has said what happened, in few lines and without showing our insides."""
    assert "Traceback" not in worker.tail()
    assert len(lines(worker)) <= at_most, worker.tail()


def some(client: SqliteBackend) -> list[Ref[int, object]]:
    """Calls that have begun when it happens, and some that have not."""
    refs: list[Ref[int, object]] = []
    refs += submit_all([chain(n) for n in range(8)], on=client).unwrap()
    refs += submit_all([step(n) for n in range(8)], on=client, delay=0.5).unwrap()
    assert run(step(1), on=client, timeout=PATIENCE) == Success(2)
    return refs


def assert_all_end(refs: list[Ref[int, object]], client: SqliteBackend) -> None:
    """Nothing that was acknowledged is lost."""
    found = dict(results(refs, on=client, timeout=PATIENCE))
    expected = [*range(3, 11), *range(1, 9)]
    assert [found[ref] for ref in refs] == [Success(n) for n in expected]


@contextmanager
def no_room(pids: list[int], path: Path) -> Iterator[None]:
    """No file of these processes grows, as on a disk that is full."""
    log = path.with_name(f"{path.name}-wal")
    least = max(path.stat().st_size, log.stat().st_size)
    limits = {pid: resource.prlimit(pid, resource.RLIMIT_FSIZE) for pid in pids}
    for pid, (_, hard) in limits.items():
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (least, hard))
    try:
        yield
    finally:
        for pid, limit in limits.items():
            resource.prlimit(pid, resource.RLIMIT_FSIZE, limit)


def test_a_disk_that_is_full_loses_nothing(
    client: SqliteBackend, worker: WorkerProcess, path: Path
) -> None:
    refs = some(client)
    with no_room([os.getpid(), *worker.pids()], path):
        for _ in range(2):
            fault = submit_all([step(n) for n in range(5000)], on=client).failure()
            assert isinstance(fault, Unavailable)
            assert "disk" in fault.cure
        wait_for_text(worker, "until it can use its file")
    wait_for_text(worker, AGAIN)
    assert_all_end(refs, client)
    assert_quiet(worker)


def test_a_file_that_is_locked_for_longer_than_a_lease_loses_nothing(
    client: SqliteBackend, worker: WorkerProcess, path: Path, folder: Path
) -> None:
    with serving(folder, f"sqlite:///{path}?lease=1&busy_timeout=0.3") as other:
        refs = some(client)
        with closing(sqlite3.connect(path, isolation_level=None)) as db:
            db.execute("begin immediate")
            fault = submit(step(1), on=client).failure()
            assert isinstance(fault, Unavailable)
            assert "keep write transactions short" in fault.cure
            assert isinstance(status(refs[0], on=client), Success)  # reads go on
            wait_for_text(worker, "until it can use its file")
            wait_for_text(other, "until it can use its file")
            threading.Event().wait(1.5)  # longer than a lease
            db.execute("rollback")
        assert_all_end(refs, client)
        wait_for_text(worker, AGAIN)
        assert_quiet(worker)
        assert_quiet(other)


@pytest.mark.long
@pytest.mark.timeout(300)
def test_a_file_that_is_locked_for_a_minute_loses_nothing(
    client: SqliteBackend, worker: WorkerProcess, path: Path
) -> None:
    refs = some(client)
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("begin immediate")
        threading.Event().wait(70)
        db.execute("rollback")
    assert_all_end(refs, client)
    wait_for_text(worker, AGAIN)
    assert_quiet(worker)


def test_a_folder_that_is_away_for_a_moment_loses_nothing(
    client: SqliteBackend, worker: WorkerProcess, folder: Path
) -> None:
    refs = some(client)
    shutil.move(folder / "disk", folder / "away")
    said = [str(submit(step(1), on=client).failure()) for _ in range(2)]
    assert "deleted or replaced" in said[0]
    assert "Make the folder first" in said[1]
    wait_for_text(worker, "until it can use its file")
    shutil.move(folder / "away", folder / "disk")
    assert_all_end(refs, client)
    wait_for_text(worker, AGAIN)
    assert_quiet(worker, at_most=6)


@pytest.mark.parametrize("what", ["deleted", "replaced"])
def test_a_worker_goes_on_with_the_file_that_there_is(
    what: str, client: SqliteBackend, worker: WorkerProcess, path: Path
) -> None:
    [ref, *_] = some(client)
    other = path.with_name("other.db")
    with closing(sqlite(other)) as backend:
        kept = submit(step(1), on=backend).unwrap()
    for name in ("onward.db-wal", "onward.db-shm"):
        path.with_name(name).unlink()
    if what == "deleted":
        path.unlink()
    else:
        other.replace(path)
    assert "gone with it" in str(submit(step(1), on=client).failure())
    assert run(step(1), on=client, timeout=PATIENCE) == Success(2)
    gone = result(ref, on=client, timeout=PATIENCE).failure()
    assert isinstance(gone, Unavailable | Unknown)
    if what == "replaced":
        assert result(kept, on=client, timeout=PATIENCE) == Success(2)
    assert_quiet(worker, at_most=8)


@pytest.mark.parametrize("where", ["header", "pages"])
def test_a_damaged_file_is_told_and_a_copy_of_it_is_taken_up(
    where: str, client: SqliteBackend, worker: WorkerProcess, path: Path
) -> None:
    refs = some(client)
    with closing(sqlite3.connect(path)) as db, closing(sqlite3.connect(f"{path}.copy")) as copy:
        db.backup(copy)
        assert_all_end(refs, client)
        db.execute("pragma wal_checkpoint(truncate)").fetchall()
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(0 if where == "header" else 4096)
        file.write(b"\xa5" * (size - file.tell()))
        file.flush()
        fault = result(refs[0], on=client, timeout=PATIENCE).failure()
        submitted = submit(step(1), on=client).failure()
        for each in (fault, submitted):
            assert isinstance(each, Unavailable)
            assert "damaged" in each.cure
        wait_for_text(worker, "until it can use its file")
        for name in ("onward.db-wal", "onward.db-shm"):
            path.with_name(name).unlink(missing_ok=True)
        Path(f"{path}.copy").replace(path)
    wait_for_text(worker, AGAIN)
    submit(step(1), on=client)  # hears that it is another file
    assert run(step(1), on=client, timeout=PATIENCE) == Success(2)
    assert_all_end(refs, client)
    assert_quiet(worker, at_most=8)


@pytest.mark.parametrize("off", [7200, -7200])
def test_a_clock_that_is_wrong_delays_nothing_and_lets_nothing_expire(
    off: int, client: SqliteBackend, worker: WorkerProcess, path: Path, folder: Path
) -> None:
    """A client and a second worker whose clock is hours off share the file with ours."""
    try:
        wrong = environment(off)
    except FileNotFoundError as problem:
        pytest.skip(str(problem))
    program = f"""
import threading, time
from onward import Catalog, submit
from onward.backends.sqlite import sqlite
from tests.faults.served import chain, step
time.sleep = lambda seconds: threading.Event().wait(seconds)  # libfaketime lets none by the other
backend = sqlite({str(path)!r}, lease=1.0)
worker = backend.serve(Catalog(step)).unwrap()
print("call", submit(chain(1), on=backend).unwrap().id)
print("call", submit(step(3), on=backend, delay=0.5).unwrap().id)
print("call", submit(step(3), on=backend, deadline=60.0).unwrap().id)
print("begun", flush=True)
worker.wait()
"""
    command = [sys.executable, "-c", program]
    with Process(command, log=folder / "log", environment=wrong) as process:
        until(lambda: "begun" in process.tail(), within=PATIENCE, otherwise=process.tail)
        said = process.tail().splitlines()
        ids = [line.removeprefix("call ") for line in said if line.startswith("call ")]
        assert len(ids) == 3, process.tail()
        ours = submit(step(3), on=client, delay=0.5).unwrap()
        found = [result(step.ref(id), on=client, timeout=PATIENCE) for id in (*ids, ours.id)]
    assert found == [Success(4)] * 4
    assert_quiet(worker)


@pytest.mark.skipif(os.geteuid() != 0, reason="another user is needed")
def test_a_user_who_may_not_write_is_told(tmp_path: Path) -> None:
    # pytest's own folders are closed to other users.
    with TemporaryDirectory() as readable:
        Path(readable).chmod(0o755)
        path = Path(readable, "onward.db")
        with closing(sqlite(path)) as client:
            submit(step(1), on=client).unwrap()
        path.chmod(0o644)
        said = submitted_as_nobody(path, tmp_path / "other.db")
    assert "right to write" in said or "may write there" in said, said


def submitted_as_nobody(path: Path, other: Path) -> str:
    """Submits as a user who owns nothing, and gives the text of the fault."""
    program = f"""
import os
from onward import submit
from onward.backends.sqlite import sqlite
from tests.faults.served import step
backend = sqlite({str(path)!r})
with_all_imported = sqlite({str(other)!r})
submit(step(1), on=with_all_imported).unwrap()
os.setuid(65534)
print(submit(step(1), on=backend).failure())
backend.close()
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


BEHIND_SO_MANY = [
    1_000,
    pytest.param(200_000, marks=[pytest.mark.long, pytest.mark.timeout(1200)]),
]


@pytest.mark.parametrize("backlog", BEHIND_SO_MANY)
def test_a_backlog_keeps_nothing_urgent_waiting(backlog: int, path: Path) -> None:
    ran: list[int] = []

    @task
    def note(n: int) -> int:
        ran.append(n)
        return n

    with closing(sqlite(path)) as client:
        refs = submit_all([note(n) for n in range(backlog)], on=client).unwrap()
        urgent = submit(note(-1), on=client, priority=9).unwrap()
        worker = client.serve(Catalog(note), concurrency=1).unwrap()
        assert result(urgent, on=client, timeout=PATIENCE) == Success(-1)
        found = dict(results(refs, on=client, timeout=1000))
        assert [found[ref] for ref in refs] == [Success(n) for n in range(backlog)]
        worker.stop()
    assert ran[0] == -1
