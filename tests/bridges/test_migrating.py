"""What another engine refuses is known before anything moves."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from returns.result import Success

from onward import Catalog, connect, local, schedule, sleep, submit, task
from onward.backend import Diagnoses, Schedule
from onward.backends.sqlite import SqliteBackend, sqlite
from onward.bridges import differences
from onward.bridges.migrating import Difference
from onward.fault import Fault, TooLarge, Unsupported
from onward.plan import Plan
from tests.engines.temporal import Temporal
from tests.engines.valkey import Valkey


@task
def note(n: int) -> int:
    return n


@task
def render(text: str) -> str:
    return text


SLEEPS = (sleep(3600) >> note).named("sleeps")
CATALOG = Catalog(note, render, SLEEPS)


class Small(SqliteBackend):
    """An engine with limits."""

    def check(self, plan: Plan, /) -> list[Fault]:
        size = sum(memoryview(raw).nbytes for raw in plan.args.positional)
        return [TooLarge(plan.flow, "its arguments are too large", size, 100)] if size > 100 else []

    def check_schedule(self, given: Schedule, /) -> list[Fault]:
        is_refused = given.overlap != "allow"
        return [Unsupported(given.name, "its runs always overlap")] if is_refused else []


@pytest.fixture
def engines(tmp_path: Path) -> Iterator[tuple[SqliteBackend, Small]]:
    old, other = sqlite(tmp_path / "old.db"), sqlite(tmp_path / "new.db")
    yield old, Small(other._core)
    old.close()
    other.close()


def wrong(found: list[Difference]) -> list[tuple[str, str]]:
    return [(each.what, each.text.partition(".")[0]) for each in found if each.is_wrong]


def test_what_a_flow_needs_is_looked_for(engines: tuple[SqliteBackend, Small]) -> None:
    old, new = engines

    class Restless(Small):
        lacks: Any = {"sleep": "it never sleeps"}  # noqa: RUF012 - as a backend says it

    found = differences(old, Restless(new._core), CATALOG).unwrap()
    [refused] = [each for each in found if each.is_wrong]
    assert refused.what == "sleeps"
    assert "cannot run sleep: it never sleeps" in refused.text


def test_schedules_and_open_calls_are_looked_at(engines: tuple[SqliteBackend, Small]) -> None:
    """Those of today: their sizes, and what they ask of the engine."""
    old, new = engines
    large = submit(render("x" * 200), on=old).unwrap()
    submit(render("x"), on=old).unwrap()
    schedule(note(1), on=old, name="a", cron="0 2 * * *", overlap="skip").unwrap()
    schedule(render("y" * 200), on=old, name="b", every=60).unwrap()
    found = differences(old, new, CATALOG).unwrap()
    assert wrong(found) == [
        ("schedule a", "a: its runs always overlap"),
        ("schedule b", "render: its arguments are too large, 202 bytes, the limit is 100"),
        (f"call {large.id}", "render: its arguments are too large, 202 bytes, the limit is 100"),
    ]
    notes = [each.text for each in found if not each.is_wrong]
    assert "its interval of 60 s begins anew when it is handed over" in notes
    assert notes.count("no worker of the new engine serves it yet") == 2


def test_lost_capabilities_are_told(engines: tuple[SqliteBackend, Small]) -> None:
    old, _ = engines
    found = differences(old, local(), Catalog(note)).unwrap()
    [only] = [each for each in found if each.what == "engine"]
    assert "cannot submit in a transaction" in only.text
    assert not only.is_wrong


@pytest.mark.parametrize(("keep", "says"), [(3600, "no longer"), (30 * 86400, "longer than")])
def test_retention_is_compared(tmp_path: Path, keep: int, says: str) -> None:
    old, new = sqlite(tmp_path / "old.db"), sqlite(tmp_path / "new.db", keep=keep)
    assert differences(old, sqlite(tmp_path / "other.db"), Catalog()) == Success([])
    [only] = differences(old, new, Catalog()).unwrap()
    assert (only.what, only.is_wrong) == ("engine", False)
    assert f"keeps a call that has ended for {'1 hour' if keep == 3600 else '30 days'}" in only.text
    assert "for 1 day: results, histories and keys" in only.text
    assert says in only.text
    old.close()
    new.close()


def test_each_engine_says_how_long_it_keeps_calls(
    valkey: Valkey, temporal: Temporal, tmp_path: Path
) -> None:
    """Hatchet's is looked at in its own tests."""
    urls = (
        f"celery+{valkey.url}?keep=7200",
        f"temporal://127.0.0.1:{temporal.port}",
        f"sqlite:///{tmp_path}/onward.db?keep=7200",
    )
    kept: list[float | None] = []
    for url in urls:
        backend = connect(url).unwrap()
        assert isinstance(backend, Diagnoses)
        kept.append(backend.diagnose().unwrap().keeps)
        backend.close()
    assert kept == [7200, 86400, 7200]
