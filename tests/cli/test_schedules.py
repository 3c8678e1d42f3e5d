"""`onward schedules`, and the commands of `onward schedule`."""

import json
from pathlib import Path
from typing import Any

from tests.cli.command import mistake, printed

ON = ("--on", "sqlite:///onward.db")


def test_schedules_are_declared_listed_paused_resumed_and_removed(folder: Path) -> None:
    def run(*arguments: str) -> str:
        return printed(*arguments, *ON, folder=folder)

    def listed() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(run("schedules", "--json"))["schedules"]
        return found

    weekly = ["--name", "weekly", "--cron", "30 2 * * MON", "--timezone", "Europe/Berlin"]
    limits = ["--overlap", "skip", "--catch-up", "3600", "--queue", "slow"]
    said = run("schedule", "declare", "pipeline:summed", "1,2", *weekly, *limits)
    assert said.startswith("weekly  summed, 30 2 * * MON Europe/Berlin, overlap skip, ")
    assert " 02:30:00 CE" in said
    made = json.loads(run("schedule", "declare", "pipeline:parse", "1", "--every", "60", "--json"))
    assert (made["name"], made["every"], made["overlap"]) == ("parse", 60, "allow")
    assert run("schedule", "pause", "weekly") == "paused\n"
    found = {each["name"]: each for each in listed()}
    assert list(found) == ["parse", "weekly"]
    assert found["weekly"]["paused"]
    assert found["weekly"]["catch_up"] == 3600
    assert run("schedules").splitlines()[1].endswith("catches up 3600 s, paused")
    assert run("schedule", "resume", "weekly") == "resumed\n"
    assert run("schedule", "remove", "weekly") == "removed\n"
    assert [(each["name"], each["paused"]) for each in listed()] == [("parse", False)]


def test_a_mistake_is_said_on_one_line(folder: Path) -> None:
    assert "no such schedule" in mistake("schedule", "pause", "x", *ON, folder=folder, code=1)
    said = mistake("schedule", "declare", "pipeline:parse", "1", *ON, folder=folder)
    assert "cron='30 2 * * *' or every=60: write one" in said
    assert "ends with this process" in mistake("schedules", "--on", "local://", folder=folder)
