"""What `onward watch` draws on a terminal."""

from rich.console import Console

from onward import Progress, Status
from onward.cli.watch import Steps


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
