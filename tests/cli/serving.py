"""Commands that run until they are stopped."""

import uuid
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.engines.process import until
from tests.engines.worker import WorkerProcess

PATIENCE = 120.0
"""How long to wait for what has to come, in seconds."""


@contextmanager
def serving(folder: Path, url: str, *arguments: str) -> Generator[WorkerProcess]:
    """A worker that is ready."""
    with started("worker", "pipeline", *arguments, "--on", url, folder=folder) as worker:
        wait_for_text(worker, "\nready")
        yield worker


@contextmanager
def started(
    *arguments: str, folder: Path, environment: Mapping[str, str] | None = None
) -> Generator[WorkerProcess]:
    """The command, started."""
    log = folder / f"{arguments[0]}-{uuid.uuid4().hex}.log"
    given = {"PYTHONWARNINGS": "error", **(environment or {})}
    with WorkerProcess.module(
        "onward", *arguments, log=log, folder=folder, environment=given
    ) as process:
        yield process


def wait_for_text(worker: WorkerProcess, text: str) -> None:
    until(
        lambda: text in worker.tail() or worker.exit_code() is not None,
        within=PATIENCE,
        otherwise=lambda: f"It never said {text!r}:\n{worker.tail()}",
    )
    assert text in worker.tail()


def wait_for_file(path: Path, within: float = PATIENCE) -> None:
    until(path.exists, within=within, otherwise=lambda: f"{path} never came")
