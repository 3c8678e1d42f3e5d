"""Storms over Celery with RabbitMQ as its broker, and a ledger that writes everything to disk."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from onward.backends.celery import celery
from tests.engines.rabbitmq import RabbitMQ
from tests.faults.celery_storm import PROCESSES, Durable, onward_workers
from tests.faults.storm import (
    KILL_ALL,
    KILL_ONE,
    KILL_SERVER,
    Contender,
    Disruption,
    Engine,
    OnwardClient,
    Target,
)
from tests.faults.workers import Workers

LEDGER = "?ledger="
"""What precedes the ledger's URL in that of the broker."""


class Pair(RabbitMQ):
    """A RabbitMQ and the ledger beside it."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.ledger = Durable(folder / "ledger")

    @classmethod
    def missing(cls) -> str | None:
        return super().missing() or Durable.missing()

    @property
    def url(self) -> str:
        return f"{super().url}{LEDGER}{self.ledger.url}"

    def restart(self) -> Self:
        if not self.ledger.is_up():
            self.ledger.restart()
        return super().restart()

    def close(self) -> None:
        try:
            super().close()
        finally:
            self.ledger.close()


def _kill_ledger(target: Target) -> None:
    assert isinstance(target.server, Pair)
    target.server.ledger.kill()
    target.server.ledger.restart()


def _client(url: str) -> OnwardClient:
    broker, _, ledger = url.partition(LEDGER)
    return OnwardClient(celery(broker, ledger, lease=1.0))


def _onward(url: str, folder: Path, pace: float, flag: Path) -> Workers:
    broker, _, ledger = url.partition(LEDGER)
    return onward_workers(folder, broker, ledger, workers=PROCESSES, pace=pace)


RABBITMQ = Engine(
    packages=("celery", "kombu", "amqp"),
    server=Pair.start,
    contenders={"Onward": Contender(_client, _onward)},
    disruptions={
        "one of the workers is killed": KILL_ONE,
        "all workers are killed": KILL_ALL,
        "the broker is killed": KILL_SERVER,
        "the ledger is killed": Disruption(_kill_ledger),
    },
    waits=(
        "one of the workers is killed",
        "all workers are killed",
        "the broker is killed",
        "the ledger is killed",
    ),
)
