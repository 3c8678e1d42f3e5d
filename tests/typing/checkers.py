"""Runs each type checker, as a user would, on the programs of this folder."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple


class Refusal(NamedTuple):
    """A line that a type checker refuses, and what it says of it."""

    program: str
    line: int
    message: str


def mypy(folder: Path, *programs: str, plugins: str = "") -> Iterator[Refusal]:
    folder.joinpath("mypy.ini").write_text(f"[mypy]\nstrict = true\nplugins = {plugins}\n")
    output = _output(folder, "mypy", "--output=json", *programs)
    for found in map(json.loads, filter(None, output.splitlines())):
        if found["severity"] == "error":
            yield Refusal(found["file"], found["line"], found["message"])


def mypy_with_returns(folder: Path, *programs: str) -> Iterator[Refusal]:
    return mypy(folder, *programs, plugins="returns.contrib.mypy.returns_plugin")


def mypy_with_onward(folder: Path, *programs: str) -> Iterator[Refusal]:
    return mypy(folder, *programs, plugins="onward.mypy")


def pyright(folder: Path, *programs: str) -> Iterator[Refusal]:
    config = {"typeCheckingMode": "strict", "include": programs}
    folder.joinpath("pyrightconfig.json").write_text(json.dumps(config))
    output = _output(folder, "pyright", "--outputjson", "--pythonpath", sys.executable)
    for found in _records(output, "generalDiagnostics"):
        if found["severity"] == "error":
            line = found["range"]["start"]["line"] + 1
            yield Refusal(Path(found["file"]).name, line, found["message"])


def pyrefly(folder: Path, *programs: str) -> Iterator[Refusal]:
    folder.joinpath("pyrefly.toml").touch()
    interpreter = ("--python-interpreter-path", sys.executable)
    output = _output(folder, "pyrefly", "check", "--output-format=json", *interpreter, *programs)
    for found in _records(output, "errors"):
        if found["severity"] == "error":
            yield Refusal(Path(found["path"]).name, found["line"], found["description"])


def ty(folder: Path, *programs: str) -> Iterator[Refusal]:
    folder.joinpath("ty.toml").touch()
    python = ("--python", sys.prefix)
    output = _output(folder, "ty", "check", "--output-format=gitlab", *python, *programs)
    for found in _records(output):
        if found["severity"] in ("major", "critical", "blocker"):
            place = found["location"]
            line = place["positions"]["begin"]["line"]
            yield Refusal(Path(place["path"]).name, line, found["description"])


CHECKERS: dict[str, Callable[..., Iterator[Refusal]]] = {
    "mypy": mypy,
    "mypy-with-returns": mypy_with_returns,
    "mypy-with-onward": mypy_with_onward,
    "pyright": pyright,
    "pyrefly": pyrefly,
    "ty": ty,
}


def _output(folder: Path, tool: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", tool, *arguments],
        cwd=folder,
        # Without this pyright asks the network for a newer version of itself.
        env=os.environ | {"PYRIGHT_PYTHON_IGNORE_WARNINGS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode not in (0, 1):  # 1 says that it found something
        raise RuntimeError(f"{tool} failed: {done.stdout}{done.stderr}")
    return done.stdout


def _records(output: str, key: str | None = None) -> list[dict[str, Any]]:
    found = json.loads(output)
    records: list[dict[str, Any]] = found if key is None else found[key]
    return records
