"""What the file must be, and what people are told where it is not."""

import os
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from returns.result import Success

from onward import Fault, Misconfigured, Unavailable, connect, result, status, submit
from onward.backends.sqlite import SqliteBackend, filesystem, sqlite
from onward.backends.sqlite.errors import Refused
from tests.sqlite.kept import CATALOG, inc

PATIENCE = 120.0


def refused(backend: SqliteBackend) -> Fault:
    """Why nothing can be submitted."""
    fault = submit(inc(1), on=backend).failure()
    assert isinstance(fault, Fault)
    return fault


def test_it_is_its_owners_alone(backend: SqliteBackend, path: Path) -> None:
    submit(inc(1), on=backend).unwrap()
    files = [file for file in path.parent.iterdir() if file.name.startswith(path.name)]
    assert len(files) == 3
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}


def test_its_path_is_relative_or_from_the_root(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(path.parent)
    for url in ("sqlite:///onward.db", f"sqlite:///{path}"):
        backend = connect(url).unwrap()
        assert isinstance(backend, SqliteBackend)
        submit(inc(1), on=backend).unwrap()
        with monkeypatch.context() as elsewhere:
            elsewhere.chdir("/")
            submit(inc(1), on=backend).unwrap()
        backend.close()
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("select count(*) from onward_calls").fetchone() == (4,)


def test_it_is_named_by_a_file_and_by_the_environment(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = path.with_name("onward.yaml")
    config.write_text(f"backend: sqlite\nsqlite:\n  path: {path}\n  keep: 60\n")
    assert repr(connect(config).unwrap()) == f"sqlite({str(path)!r})"
    monkeypatch.setenv("ONWARD_BACKEND", "sqlite")
    monkeypatch.setenv("ONWARD_SQLITE_PATH", str(path))
    assert repr(connect().unwrap()) == f"sqlite({str(path)!r})"


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("sqlite://onward.db", "sqlite:///onward.db"),
        ("sqlite:///", "path is missing"),
        ("sqlite:///:memory:", "local()"),
        ("sqlite:///a.db?keep=0", "keep is a number of seconds from 1"),
        ("sqlite:///a.db?synchronous=off", "synchronous is full or normal"),
        ("sqlite:///a.db?kept=1", "did you mean 'keep'"),
    ],
)
def test_a_wrong_url_is_refused(url: str, said: str) -> None:
    fault = connect(url).failure()
    assert isinstance(fault, Misconfigured)
    assert said in fault.message


def test_its_folder_must_exist(tmp_path: Path) -> None:
    backend = sqlite(tmp_path / "none" / "onward.db")
    assert "Make the folder" in refused(backend).cure
    (tmp_path / "none").mkdir()
    submit(inc(1), on=backend).unwrap()
    backend.close()


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    backend = sqlite(tmp_path)
    assert isinstance(refused(backend), Misconfigured)
    backend.close()


@pytest.fixture
def read_only(path: Path) -> Iterator[Path]:
    if os.geteuid() == 0:
        pytest.skip("root may write everywhere")
    backend = sqlite(path)
    submit(inc(1), on=backend).unwrap()
    backend.close()
    path.chmod(0o400)
    path.parent.chmod(0o500)
    yield path
    path.parent.chmod(0o700)


def test_a_file_that_cannot_be_written_says_so(read_only: Path) -> None:
    backend = sqlite(read_only)
    assert "the right to write" in refused(backend).cure
    backend.close()


@pytest.mark.parametrize("content", [b"what is no database" * 500, b"SQLite format 3\0" * 500])
def test_what_is_no_database_is_refused(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    backend = sqlite(path)
    fault = refused(backend)
    assert isinstance(fault, Unavailable)
    assert "damaged" in fault.cure
    assert path.read_bytes() == content
    backend.close()


def test_a_file_that_is_locked_for_too_long_says_so(backend: SqliteBackend, path: Path) -> None:
    ref = submit(inc(1), on=backend).unwrap()
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("begin immediate")
        assert "locked" in refused(backend).message
        assert status(ref, on=backend).unwrap().state == "queued"  # who reads is not held up
        db.execute("rollback")
    submit(inc(1), on=backend).unwrap()


def test_a_worker_outlives_a_lock(backend: SqliteBackend, path: Path) -> None:
    worker = backend.serve(CATALOG).unwrap()
    ref = submit(inc(1), on=backend).unwrap()
    assert result(ref, on=backend, timeout=PATIENCE) == Success(2)
    late = submit(inc(2), on=backend, delay=0.2).unwrap()
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("begin immediate")
        assert result(late, on=backend, timeout=1.5).failure().task == "inc"
        db.execute("rollback")
    assert result(late, on=backend, timeout=PATIENCE) == Success(3)
    worker.stop()


def test_a_file_that_was_deleted_is_noticed(backend: SqliteBackend, path: Path) -> None:
    ref = submit(inc(1), on=backend).unwrap()
    for file in path.parent.glob("onward.db*"):
        file.unlink()
    assert "deleted" in refused(backend).message
    # A new file is made for what comes.
    new = submit(inc(1), on=backend).unwrap()
    assert status(new, on=backend).unwrap().state == "queued"
    assert "no such call" in result(ref, on=backend).failure().message


@pytest.mark.parametrize("kind", ["nfs4", "cifs", "9p", "fuse.sshfs"])
def test_a_network_file_system_is_refused(
    path: Path, tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(
        f"1 0 8:1 / / rw - ext4 /dev/sda1 rw\n2 1 0:9 / {tmp_path} rw - {kind} host:/ rw\n"
    )
    monkeypatch.setattr(filesystem, "_MOUNTS", mounts)
    with pytest.raises(Refused, match=kind):
        filesystem.refuse_network(path)
    filesystem.refuse_network(Path("/somewhere/else"))
