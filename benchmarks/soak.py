"""Onward on Celery beside Celery under load: `python -m benchmarks.soak [--fast]`.

Each contender has a Valkey, a client process and a worker process of its own. It gets a backlog
that nobody works on, then many tasks for one worker, and then many calls that are waited for at
once. Memory and descriptors are read from /proc, so this needs Linux.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from signal import SIGCONT, SIGSTOP
from statistics import median, quantiles
from time import perf_counter, sleep
from typing import Any, NamedTuple, Protocol

from celery.exceptions import TimeoutError as CeleryTimeout
from redis import Redis

from benchmarks.report import bar, say
from benchmarks.served import BELL, SETUPS, THREADS, last, step
from onward import result, results, status, submit_all, unwrap
from onward.backends.celery import celery
from tests.engines.valkey import Valkey
from tests.engines.worker import WorkerProcess

CELERY, ONWARD = "Celery", "Onward"
LOOKS = 500
"""How many times the status of a call is read."""

PATIENCE = 1_800
"""How long a worker may take for all that it is given, in seconds."""

FINISHED = "Valkey's memory for a finished call, in bytes"


class Load(NamedTuple):
    """How much there is of each.

    Args:
        calls: The calls in the backlog.
        tasks: The tasks that one worker runs.
        waiters: The calls that are waited for at once.
    """

    calls: int
    tasks: int
    waiters: int


FULL, FAST = Load(200_000, 50_000, 2_000), Load(5_000, 6_000, 200)


class Contender(Protocol):
    """What users of a library write. What `submit` gives stands for a call."""

    def submit(self, count: int, *, is_last: bool = False) -> Sequence[Any]:
        """Submits calls of one task; with `is_last`, its worker rings after so many of them."""
        ...

    def status(self, call: Any) -> object:
        """Where a call is."""
        ...

    def wait(self, calls: Sequence[Any]) -> object:
        """Waits for all of these calls."""
        ...

    wait_alone: Callable[[Any], object] | None
    """Waits for one call, on a thread of its own; None if that is not tried."""


class OnCelery:
    """Celery, as it comes."""

    def __init__(self, url: str) -> None:
        self._app = SETUPS[CELERY].app(url)

    def submit(self, count: int, *, is_last: bool = False) -> Sequence[Any]:
        task: Any = self._app.tasks["raw.finish" if is_last else "raw.pass_on"]
        with self._app.producer_pool.acquire(block=True) as producer:
            batch = producer.batch()  # type: ignore[attr-defined]  # the stubs are older than it
            with batch:
                return [task.apply_async((count,), producer=producer) for _ in range(count)]

    def status(self, call: Any) -> object:
        return call.state

    def wait(self, calls: Sequence[Any]) -> object:
        return list(map(self._get, calls))

    def _get(self, call: Any) -> object:
        while True:
            with suppress(CeleryTimeout):  # now and then it does not hear that there is a result
                return call.get(timeout=2)

    wait_alone = None


class OnOnward:
    """Onward on Celery."""

    def __init__(self, url: str) -> None:
        self._backend = celery(url)

    def submit(self, count: int, *, is_last: bool = False) -> Sequence[Any]:
        task = last if is_last else step
        return unwrap(submit_all([task(count)] * count, on=self._backend))

    def status(self, call: Any) -> object:
        return unwrap(status(call, on=self._backend))

    def wait(self, calls: Sequence[Any]) -> object:
        return [unwrap(each) for _, each in results(calls, on=self._backend)]

    def wait_alone(self, call: Any) -> object:
        return unwrap(result(call, on=self._backend))


CONTENDERS: Mapping[str, Callable[[str], Any]] = {CELERY: OnCelery, ONWARD: OnOnward}


class Client:
    """Loads one contender, in this process.

    Args:
        name: The contender.
        url: Its Valkey.
        load: How much there is of each.
        folder: A folder for the worker's log.
    """

    def __init__(self, name: str, url: str, load: Load, folder: Path) -> None:
        self._name = name
        self._url = url
        self._load = load
        self._folder = folder
        self._contender = CONTENDERS[name](url)
        self._redis: Any = Redis.from_url(url, socket_timeout=None)

    def figures(self) -> Iterator[tuple[str, float]]:
        """All figures, each with what it is."""
        yield from self._backlog()
        self._redis.flushdb()
        log = self._folder / "worker.log"
        with WorkerProcess.module("benchmarks.served", self._name, self._url, log=log) as worker:
            yield from self._one_worker(worker)
            yield from self._waiters(worker)

    def _backlog(self) -> Iterator[tuple[str, float]]:
        self._contender.submit(100)
        empty, calls = self._memory(), self._load.calls
        start = perf_counter()
        handles = self._contender.submit(calls)
        seconds = perf_counter() - start
        yield "Submitting a call of the backlog, in us", seconds / calls * 1e6
        yield (
            "Valkey's memory for a call of the backlog, in bytes",
            (self._memory() - empty) / calls,
        )
        yield "The client's memory with the backlog, in MB", resident(os.getpid())
        yield from self._looks("with the backlog", handles)

    def _one_worker(self, worker: WorkerProcess) -> Iterator[tuple[str, float]]:
        self._contender.submit(100, is_last=True)
        self._hear(worker)
        empty, tasks = self._memory(), self._load.tasks
        yield "The worker's memory after 100 tasks, in MB", resident(worker.pid)
        with halted(worker):
            self._contender.submit(tasks, is_last=True)
        start = perf_counter()
        self._hear(worker)
        yield "One task in the worker, in us", (perf_counter() - start) / tasks * 1e6
        yield "The worker's memory after all tasks, in MB", resident(worker.pid)
        yield "The worker's descriptors after all tasks", descriptors(worker.pid)
        sleep(2.0)  # until the last messages are acknowledged
        yield FINISHED, (self._memory() - empty) / tasks

    def _waiters(self, worker: WorkerProcess) -> Iterator[tuple[str, float]]:
        ways: list[tuple[str, Callable[[Sequence[Any]], object]]] = [
            ("in one thread", self._contender.wait)
        ]
        if self._contender.wait_alone is not None:
            ways.append(("in a thread each", self._wait_in_threads))
        for way, wait in ways:
            with halted(worker):
                calls = self._contender.submit(self._load.waiters)
                waiting = threading.Thread(target=wait, args=(calls,))
                waiting.start()
                sleep(3.0)  # until all of them wait
                yield f"The client's memory with the waits {way}, in MB", resident(os.getpid())
                yield f"Its descriptors with the waits {way}", descriptors(os.getpid())
                yield from self._looks(f"with the waits {way}", calls)
            start = perf_counter()
            waiting.join(PATIENCE)
            if waiting.is_alive():
                raise TimeoutError(f"not done after {PATIENCE} s:\n{worker.tail()}")
            yield f"All values of the waits {way}, in s", perf_counter() - start

    def _wait_in_threads(self, calls: Sequence[Any]) -> None:
        threads = [
            threading.Thread(target=self._contender.wait_alone, args=(call,)) for call in calls
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _looks(self, when: str, calls: Sequence[Any]) -> Iterator[tuple[str, float]]:
        taken = []
        for number in range(LOOKS):
            call = calls[number * len(calls) // LOOKS]
            start = perf_counter()
            self._contender.status(call)
            taken.append((perf_counter() - start) * 1e6)
        yield f"The status of a call {when}, median in us", median(taken)
        yield f"The status of a call {when}, 99th percentile in us", quantiles(taken, n=100)[98]

    def _memory(self) -> int:
        return int(self._redis.info("memory")["used_memory"])

    def _hear(self, worker: WorkerProcess) -> None:
        if self._redis.blpop([BELL], PATIENCE) is None:
            raise TimeoutError(f"not done after {PATIENCE} s:\n{worker.tail()}")


@contextmanager
def halted(worker: WorkerProcess) -> Iterator[None]:
    """Halts a worker meanwhile."""
    worker.send(SIGSTOP)
    yield
    worker.send(SIGCONT)


def resident(pid: int) -> float:
    """The resident memory of a process, in MB."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def descriptors(pid: int) -> int:
    """How many descriptors a process has open."""
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def measured(name: str, load: Load) -> dict[str, float]:
    """The figures of a contender, on a Valkey of its own."""
    with tempfile.TemporaryDirectory() as folder, Valkey.start(Path(folder)) as server:
        command = [sys.executable, "-m", __spec__.name, "--client", name, server.url, folder]
        found = subprocess.run(
            [*command, *map(str, load)], stdout=subprocess.PIPE, text=True, check=True
        )
    figures: dict[str, float] = json.loads(found.stdout)
    return figures


def shown(figures: Mapping[str, Mapping[str, float]], load: Load) -> Iterator[str]:
    """A table of all figures, and how the bar stands."""
    yield (
        f"{load.calls:,} calls in the backlog, {load.tasks:,} tasks through one worker with "
        f"{THREADS} threads, {load.waiters:,} waits"
    )
    yield ""
    yield f"| | {' | '.join(figures)} |"
    yield f"|---|{'---:|' * len(figures)}"
    for what in max(figures.values(), key=len):
        cells = (each.get(what) for each in figures.values())
        texts = ("" if cell is None else f"{cell:,.{0 if cell >= 20 else 1}f}" for cell in cells)
        yield f"| {what} | {' | '.join(texts)} |"
    yield ""
    ratio = figures[ONWARD][FINISHED] / figures[CELERY][FINISHED]
    yield bar(ratio <= 1.5, f"{FINISHED}: {ratio:.2f} times Celery's; at most 1.5")


def main() -> None:
    """Measures both, one after the other, and prints a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    parser.add_argument("--fast", action="store_true", help="only a look")
    parser.add_argument("--client", nargs=6, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.client:
        name, url, folder, *counts = options.client
        client = Client(name, url, Load(*map(int, counts)), Path(folder))
        print(json.dumps(dict(client.figures())))
        return
    load = FAST if options.fast else FULL
    figures = {}
    for name in CONTENDERS:
        say(name)
        figures[name] = measured(name, load)
    print(*shown(figures, load), sep="\n")


if __name__ == "__main__":
    main()
