"""What calls that wait cost on Hatchet: `python -m benchmarks.hatchet_waits [SLEEPERS] [SIGNALS]`.

It starts an engine, a worker of Onward and one of hatchet-sdk, and prints

- how late a sleep ends, and how long it takes from a signal to the outcome of the step after it,
  beside the SDK's durable sleeps and events on the same engine,
- how much processor time the worker, the engine and its PostgreSQL take, and how long a call of one
  step takes, while nothing waits, while calls wait for signals, and while others sleep too.

`python -m benchmarks.hatchet_waits serve NAME` is what its workers run.
"""

from __future__ import annotations

import logging
import os
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from statistics import median
from time import perf_counter, sleep
from typing import Any

from benchmarks.hatchet import environment_backend, step
from onward import Catalog, Signal, awaits, result, run, send, submit, submit_all
from onward import sleep as nap
from onward.backend.loop import LoopThread
from onward.backends.hatchet import HatchetBackend, sdk
from tests.engines.hatchet import Hatchet
from tests.engines.process import until
from tests.engines.worker import WorkerProcess

ONWARD, RAW = "Onward", "hatchet-sdk"
HOUR = 3600.0
IDLE = 20.0
"""For how long processor time is measured, in seconds."""

SETTLES = 60.0
"""How long the engine is left alone before that, in seconds."""

ROUNDS = 100
SHORT, LONG = 2.0, 30.0
"""How long the measured sleeps are, in seconds. The flow of the long one is evicted."""

GO = Signal("go", int)


def cpu(pid: int) -> float:
    """The processor time of a process, and of the children that it has had, in seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / 100


def tree(pid: int) -> float:
    """The processor time of a process and of all below it, in seconds."""
    below = Path(f"/proc/{pid}/task").glob("*/children")
    return cpu(pid) + sum(tree(int(child)) for each in below for child in each.read_text().split())


def idle(pids: dict[str, int]) -> str:
    """The processor time of processes while nothing is due."""
    sleep(SETTLES)
    before = {name: tree(pid) for name, pid in pids.items()}
    sleep(IDLE)
    used = {name: (tree(pid) - before[name]) / IDLE for name, pid in pids.items()}
    return ", ".join(f"{name} {share:.0%}" for name, share in used.items()) + " of one processor"


def p50(work: Callable[[], object], rounds: int = ROUNDS) -> float:
    """The median time of something, in milliseconds."""
    times: list[float] = []
    for _ in range(rounds):
        start = perf_counter()
        work()
        times.append(perf_counter() - start)
    return median(times) * 1000


def shown(times: list[float]) -> str:
    """The median and the maximum of times in seconds."""
    return f"{median(times) * 1000:.0f} ms (at most {max(times) * 1000:.0f})"


def lateness(backend: HatchetBackend, seconds: float) -> float:
    """How late a sleep ends, in seconds; a step before and one after are included."""
    start = perf_counter()
    run((step >> nap(seconds) >> step)(1), on=backend).unwrap()
    return perf_counter() - start - seconds


def signalled(backend: HatchetBackend, pause: float) -> float:
    """How long it takes from a signal to a call's outcome, in seconds."""
    ref = submit((step >> awaits(GO) >> step)(1), on=backend).unwrap()
    sleep(pause)
    start = perf_counter()
    send(ref, GO, 1, on=backend).unwrap()
    result(ref, on=backend).unwrap()
    return perf_counter() - start


def raw_flows(client: Any) -> tuple[Any, Any]:
    """The SDK's durable tasks: one that sleeps, and one that waits for an event."""
    from hatchet_sdk import UserEventCondition

    async def sleeps(given: dict[str, Any], context: Any) -> dict[str, Any]:
        await context.aio_sleep_for(timedelta(seconds=given["seconds"]))
        return {}

    async def waits(given: dict[str, Any], context: Any) -> dict[str, Any]:
        await context.aio_wait_for("go", UserEventCondition(event_key="raw:go"))
        return {}

    named = {"raw-sleep": sleeps, "raw-event": waits}
    first, second = (
        client.durable_task(name=name, input_validator=dict)(function)
        for name, function in named.items()
    )
    return first, second


def raw_lateness(thread: LoopThread, sleeps: Any, seconds: float) -> float:
    start = perf_counter()
    thread.call(lambda: sleeps.aio_run({"seconds": seconds}))
    return perf_counter() - start - seconds


def raw_signalled(thread: LoopThread, client: Any, waits: Any) -> float:
    async def begin() -> Any:
        return await waits.aio_run({}, wait_for_result=False)

    async def end(ref: Any) -> float:
        start = perf_counter()
        await client.event.aio_push("raw:go", {})
        await ref.aio_result()
        return perf_counter() - start

    ref = thread.call(begin)
    sleep(SHORT)
    return thread.call(lambda: end(ref))


def serve(name: str) -> None:
    """Serves until it is stopped."""
    sdk.load()
    if name == ONWARD:
        worker = environment_backend().serve(Catalog(step)).unwrap()
        worker.wait()
        return
    import hatchet_sdk

    logging.getLogger("hatchet").setLevel(logging.ERROR)
    client = hatchet_sdk.Hatchet()
    client.worker("raw-waits", workflows=list(raw_flows(client))).start()


def main(sleepers: int = 2_000, signals: int = 1_000) -> None:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server = stack.enter_context(Hatchet.start(folder / "hatchet"))
        os.environ.update(server.client_environment)
        workers = {
            name: stack.enter_context(
                WorkerProcess.module(
                    "benchmarks.hatchet_waits", "serve", name, log=folder / f"{name}.log"
                )
            )
            for name in (ONWARD, RAW)
        }
        sdk.load()
        import hatchet_sdk

        client = hatchet_sdk.Hatchet()
        sleeps, waits = raw_flows(client)
        backend, thread = environment_backend(), LoopThread("raw")
        stack.callback(backend.close)
        stack.callback(thread.close)
        until(
            lambda: run(step(1), on=backend).value_or(0) == 1,
            within=60,
            otherwise=lambda: "nobody serves",
        )
        pids = {
            "worker": workers[ONWARD].pid,
            "engine": server.pid,
            "PostgreSQL": server.database_pid,
        }
        print(f"a sleep of {SHORT:g} s between two steps ends late by", end=" ")
        print(shown([lateness(backend, SHORT) for _ in range(20)]))
        print(f"a sleep of {LONG:g} s between two steps ends late by", end=" ")
        print(shown([lateness(backend, LONG) for _ in range(3)]))
        late = [raw_lateness(thread, sleeps, SHORT) for _ in range(10)]
        print(f"{RAW}: a durable sleep of {SHORT:g} s ends late by {shown(late)}")
        print("from a signal to the outcome of the step after it:", end=" ")
        print(shown([signalled(backend, 1.0) for _ in range(20)]))
        print("the same, if the flow is evicted:", end=" ")
        print(shown([signalled(backend, 8.0) for _ in range(5)]))
        late = [raw_signalled(thread, client, waits) for _ in range(10)]
        print(f"{RAW}: from an event to the outcome of a durable task: {shown(late)}")

        def one() -> object:
            return run(step(1), on=backend).unwrap()

        print(f"idle: {idle(pids)}; a call of one step takes {p50(one):.0f} ms")
        submit_all([(step >> awaits(GO) >> step)(1) for _ in range(signals)], on=backend).unwrap()
        print(f"beside {signals:,} that wait for a signal: {idle(pids)}; {p50(one):.0f} ms")
        submit_all([(step >> nap(HOUR) >> step)(1) for _ in range(sleepers)], on=backend).unwrap()
        print(f"and {sleepers:,} that sleep: {idle(pids)}; {p50(one):.0f} ms")


if __name__ == "__main__":
    if sys.argv[1:2] == ["serve"]:
        serve(sys.argv[2])
    else:
        main(*map(int, sys.argv[1:]))
