"""What `onward watch` draws on a terminal, and what it does while the engine is away."""

import socket
from pathlib import Path

from rich.console import Console

from onward import Progress, Status, cancel, submit
from onward.backends.celery import celery
from onward.cli.watch import Steps
from tests.cli.command import onward
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
            wait_for_text(watching, "onward: the engine is away, and is waited for: ")
            server.restart()
            cancel(ref, on=backend).unwrap()
            assert watching.wait(PATIENCE) == 1
            log = watching.log.read_text()
    assert log.count("is away") == 1
    assert '"type":"Cancelled"' in log


def test_it_waits_for_an_engine_that_is_away_no_longer_than_it_is_told(folder: Path) -> None:
    with socket.socket() as bound:
        bound.bind((HOST, 0))
        url = f"celery+redis://{HOST}:{bound.getsockname()[1]}/0"
        done = onward("watch", "ref", "--timeout", "0.1", "--on", url, folder=folder)
    assert done.returncode == 4
    away, over = done.stderr.splitlines()
    assert "is away" in away
    assert over == "onward: no outcome after 0.1 s; it goes on: onward result ref"
