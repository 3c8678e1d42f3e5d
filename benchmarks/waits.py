"""What calls that wait cost on Celery: `python -m benchmarks.waits [SLEEPERS] [SIGNALS]`.

It starts a Valkey and a worker of its own, and prints

- how many bytes the ledger takes for a call that sleeps, and how much processor time the worker and
  Valkey take while all of them sleep, beside the same without any,
- how long a call of one step takes while others wait for signals, beside the same without any,
- how long a sleep lasts beyond its time, and how long it takes from a signal to the outcome.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from statistics import median
from time import perf_counter, sleep

from redis import Redis

from benchmarks.served import step
from onward import Signal, awaits, result, run, send, submit, submit_all
from onward import sleep as nap
from onward.backends.celery import celery
from onward.backends.celery.backend import CeleryBackend
from tests.engines.process import until
from tests.engines.valkey import Valkey
from tests.engines.worker import WorkerProcess

HOUR = 3600.0
IDLE = 10.0
"""For how long processor time is measured, in seconds."""

ROUNDS = 200
GO = Signal("go", int)


def cpu(pid: int) -> float:
    """The processor time that a process has used, in seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


def idle(worker: WorkerProcess, server: Valkey) -> str:
    """The processor time of a worker and of Valkey while nothing is due."""
    before = [cpu(pid) for pid in (worker.pid, server.pid)]
    sleep(IDLE)
    used = [cpu(pid) - then for pid, then in zip((worker.pid, server.pid), before, strict=True)]
    return f"worker {used[0] / IDLE:.1%}, Valkey {used[1] / IDLE:.1%} of one processor"


def p50(backend: CeleryBackend) -> float:
    """The median time of a call of one step, in milliseconds."""
    times: list[float] = []
    for _ in range(ROUNDS):
        start = perf_counter()
        run(step(1), on=backend).unwrap()
        times.append(perf_counter() - start)
    return median(times) * 1000


def lateness(backend: CeleryBackend) -> tuple[float, float]:
    """The medians of how late a sleep ends, and how long a signal takes, in milliseconds."""
    late: list[float] = []
    signalled: list[float] = []
    for _ in range(ROUNDS // 10):
        start = perf_counter()
        run((step >> nap(0.2) >> step)(1), on=backend).unwrap()
        late.append(perf_counter() - start - 0.2)
        ref = submit((step >> awaits(GO) >> step)(1), on=backend).unwrap()
        sleep(0.2)  # it waits by then
        start = perf_counter()
        send(ref, GO, 1, on=backend).unwrap()
        result(ref, on=backend).unwrap()
        signalled.append(perf_counter() - start)
    return median(late) * 1000, median(signalled) * 1000


def wait_for_held(redis: Redis, count: int) -> None:
    """Waits until the ledger holds messages of so many calls."""

    def held() -> int:
        sleep(1.0)  # not to disturb the worker
        return sum(1 for _ in redis.scan_iter("onward:*:held", 10_000))

    until(lambda: held() >= count, within=600, otherwise=lambda: f"{held()} of {count} wait")


def main(sleepers: int = 10_000, signals: int = 1_000) -> None:
    with tempfile.TemporaryDirectory() as name, Valkey.start(Path(name)) as server:
        arguments = ("worker", "benchmarks.served", "--on", f"celery+{server.url}")
        log = Path(name) / "worker.log"
        with (
            WorkerProcess.module("onward", *arguments, log=log) as worker,
            Redis.from_url(server.url) as redis,
        ):
            backend = celery(server.url)
            run(step(1), on=backend).unwrap()
            print(f"idle, without waiting calls: {idle(worker, server)}")
            print(f"a call of one step, without waiting calls: {p50(backend):.1f} ms")
            late, signalled = lateness(backend)
            print(f"a step, a sleep and a step take {late:.1f} ms beyond the sleep")
            print(f"from a signal to the outcome of the step after it: {signalled:.1f} ms")
            submit_all([(step >> awaits(GO) >> step)(1) for _ in range(signals)], on=backend)
            wait_for_held(redis, signals)
            print(f"a call of one step, beside {signals:,} that wait: {p50(backend):.1f} ms")
            before = redis.info("memory")["used_memory"]
            start = perf_counter()
            submit_all([(step >> nap(HOUR) >> step)(1) for _ in range(sleepers)], on=backend)
            wait_for_held(redis, signals + sleepers)
            print(f"until {sleepers:,} calls slept: {perf_counter() - start:.0f} s")
            each = (redis.info("memory")["used_memory"] - before) / sleepers
            print(f"memory of a sleeper between two steps: {each:,.0f} bytes")
            sleep(20)  # until the last of their routes has been looked at
            print(f"idle, beside {sleepers:,} sleepers: {idle(worker, server)}")
            backend.close()


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
