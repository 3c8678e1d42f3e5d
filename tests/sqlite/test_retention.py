"""What is kept, and how large the file becomes."""

from contextlib import closing
from pathlib import Path

from returns.result import Success

from onward import (
    Constant,
    Retry,
    Unknown,
    current,
    result,
    results,
    submit,
    submit_all,
    task,
)
from onward.backends.sqlite import sqlite
from onward.backends.sqlite.client import File
from onward.backends.sqlite.retention import prune, shrink
from onward.catalog import Catalog

PATIENCE = 120.0


@task(retry=Retry(attempts=2, backoff=Constant(0.0)))
def repeat(text: str) -> str:
    if text == "x" * 20_000 and current().attempt == 1:
        raise ValueError(text)
    return text * 2


def test_what_has_ended_long_ago_is_forgotten_and_the_file_stays_small(path: Path) -> None:
    backend = sqlite(path)
    worker = backend.serve(Catalog(repeat)).unwrap()
    sizes: list[int] = []
    flow = repeat >> repeat
    for _ in range(3):
        calls = [flow("x" * 10_000) for _ in range(200)]
        refs = submit_all(calls, on=backend, tags=["some"]).unwrap()
        assert len(list(results(refs, on=backend, timeout=PATIENCE))) == 200
        sizes.append(path.stat().st_size)
        assert result(refs[0], on=backend) == Success("x" * 40_000)
        file = File(path, "full", 5.0)
        with closing(file.open().db) as db:
            later = file.clock.now() + 1.0
            db.execute("begin immediate")
            while prune(db, later):
                pass
            db.execute("commit")
            shrink(db)
            for table in ("calls", "jobs", "steps", "attempts", "signals", "tags", "log"):
                [left] = db.execute(f"select count(*) from onward_{table}").fetchone()
                assert left == 0, table
        assert isinstance(result(refs[0], on=backend).failure(), Unknown)
    assert max(sizes) < 2 * sizes[0]
    worker.stop()
    backend.close()


def test_what_has_not_ended_is_kept(path: Path) -> None:
    backend = sqlite(path, keep=1.0)
    ref = submit(repeat("a"), on=backend, delay=3600).unwrap()
    file = File(path, "full", 5.0)
    with closing(file.open().db) as db:
        prune(db, file.clock.now() + 3600)
    assert result(ref, on=backend, timeout=0.0).failure().task == "repeat"
    backend.close()
