"""Workers that are killed and come back, and harm to them."""

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
    """A main process and the workers that it keeps going; in its place comes another if killed."""

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
        """Waits until so many workers have said that they start, in all."""
        until(lambda: self._starts() >= count, within=30, otherwise=self._main.tail)

    def _starts(self) -> int:
        return self._log.read_text(errors="replace").count(self._ready)

    def tail(self) -> str:
        """The end of what they said."""
        return self._main.tail()

    def kill_one(self) -> None:
        """SIGKILL to the youngest of the workers; in its place comes another."""
        self._kill(-1)

    def kill_oldest(self) -> None:
        """SIGKILL to the one that has been at work the longest; waits for the one in its place."""
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
        """SIGKILL to all, the main process too; then waits until it has started anew."""
        before = self._starts()
        self._main.close()
        self._main = self._start()
        self.await_start(before + 1)


@contextmanager
def every(seconds: float, harm: Callable[[], object], times: int) -> Iterator[threading.Thread]:
    """Does harm so many times meanwhile, on a thread; ends with the last one."""
    ended = threading.Event()
    problems: list[BaseException] = []

    def run() -> None:
        try:
            for _ in range(times):
                if ended.wait(seconds):
                    return
                harm()
        except BaseException as problem:
            problems.append(problem)

    thread = threading.Thread(target=run, name="harm")
    thread.start()
    try:
        yield thread
    finally:
        ended.set()
        thread.join()
    if problems:
        raise problems[0]
