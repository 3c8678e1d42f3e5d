"""Storms over Hatchet: ours beside hand-written DAGs."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any, Self

from onward.backend.loop import LoopThread
from tests.engines.hatchet import DurableHatchet
from tests.faults.hatchet_plain import flows
from tests.faults.storm import (
    KILL_ALL,
    KILL_SERVER,
    Contender,
    Disruption,
    Engine,
    OnwardClient,
    frozen,
    until_sent,
)
from tests.faults.workers import Workers
from tests.hatchet.served import backend_on

PROCESSES = 3
LEASE = 15
"""How soon what was lost on its way to a worker is handed out again, in seconds; 60 by default."""
NAMESPACE = "storm"


class Named(DurableHatchet):
    """An engine that the environment names, and that goes on at once after it was killed."""

    client_environment: Any

    def restart(self) -> Self:
        super().restart()
        os.environ.update(self.client_environment)
        self.take_over()
        return self


class PlainClient:
    """What users of the SDK write."""

    def __init__(self) -> None:
        self._thread = LoopThread("plain")
        self._flows = flows()
        self._sent: dict[str, str] = {}

    def submit(self, n: int, *, is_chain: bool) -> str:
        name = f"{'chain' if is_chain else 'fan-out'}-{n}"
        flow = self._flows.chain if is_chain else self._flows.fan_out

        async def send() -> str:
            ref = await flow.aio_run({"n": n, "name": name}, wait_for_result=False)
            return str(ref.workflow_run_id)

        self._sent[name] = until_sent(lambda: self._thread.call(send))
        return name

    def fill_backlog(self, count: int) -> None:
        if count:
            raise NotImplementedError("no row has a backlog on Hatchet")

    def value(self, name: str, timeout: float) -> object:
        end = time.monotonic() + timeout
        last = "third" if name.startswith("chain") else "sum"
        while True:
            found = until_sent(lambda: self._flows.client.runs.get_details(self._sent[name]))
            if found.done:
                task = found.task_runs.get(last)
                return task.output["n"] if task is not None and task.output else found.status
            if time.monotonic() >= end:
                return None
            time.sleep(0.1)

    def close(self) -> None:
        self._thread.close()


class _Given:
    client_environment = os.environ


def _onward(url: str, folder: Path, pace: float, flag: Path) -> Workers:
    command = ["tests.hatchet.worker", str(PROCESSES), NAMESPACE, str(LEASE)]
    return Workers(command, folder, pace=pace)


def _plain(url: str, folder: Path, pace: float, flag: Path) -> Workers:
    return Workers(["tests.faults.hatchet_plain", str(PROCESSES)], folder, pace=pace)


HATCHET = Engine(
    packages=("hatchet-sdk", "grpcio"),
    server=Named.start,
    contenders={
        "Onward": Contender(
            lambda url: OnwardClient(backend_on(_Given(), namespace=NAMESPACE)), _onward
        ),
        "hatchet-sdk": Contender(lambda url: PlainClient(), _plain),
    },
    disruptions={
        # The youngest might not have begun to take work, which on Hatchet takes a moment.
        "one of the workers is killed": Disruption(lambda target: target.workers.kill_oldest()),
        "all workers are killed": KILL_ALL,
        "the engine is killed": KILL_SERVER,
        "the engine answers nothing for 10 s": frozen(10.0),
    },
    waits=("one of the workers is killed", "all workers are killed", "the engine is killed"),
)
