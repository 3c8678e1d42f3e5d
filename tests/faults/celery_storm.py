"""Storms over Celery: ours beside plain Celery, on a broker that writes everything to disk."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from celery import chain as chain_of
from celery import chord

from onward.backends.celery import celery
from tests.engines.valkey import Valkey
from tests.faults.plain import SETUPS, app_of
from tests.faults.served import THREADS
from tests.faults.storm import (
    AWAY,
    KILL_ALL,
    KILL_ONE,
    KILL_SERVER,
    NETWORK,
    WIDTH,
    Contender,
    Disruption,
    Engine,
    OnwardClient,
    until_sent,
)
from tests.faults.workers import Workers

PROCESSES = 2


class Durable(Valkey):
    """A Valkey that writes to disk before it acknowledges."""

    def command(self) -> Sequence[str | Path]:
        return [*super().command(), "--appendfsync", "always"]


def onward_workers(
    folder: Path,
    broker: str,
    ledger: str | None = None,
    *,
    workers: int = 2,
    lease: float = 1.0,
    pace: float = 0.0,
    crash: tuple[str, Path] | None = None,
) -> Workers:
    """Workers of ours, which may be made to crash at a point."""
    dying = () if crash is None else (crash[0], str(crash[1]))
    command = [
        "tests.faults.celery_served",
        str(workers),
        str(lease),
        broker,
        ledger or broker,
        *dying,
    ]
    return Workers(command, folder, pace=pace)


class PlainClient:
    """A client in plain Celery, as its users write it."""

    def __init__(self, setup: str, url: str) -> None:
        self._setup, self._url = setup, url
        self._app = app_of(setup, url)
        self._step = self._app.tasks["step"]
        self._add_up = self._app.tasks["add_up"]
        self._sent: dict[str, str] = {}

    def submit(self, n: int, *, is_chain: bool) -> str:
        name = f"{'chain' if is_chain else 'fan-out'}-{n}"
        step, add_up = self._step, self._add_up

        def send() -> str:
            if is_chain:
                line = chain_of(step.s(n, name), step.s(name), step.s(name))
                return str(line.apply_async().id)
            return str(chord([step.s(n, name)] * WIDTH)(add_up.s(name)).id)

        self._sent[name] = until_sent(send)
        return name

    def fill_backlog(self, count: int) -> None:
        with self._app.producer_pool.acquire(block=True) as producer:
            for n in range(count):
                self._step.apply_async((n, "unserved"), queue="unserved", producer=producer)

    def value(self, name: str, timeout: float) -> object:
        end = time.monotonic() + timeout
        while True:
            try:
                meta = self._app.backend.get_task_meta(self._sent[name])
            except RuntimeError:  # "The Celery application must be restarted"
                self._app = app_of(self._setup, self._url)
                meta = {"status": "PENDING"}
            if meta["status"] in ("SUCCESS", "FAILURE"):
                return meta["result"]
            if time.monotonic() >= end:
                return None
            time.sleep(0.05)

    def close(self) -> None:
        self._app.close()


def _plain(setup: str) -> Contender:
    def workers(url: str, folder: Path, pace: float, flag: Path) -> Workers:
        command = ["tests.faults.plain", setup, url, str(PROCESSES * THREADS), str(flag)]
        return Workers(command, folder, pace=pace, ready=" ready.")

    return Contender(lambda url: PlainClient(setup, url), workers)


def _onward(url: str, folder: Path, pace: float, flag: Path) -> Workers:
    return onward_workers(folder, url, workers=PROCESSES, pace=pace, crash=("popped", flag))


CELERY = Engine(
    packages=("celery", "kombu", "redis"),
    server=Durable.start,
    contenders={
        "Onward": Contender(lambda url: OnwardClient(celery(url, lease=1.0)), _onward),
        **{setup: _plain(setup) for setup in SETUPS},
    },
    disruptions={
        "one of the workers is killed": KILL_ONE,
        "all workers are killed": KILL_ALL,
        "the broker is killed": KILL_SERVER,
        "a worker dies between pop and unacked": Disruption(lambda target: target.flag.touch()),
        "the broker is away for 10 s": AWAY,
        **NETWORK,
        "one of the workers is killed, behind 40,000 calls": replace(KILL_ONE, backlog=40_000),
    },
    waits=("one of the workers is killed", "all workers are killed", "the broker is killed"),
)
"""With Celery, one of the workers is a child of the main process; ours have no children."""
