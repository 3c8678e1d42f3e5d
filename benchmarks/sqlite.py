"""Onward on a SQLite file beside other queues on SQLite, and beside Celery on Valkey.

The others are huey and DBOS, which the library and its tests do without: they get an environment of
their own, in a temporary folder. Each contender has a file, or a database of the one Valkey, a
worker process, and a client process. They go in turn, round after round, and where it is not a
worker's turn, it is halted. Processor times are read from /proc, so this needs Linux.
"""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Self

from benchmarks.report import bar, say
from benchmarks.rounds import measured, medians, shown
from benchmarks.sqlite_contenders import CHAIN, CONTENDERS, ONE, PUT, PUT_ALL, THREADS
from tests.engines.process import until
from tests.engines.valkey import Valkey
from tests.engines.worker import WorkerProcess

ROOT = Path(__file__).parents[1]
SCRIPT = Path(__file__).with_name("sqlite_contenders.py")
PACKAGES = ("onward", "celery", "redis")
ONWARD, CELERY = "Onward", "Celery on Valkey"
RIVALS = {"huey": 4, "huey, looks every 5 ms": 4, "DBOS": 10}
"""Those with an environment of their own, and by how much less work they do in the time."""
PATIENCE = 120.0
"""How long a worker may take for all that it is given, in seconds."""
CALM, IDLE = 8.0, 20.0
"""How long nothing happens before idle workers are watched, and how long they are, in seconds."""

TASK = "One task on SQLite, submitted and waited for"
STEPS = "Three steps on SQLite, submitted and waited for"
ONES = "One task on SQLite, of many that are in the queue"
PROCESSOR = "The worker's processor time on SQLite for one task, of many"
SUBMITS = "Submitting one task on SQLite, of many"

TIMES = {TASK: 100, STEPS: 50, ONES: 2_000, PROCESSOR: 2_000, SUBMITS: 10_000}
"""How many times each is done in a round; a tenth of it where each is submitted by itself."""


class Lane:
    """A contender's worker and client."""

    def __init__(self, name: str, python: str, url: str, folder: Path) -> None:
        self.name = name
        self._place = folder / f"{name.replace(' ', '-').replace(',', '')}.db"
        self._done = Path(f"{self._place}.done")
        self._log = self._place.with_suffix(".log")
        # Without the folder of the script, in which a file of ours is named like a package.
        self._command = [python, "-P", str(SCRIPT), name]
        self._arguments = [url, str(self._place)]
        self._client = subprocess.Popen(
            [*self._command, "client", *self._arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=folder,
        )
        self.can = self._said().split()
        self._worker = WorkerProcess(
            [*self._command, "worker", *self._arguments], log=self._log, folder=folder
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._worker.close()
        with self._client as client:
            client.kill()

    def _said(self) -> str:
        assert self._client.stdout is not None
        line = self._client.stdout.readline()
        if not line:
            raise ChildProcessError(f"the client of {self.name} has ended")
        return line

    def do(self, what: str, times: int) -> float:
        """How many seconds it takes the client."""
        assert self._client.stdin is not None
        print(what, times, file=self._client.stdin, flush=True)
        seconds, _ = self._said().split()
        return float(seconds)

    def spent(self) -> float:
        """The worker's processor time until now, in seconds."""
        fields = Path(f"/proc/{self._worker.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def in_turn(self, what: str, times: int) -> list[float]:
        """One call after the other, each waited for."""
        with self.working():
            return [self.do(what, 1) for _ in range(times)]

    def client_alone(self, what: str, times: int) -> list[float]:
        """The client; the time for each call. They are then worked off."""
        seconds = self.do(what, times)
        self._drain()
        return [seconds / times]

    def worker_alone(self, times: int) -> tuple[float, float]:
        """The worker on calls that are all there already: time and processor time for each."""
        self.do(PUT_ALL if PUT_ALL in self.can else PUT, times)
        before, start = self.spent(), time.perf_counter()
        self._drain()
        return (time.perf_counter() - start) / times, (self.spent() - before) / times

    def _drain(self) -> None:
        with self.working():
            until(self._done.exists, within=PATIENCE, otherwise=self._worker.tail)
        self._done.unlink()

    @contextmanager
    def working(self) -> Iterator[None]:
        """Lets the worker work."""
        self._worker.resume()
        yield
        self._worker.pause()
        while self._is_locked():  # or its client would wait for the halted worker
            self._worker.resume()
            time.sleep(0.01)
            self._worker.pause()

    def _is_locked(self) -> bool:
        """Whether the worker has its file locked just now."""
        if not self._place.exists():
            return False
        with closing(sqlite3.connect(self._place, timeout=0, isolation_level=None)) as db:
            try:
                db.execute("begin immediate")
            except sqlite3.OperationalError:
                return True
            return False


class Row(NamedTuple):
    """A row of a table: who does it, and how."""

    table: str
    name: str
    lane: Lane
    what: str

    def time(self, share: int) -> list[float]:
        """How many seconds it takes, in a round with so small a share of the work."""
        slow = RIVALS.get(self.lane.name, 1)
        times = max(TIMES[self.table] // share // slow, 1)
        match self.table:
            case str(table) if table in (TASK, STEPS):
                return self.lane.in_turn(self.what, times)
            case str(table) if table == SUBMITS:
                few = times // 10 if self.what == PUT else times
                return self.lane.client_alone(self.what, few)
            case str(table) if table == ONES:
                return [self.lane.worker_alone(times)[0]]
            case _:
                return [self.lane.worker_alone(times)[1]]


def _rows(lanes: list[Lane]) -> Iterator[Row]:
    for table, what in ((TASK, ONE), (STEPS, CHAIN), (ONES, PUT), (PROCESSOR, PUT)):
        for lane in lanes:
            yield Row(table, lane.name, lane, what)
    names = {ONWARD: "submit_all", "Onward on Celery": "submit_all", CELERY: "in a batch"}
    for lane in lanes:
        yield Row(SUBMITS, lane.name, lane, PUT)
        if PUT_ALL in lane.can:
            yield Row(SUBMITS, f"{lane.name}: {names[lane.name]}", lane, PUT_ALL)


def _environment(folder: Path) -> str:
    """An interpreter that has the other queues on SQLite."""
    say("an environment for the others")
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    python = str(folder / "bin/python")
    lock = str(ROOT / "requirements/rivals.txt")
    subprocess.run(
        [python, "-m", "pip", "install", "--quiet", "--require-hashes", "-r", lock], check=True
    )
    return python


def measure(*, fast: bool) -> Any:
    """Measures, and prints the tables and how the bars stand; gives all values."""
    rounds, share = (1, 5) if fast else (7, 1)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server = stack.enter_context(Valkey.start(folder / "valkey")).url.removesuffix("/0")
        rivals = _environment(folder / "rivals")
        lanes = [
            stack.enter_context(
                Lane(name, rivals if name in RIVALS else sys.executable, f"{server}/{n}", folder)
            )
            for n, name in enumerate(CONTENDERS)
        ]
        values = measured(list(_rows(lanes)), rounds, share)
        say("idle workers")
        idle = _idle(lanes, CALM, IDLE / share)

    about = f"medians of {rounds} rounds; each worker has {THREADS} threads."
    suite = shown(values, PACKAGES, about)
    for name, part in idle.items():
        print(f"An idle worker takes {part:.2%} of a core: {name}")
    print(*_bars(medians(values), idle), sep="\n")
    return suite


def _idle(lanes: list[Lane], calm: float, seconds: float) -> dict[str, float]:
    """Which part of a core idle workers take."""
    with ExitStack() as stack:
        for lane in lanes:
            stack.enter_context(lane.working())
        time.sleep(calm)
        before = [lane.spent() for lane in lanes]
        time.sleep(seconds)
        return {
            lane.name: (lane.spent() - spent) / seconds
            for lane, spent in zip(lanes, before, strict=True)
        }


def _bars(took: Mapping[tuple[str, str], float], idle: Mapping[str, float]) -> Iterator[str]:
    """How the bars stand in this run."""

    def ratio(table: str, other: str) -> float:
        return took[table, other] / took[table, ONWARD]

    share = 1 / ratio(PROCESSOR, CELERY)
    yield bar(share <= 0.2, f"the worker's processor time is {share:.2f} of Celery's; at most 0.2")
    for other, least in (("huey", 2), ("huey, looks every 5 ms", 2), ("DBOS", 10)):
        times = ratio(ONES, other)
        yield bar(times >= least, f"{ONES}: {times:.1f} times as fast as {other}; at least {least}")
    one, times = took[TASK, ONWARD] * 1e3, 1 / ratio(TASK, CELERY)
    yield bar(one <= 8, f"{TASK}: {one:.1f} ms; at most 8")
    yield bar(times <= 2, f"{TASK}: {times:.2f} times as long as {CELERY}; at most 2")
    rate = 1 / took[SUBMITS, f"{ONWARD}: submit_all"]
    yield bar(rate >= 50_000, f"submit_all: {rate:,.0f} in a second; at least 50,000")
    yield bar(idle[ONWARD] <= 0.015, f"an idle worker: {idle[ONWARD]:.2%} of a core; at most 1.5%")
