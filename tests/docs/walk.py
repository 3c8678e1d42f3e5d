"""A page that its reader follows step by step: files to write, and commands to type."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Self

from tests.cli.forking import forked
from tests.docs.blocks import Block, changed, check_output, matches
from tests.engines.process import until
from tests.engines.worker import WorkerProcess

PATIENCE = 240.0
"""How long a command may take, in seconds."""

LEFT_OUT = {
    "git": "it asks the network",
    "mkdir": "the walk is in a folder of its own",
    "cd": "the walk is in a folder of its own",
    "python3 -m venv": "the tests have an environment",
    ".": "the tests have an environment",
    "pip": "it asks the network",
    "docker": "it needs Docker",
    "export": "this run's token is another one",
    "onward --install-completion": "it writes into a shell's own files",
    "onward dev hatchet": "tests/cli/test_dev.py starts one, where it is installed",
    "python -m tests.capabilities": "it runs the suite, and writes to the page",
    "make bench": "it takes minutes",
    "make demo": "a test of its own runs it on a terminal",
}
"""What is not run, and why."""


def commands(block: Block) -> Iterator[tuple[str, str]]:
    """The commands of a console block, each with what the page shows of its output."""
    for part in f"\n{block.code}".split("\n$ ")[1:]:
        command, _, output = part.replace("\\\n", "").partition("\n")
        yield command, output.strip("\n")


def is_left_out(command: str) -> bool:
    return any(f"{command} ".startswith(f"{start} ") for start in LEFT_OUT)


class Walk:
    """Someone who does in a folder what a page says, on this run's servers.

    Args:
        folder: The folder.
        instead: This run's servers in the place of those that `onward dev` starts.
    """

    def __init__(self, folder: Path, instead: Mapping[str, str]) -> None:
        self._folder = folder
        self._instead = instead
        self._running = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._running.close()

    def take(self, block: Block) -> None:
        """Does what one block says."""
        if block.mark in ("file", "more"):
            file = self._folder / block.about
            with file.open("w" if block.mark == "file" else "a") as opened:
                opened.write(changed(block.code, self._instead))
        elif block.language == "console" and not block.mark:
            for command, output in commands(block):
                if not is_left_out(command):
                    self._do(shlex.split(changed(command, self._instead)), block, output)

    def _do(self, words: Sequence[str], block: Block, output: str) -> None:
        match words:
            case ["onward", "dev", *_]:
                shown = re.sub(r"(?<=127\.0\.0\.1:)\d+", "...", output) or "ready: ..."
                self._start([*words, "--port", "0"], block, shown)
            case ["onward", "worker", *_]:
                self._start(words, block, output or "...ready: ...")
            case ["celery", *_, "worker"] | ["python", "worker.py"]:
                self._start(words, block, output or "...")
            case ["onward" | "python" | "mypy", *_]:
                check_output(block, output or "...", self._ended(words, block))
            case _:
                raise AssertionError(f"{block.page.name}, line {block.line}: what is {words}?")

    def _ended(self, words: Sequence[str], block: Block) -> str:
        """What a command prints that ends by itself."""
        environment = self._environment(words)
        if words[0] == "onward":
            done = forked(words[1:], folder=self._folder, environment=environment, timeout=PATIENCE)
        else:
            done = subprocess.run(
                [sys.executable, *_module(words)],
                cwd=self._folder,
                env=environment,
                capture_output=True,
                text=True,
                timeout=PATIENCE,
                check=False,
            )
        # mypy finds a mistake. Temporal's own client sometimes crashes when the interpreter ends.
        has_ended_well = done.returncode == 0 or not self._is_ours(words)
        assert has_ended_well, f"{block.page.name}, {words}: {done.stderr}"
        return done.stdout

    def _start(self, words: Sequence[str], block: Block, output: str) -> None:
        """Starts what runs until the end of the walk, and waits for what it says at first."""
        log = self._folder / f"{len([*self._folder.glob('*.log')])}.log"
        process = WorkerProcess(
            [sys.executable, *_module(words)],
            log=log,
            environment=self._environment(words),
            folder=self._folder,
        )
        self._running.enter_context(process)
        self._running.callback(_stop, process)
        until(
            lambda: matches(output, process.tail()) or process.exit_code() is not None,
            within=PATIENCE,
            otherwise=process.tail,
        )
        check_output(block, output, process.tail())

    def _environment(self, words: Sequence[str]) -> Mapping[str, str]:
        """In which a warning of ours is an error."""
        # What is printed has to be there also if the interpreter crashes when it ends.
        given = {"PYTHONWARNINGS": "error"} if self._is_ours(words) else {"PYTHONUNBUFFERED": "1"}
        return os.environ | given

    def _is_ours(self, words: Sequence[str]) -> bool:
        """Whether it is Onward that runs, and not an engine's SDK alone, or a type checker."""
        file = self._folder / words[1]
        is_theirs = words[0] in ("celery", "mypy")
        return not is_theirs and (not file.is_file() or "onward" in file.read_text())


def _stop(process: WorkerProcess) -> None:
    """Lets a process end what it has started itself, as `onward dev` its server."""
    process.terminate()
    process.wait(PATIENCE)


def _module(words: Sequence[str]) -> Sequence[str]:
    """The arguments to the interpreter that runs the tests."""
    return words[1:] if words[0] == "python" else ["-m", *words]
