"""`onward move`: calls that are under way go on on another engine."""

from pathlib import Path

import pytest
from returns.result import Success

from onward import Catalog, connect, result, submit, task
from tests.cli.command import mistake, onward, printed
from tests.cli.serving import PATIENCE


@task
def double(n: int) -> int:
    return 2 * n


@task
def triple(n: int) -> int:
    return 3 * n


@pytest.fixture
def urls(tmp_path: Path) -> tuple[str, str]:
    return f"sqlite:///{tmp_path}/old.db", f"sqlite:///{tmp_path}/new.db"


def test_the_open_calls_of_a_flow_are_moved(tmp_path: Path, urls: tuple[str, str]) -> None:
    old, new = (connect(url).unwrap() for url in urls)
    refs = [submit(double(n), on=old).unwrap() for n in range(3)]
    other = submit(triple(1), on=old).unwrap()
    engines = ("--from", urls[0], "--to", urls[1])
    would = printed("move", "--flow", "double", *engines, "--dry-run", folder=tmp_path)
    assert sorted(line.split()[0] for line in would.splitlines()) == sorted(ref.id for ref in refs)
    for _ in range(2):  # the second time repeats it, as after an interruption
        moved = printed("move", "--flow", "double", *engines, folder=tmp_path)
        assert sorted(moved.splitlines()) == sorted(f"{ref.id}  moved as {ref.id}" for ref in refs)
    with_workers = [each.serve(Catalog(double, triple)).unwrap() for each in (old, new)]
    assert [result(ref, on=old, timeout=PATIENCE) for ref in refs] == [
        Success(0),
        Success(2),
        Success(4),
    ]
    assert result(other, on=old, timeout=PATIENCE) == Success(3)
    for worker in with_workers:
        worker.stop()
    refused = onward("move", other.id, *engines, folder=tmp_path)
    assert refused.returncode == 1
    assert "the call is done, so it cannot be moved" in refused.stderr
    for each in (old, new):
        each.close()


def test_what_move_needs(tmp_path: Path, urls: tuple[str, str]) -> None:
    assert "--from and --to" in mistake("move", "7c1f", "--from", urls[0], folder=tmp_path)
    assert "by its ref, or a flow" in mistake("move", "--to", urls[0], folder=tmp_path)
