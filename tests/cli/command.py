"""The command, as people run it: a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

from tests.cli.forking import forked

SCRIPT = Path(sys.executable).with_name("onward")
SECRET = "s3cret"
PATIENCE = 240.0
"""How long a command may take, in seconds."""


def environment() -> dict[str, str]:
    """The tests' own, without what names an engine."""
    names = ("ONWARD_", "CELERY_", "HATCHET_", "TEMPORAL_")
    return {name: value for name, value in os.environ.items() if not name.startswith(names)}


def onward(
    *arguments: str,
    folder: Path,
    before: str = "",
    extra: dict[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """The command, run to its end; after some other code, if there is any."""
    given = environment() | (extra or {})
    if not before:
        return forked(arguments, folder=folder, environment=given, timeout=PATIENCE)
    command = f"{before}; import runpy; runpy.run_module('onward', run_name='__main__')"
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", command, *arguments],
        check=False,
        cwd=folder,
        env=given,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )


def mistake(*arguments: str, folder: Path, code: int = 2, before: str = "") -> str:
    """What the command says of a mistake, which is one line."""
    done = onward(*arguments, folder=folder, before=before)
    assert done.returncode == code, done.stderr
    assert done.stderr.startswith("onward: ")
    assert done.stderr.count("\n") == 1
    return done.stderr


def printed(*arguments: str, folder: Path, code: int = 0) -> str:
    """What the command prints that ends with this code, and has nothing else to say."""
    done = onward(*arguments, folder=folder)
    assert done.returncode == code, done.stderr
    assert done.stderr == ""
    return done.stdout
