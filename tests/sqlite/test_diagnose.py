"""What is told of a file, its workers and its queues, and what a call is there."""

from pathlib import Path

from onward import Catalog, explain, submit
from onward.backends.sqlite import SqliteBackend
from onward.cli.doctor import judged
from tests.sqlite.kept import CATALOG, far, inc


def wrong(backend: SqliteBackend, catalog: Catalog | None = None) -> list[str]:
    """What the doctor finds wrong: what it is about."""
    seen = backend.diagnose(catalog.queues if catalog else ()).unwrap()
    return [finding.what for finding in judged(seen, catalog) if finding.is_wrong]


def test_it_counts_what_waits_and_names_who_takes_it(backend: SqliteBackend) -> None:
    for n in range(3):
        submit(far(n), on=backend).unwrap()
    submit(inc(1), on=backend, delay=3600).unwrap()
    seen = backend.diagnose(["other"]).unwrap()
    assert dict(seen.waiting) == {"onward": 0, "far": 3, "other": 0}
    assert wrong(backend) == ["workers", "queue"]
    worker = backend.serve(CATALOG, queues=["onward"]).unwrap()
    [found] = backend.diagnose().unwrap().workers
    assert found.queues == {"onward"}
    assert found.tasks == frozenset(CATALOG.tasks)
    assert wrong(backend) == ["queue"]
    worker.stop()
    assert backend.diagnose().unwrap().workers == ()


def test_it_tells_of_a_file_that_others_can_write(backend: SqliteBackend, path: Path) -> None:
    worker = backend.serve(CATALOG).unwrap()
    assert wrong(backend, CATALOG) == []
    path.chmod(0o660)
    texts = [finding.text for finding in backend.diagnose().unwrap().findings]
    assert any("others than its owner can write" in text for text in texts)
    worker.stop()


def test_a_call_is_shown_as_its_steps_and_where_they_run(backend: SqliteBackend) -> None:
    assert explain((inc >> far)(1), on=backend) == (
        "onward_jobs: inc >> far in queue 'onward', priority 5\n"
        "  0 inc\n"
        "  1 far (a job of its own in queue 'far')"
    )
