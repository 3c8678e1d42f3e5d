"""What `onward watch` draws on a terminal, and what it does while the engine is away."""

import socket
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from signal import SIGINT

import pytest
from msgspec import Raw
from rich.console import Console

from onward import Lost, Progress, Status, cancel, submit
from onward.backend import StepRecord
from onward.backends.celery import celery
from onward.cli.waiting import goes_on
from onward.cli.watch import Steps
from onward.outcome import Value, faulted
from tests.cli.command import SECRET, onward
from tests.cli.pipeline import twice
from tests.cli.serving import PATIENCE, started, wait_for_text
from tests.engines.server import HOST
from tests.engines.valkey import Valkey


def drawn(steps: Steps) -> list[list[str]]:
    console = Console(width=100, color_system=None)
    with console.capture() as captured:
        console.print(steps.shown())
    return [line.split() for line in captured.get().splitlines()]


def test_it_shows_the_steps_in_the_order_in_which_they_began() -> None:
    steps = Steps("ref")
    steps.note(Status("queued"))
    steps.note(Status("running", "fetch", "0", 2))
    steps.note(Status("running", "store", "1", 1, Progress(3, 10, "rows")))
    title, fetch, store = drawn(steps)
    assert title == ["ref", "running"]
    assert fetch[:5] == ["✓", "0", "fetch", "attempt", "2"]
    assert store[:3] == ["▸", "1", "store"]
    assert "3/10" in store
    assert "rows" in store


def test_it_shows_steps_that_ended_between_two_looks() -> None:
    steps = Steps("ref")
    steps.note(Status("running", "store", "2", 1))
    began = datetime(2026, 3, 1, tzinfo=UTC)
    ended = began + timedelta(seconds=1.5)
    steps.note(StepRecord("0", "fetch", outcome=Value(Raw(b"1")), began=began, ended=ended))
    lost = faulted(Lost("parse", "its workers died"))
    steps.note(StepRecord("1", "parse", outcome=lost))
    steps.note(StepRecord("3", "approved", "awaits", Value(Raw(b"true"))))
    _, store, fetch, parse, waited = drawn(steps)
    assert store[0] == "▸"
    assert fetch == ["✓", "0", "fetch", "1.5", "s"]
    assert parse[:3] == ["✗", "1", "parse"]
    assert "Lost: its workers died" in " ".join(parse)
    assert waited[:4] == ["✓", "3", "awaits", "approved"]


def test_no_step_goes_on_once_the_call_has_ended() -> None:
    steps = Steps("ref")
    steps.note(Status("running", "fetch", "0", 1))
    steps.note(Status("done", "fetch", "0", 1))
    title, fetch = drawn(steps)
    assert title == ["ref", "done"]
    assert fetch[0] == "✓"


def test_it_says_that_the_engine_is_away_and_goes_on_when_that_is_back(folder: Path) -> None:
    with Valkey.start(folder / "server") as server:
        url = f"celery+{server.url}"
        backend = celery(server.url)
        ref = submit(twice(1), on=backend, delay=3600).unwrap()
        with started("watch", str(ref), "--on", url, folder=folder) as watching:
            wait_for_text(watching, "queued")
            server.kill()
            wait_for_text(watching, "onward: waiting for the engine, which is away: ")
            server.restart()
            cancel(ref, on=backend).unwrap()
            assert watching.wait(PATIENCE) == 1
            log = watching.log.read_text()
    assert log.count("is away") == 1
    assert '"type":"Cancelled"' in log


@pytest.fixture
def nowhere() -> Iterator[str]:
    """Where nobody listens, nor can."""
    with socket.socket() as bound:
        bound.bind((HOST, 0))
        yield f"{HOST}:{bound.getsockname()[1]}"


@pytest.mark.parametrize("engine", ["celery+redis", "temporal"])
def test_result_too_says_that_the_engine_is_away_and_waits_for_it(
    engine: str, folder: Path, nowhere: str
) -> None:
    with started("result", "ref", "--on", f"{engine}://{nowhere}", folder=folder) as waiting:
        wait_for_text(waiting, "onward: waiting for the engine, which is away: ")
        assert waiting.exit_code() is None


def test_it_waits_for_an_engine_that_is_away_no_longer_than_it_is_told(
    folder: Path, nowhere: str
) -> None:
    url = f"celery+redis://{nowhere}/0"
    done = onward("watch", "ref", "--timeout", "0.1", "--on", url, folder=folder)
    assert done.returncode == 4
    away, over = done.stderr.splitlines()
    assert "is away" in away
    then = f"the call goes on: onward result ref --on {url}"
    assert over == f"onward: no outcome after 0.1 s; {then}"


@pytest.mark.parametrize(
    ("on", "config", "options"),
    [
        (None, None, ""),
        ("celery+redis://host?queue=a&keep=5", None, " --on 'celery+redis://host?queue=a&keep=5'"),
        (None, Path("my engine.yaml"), " --config 'my engine.yaml'"),
        (f"celery+redis://:{SECRET}@host", None, " --on …"),
        (f"celery+amqp://host?result_backend=redis%3A%2F%2F%3A{SECRET}%40host", None, " --on …"),
    ],
)
def test_the_command_to_copy_names_the_engine_and_shows_no_password(
    on: str | None, config: Path | None, options: str
) -> None:
    assert goes_on("7c1f", on, config) == f"the call goes on: onward result 7c1f{options}"


def test_the_queues_are_watched_through_an_engine_that_is_away(folder: Path) -> None:
    with Valkey.start(folder / "server") as server:
        url = f"celery+{server.url}"
        with started("watch", "--queue", "--on", url, folder=folder) as watching:
            wait_for_text(watching, "onward: 0 waiting, workers: none\n")
            server.kill()
            wait_for_text(watching, "onward: waiting for the engine, which is away: ")
            server.restart()
            submit(twice(1), on=celery(server.url)).unwrap()
            wait_for_text(watching, "onward: 1 waiting, workers: none\n")
            watching.send(SIGINT)
            assert watching.wait(PATIENCE) == 0
            assert watching.log.read_text().count("is away") == 1
