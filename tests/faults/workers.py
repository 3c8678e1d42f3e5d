"""Workers that are killed and restarted, and disruptions at intervals."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from signal import SIGCONT, SIGKILL, SIGSTOP
from typing import Self

from tests.engines.process import until
from tests.engines.worker import WorkerProcess
from tests.faults.served import PACE, TRACE


class Workers:
    """A main process and the workers that it keeps running; a killed worker is replaced."""

    def __init__(
        self, command: Sequence[str], folder: Path, *, pace: float = 0.0, ready: str = "started"
    ) -> None:
        self.trace = folder / "trace"
        self.trace.mkdir(parents=True, exist_ok=True)
        self._log = folder / "workers.log"
        self._command = command
        self._environment = {TRACE: str(self.trace), PACE: str(pace)}
        self._ready = ready
        self._turn = 0
        self._main = self._start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._main.close()

    def _start(self) -> WorkerProcess:
        name, *arguments = self._command
        return WorkerProcess.module(name, *arguments, log=self._log, environment=self._environment)

    def await_start(self, count: int = 1) -> None:
        """Waits until so many workers have started, in total."""
        until(lambda: self._starts() >= count, within=120, otherwise=self._main.tail)

    def _starts(self) -> int:
        return self._log.read_text(errors="replace").count(self._ready)

    def tail(self) -> str:
        """The end of the workers' output."""
        return self._main.tail()

    def kill_one(self) -> None:
        """Kills the youngest worker, which is then replaced."""
        self._kill(-1)

    def kill_oldest(self) -> None:
        """Kills the oldest worker, and waits for its replacement."""
        before = self._starts()
        self._kill(0)
        self.await_start(before + 1)

    def _kill(self, index: int) -> None:
        workers = sorted(self._main.pids() - {self._main.pid})
        if workers:
            os.kill(workers[index], SIGKILL)

    def stop_one(self, seconds: float) -> int:
        """SIGSTOP to one of the workers, the next one each time, and SIGCONT later; its pid."""
        workers = sorted(self._main.pids() - {self._main.pid})
        pid = workers[self._turn % len(workers)]
        self._turn += 1
        os.kill(pid, SIGSTOP)
        time.sleep(seconds)
        os.kill(pid, SIGCONT)
        return pid

    def stop_all(self, seconds: float) -> None:
        """SIGSTOP to all, the main process too, and SIGCONT later."""
        self._main.pause()
        time.sleep(seconds)
        self._main.resume()

    def kill_all(self) -> None:
        """Kills all workers and the main process, and restarts them."""
        before = self._starts()
        self._main.close()
        self._main = self._start()
        self.await_start(before + 1)


@contextmanager
def every(
    seconds: float, disruption: Callable[[], object], times: int
) -> Iterator[threading.Thread]:
    """Calls a function so many times, at intervals, on a thread."""
    ended = threading.Event()
    problems: list[BaseException] = []

    def run() -> None:
        try:
            for _ in range(times):
                if ended.wait(seconds):
                    return
                disruption()
        except BaseException as problem:
            problems.append(problem)

    thread = threading.Thread(target=run, name="disruption")
    thread.start()
    try:
        yield thread
    finally:
        ended.set()
        thread.join()
    if problems:
        raise problems[0]
