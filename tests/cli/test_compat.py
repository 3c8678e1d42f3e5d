"""`onward compat`, as who runs it sees it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from subprocess import CompletedProcess

import pytest
from msgspec import json

from onward import connect, submit, task

OLD = """
from onward import task

@task
def charge(card: str, cents: int) -> str:
    return card
"""
NEW = OLD.replace("cents: int", "cents: int, currency: str")


@pytest.fixture
def onward(tmp_path: Path) -> Callable[..., CompletedProcess[str]]:
    """Runs the command in a folder with the module `shop`."""

    def run(*arguments: str) -> CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "onward", *arguments],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
            timeout=240,
        )

    return run


Command = Callable[..., CompletedProcess[str]]


def test_a_change_is_told_until_the_snapshot_is_written_again(
    onward: Command, tmp_path: Path
) -> None:
    module = tmp_path / "shop.py"
    module.write_text(OLD)
    assert onward("compat", "shop", "--write", "onward.schema.json").returncode == 0
    same = onward("compat", "shop")
    assert (same.returncode, same.stdout) == (0, "nothing breaks\n")
    module.write_text(NEW)
    told = onward("compat", "shop")
    assert told.returncode == 1
    assert "charge: the new parameter 'currency' has no default. It breaks calls" in told.stdout
    data = json.decode(onward("compat", "shop", "--json").stdout)
    assert (data["task"], data["cure"]) == ("charge", "Give it a default.")


def test_a_revision_has_the_snapshot(onward: Command, tmp_path: Path) -> None:
    module = tmp_path / "shop.py"
    module.write_text(OLD)
    onward("compat", "shop", "--write", "onward.schema.json")

    def git(*arguments: str) -> None:
        identity = ["-c", "user.name=A", "-c", "user.email=a@example.org"]
        subprocess.run(
            ["git", *identity, *arguments], cwd=tmp_path, check=True, capture_output=True
        )

    git("init", "--initial-branch", "main")
    git("add", ".")
    git("commit", "--message", "first")
    (tmp_path / "onward.schema.json").unlink()
    module.write_text(NEW)
    assert onward("compat", "shop", "--against", "main").returncode == 1
    missing = onward("compat", "shop", "--against", "nowhere")
    assert missing.returncode == 2
    assert "neither a file nor a revision of git" in missing.stderr


def test_calls_in_flight_are_read(onward: Command, tmp_path: Path) -> None:
    @task
    def charge(card: str, cents: int) -> str:
        return card

    url, module = f"sqlite:///{tmp_path}/onward.db", tmp_path / "shop.py"
    with closing(connect(url).unwrap()) as backend:
        ref = submit(charge("a", 5), on=backend).unwrap()
    module.write_text(OLD)
    fits = onward("compat", "shop", "--against", url)
    assert (fits.returncode, fits.stdout) == (0, "every open call fits\n")
    module.write_text(NEW)
    told = onward("compat", "shop", "--against", url)
    assert told.returncode == 1
    assert f"call {ref} of charge cannot go on. charge: it has no value for" in told.stdout


def test_without_a_snapshot_it_says_how_to_write_one(onward: Command, tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(OLD)
    found = onward("compat", "shop")
    assert found.returncode == 2
    assert "write it with --write onward.schema.json" in found.stderr
