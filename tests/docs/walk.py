"""A page that its reader follows step by step: files to write, and commands to type."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Self

from tests.docs.blocks import Block, changed, told
from tests.engines.process import until
from tests.engines.worker import WorkerProcess

PATIENCE = 60.0
"""How long a command may take, in seconds."""


def commands(block: Block) -> Iterator[tuple[str, str]]:
    """The commands of a console block, each with what the page shows of its output."""
    for part in f"\n{block.code}".split("\n$ ")[1:]:
        command, _, output = part.replace("\\\n", "").partition("\n")
        yield command, output.strip("\n")


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
            with (self._folder / block.about).open("w" if block.mark == "file" else "a") as file:
                file.write(changed(block.code, self._instead))
        elif block.language == "console" and not block.mark:
            for command, output in commands(block):
                self._do(shlex.split(changed(command, self._instead)), block, output)

    def _do(self, words: list[str], block: Block, output: str) -> None:
        match words:
            case ["pip" | "docker", *_] | ["onward", "dev", *_]:
                pass  # that is done: it is all there
            case ["onward", "worker", *rest]:
                told(block, output, self._worker(rest))
            case ["onward", *rest]:
                told(block, output, self._python(["-m", "onward", *rest]))
            case ["python", *rest]:
                told(block, output, self._python(rest))
            case _:
                raise AssertionError(f"{block.page.name}, line {block.line}: what is {words}?")

    def _python(self, words: list[str]) -> str:
        done = subprocess.run(
            [sys.executable, *words],
            cwd=self._folder,
            env=os.environ | {"PYTHONWARNINGS": "error"},
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def _worker(self, words: list[str]) -> str:
        """Starts a worker, which runs until the end of the walk; what it says at first."""
        log = self._folder / f"worker-{len(list(self._folder.glob('*.log')))}.log"
        worker = WorkerProcess.module("onward", "worker", *words, log=log, folder=self._folder)
        self._running.enter_context(worker)
        until(
            lambda: "\nready" in worker.tail() or worker.exit_code() is not None,
            within=PATIENCE,
            otherwise=worker.tail,
        )
        return worker.tail()
