"""Diagnoses the broker, the ledger and the workers."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from importlib.metadata import version
from typing import Any

from kombu import Connection

from onward.backend import Diagnosis, Finding, SeenWorker
from onward.backends.celery.core import Core
from onward.backends.celery.errors import broker_of
from onward.backends.celery.redis_ledger import RedisLedger

_PATIENCE = 1.0
"""How long workers may take to answer, in seconds."""


def make_diagnosis(core: Core, queues: Collection[str]) -> Diagnosis:
    """Makes a diagnosis; raises one of `NOT_REACHED` if the broker or the ledger is not reached."""
    findings = [Finding("SDK", f"celery {version('celery')}, kombu {version('kombu')}")]
    clock = keeps = None
    with broker_of(core.app) as broker:
        findings.append(Finding("broker", _broker(broker)))
        if isinstance(core.ledger, RedisLedger):
            before = time.time()
            keeps = core.ledger.keep
            there = core.ledger.clock()
            clock = there - (before + time.time()) / 2
            findings += _ledger(core.ledger.server())
        findings.append(_signing(core))
        workers = _workers(core, broker)
        served = {queue for worker in workers for queue in worker.queues}
        known = sorted({core.queue, *core.queues, *queues, *served})
        waiting = {queue: _waiting(broker, queue) for queue in known}
        running = dict.fromkeys(known, 0) | (_running(core, broker) if workers else {})
        oldest = {
            queue: age for queue, age in core.ledger.oldest_sent().items() if waiting.get(queue)
        }
    return Diagnosis(
        core.queue,
        tuple(findings),
        workers,
        waiting,
        clock,
        running=running,
        oldest=oldest,
        keeps=keeps,
    )


def _broker(broker: Connection) -> str:
    channel: Any = broker.default_channel
    client: Any = getattr(channel, "client", None)
    if hasattr(client, "info"):
        return _server(client.info())
    properties: Mapping[str, object] = getattr(broker.connection, "server_properties", {})
    known = [str(properties[name]) for name in ("product", "version") if name in properties]
    return " ".join(known) or f"{broker.transport_cls}, in this process"


def _server(info: Mapping[str, object]) -> str:
    if "valkey_version" in info:
        return f"Valkey {info['valkey_version']}"
    return f"Redis {info.get('redis_version', 'of an unknown version')}"


def _ledger(info: Mapping[str, object]) -> Iterator[Finding]:
    yield Finding("ledger", _server(info))
    policy = str(info.get("maxmemory_policy", "noeviction"))
    if policy != "noeviction":
        yield Finding(
            "ledger",
            f"its maxmemory-policy {policy} deletes calls when the memory is full",
            "set maxmemory-policy noeviction",
            is_wrong=True,
        )
    if info.get("aof_enabled") == 0:
        yield Finding(
            "ledger",
            "it has no append-only file: submitted calls are lost when it crashes",
            "set appendonly yes, if calls must survive that",
        )


def _signing(core: Core) -> Finding:
    if core.signer is not None:
        return Finding("credentials", "calls are signed, and workers refuse those that are not")
    return Finding(
        "credentials",
        "calls are not signed: anyone who can write to the broker can run any task",
        "set ONWARD_SIGNING_KEYS for clients and workers, if others can write to the broker",
    )


def _workers(core: Core, broker: Connection) -> tuple[SeenWorker, ...]:
    inspect: Any = core.app.control.inspect(timeout=_PATIENCE, connection=broker)
    queues = inspect.active_queues() or {}
    tasks = inspect.registered() or {}
    return tuple(
        SeenWorker(
            name,
            frozenset(str(queue["name"]) for queue in queues[name]),
            frozenset(map(_name, tasks[name])) - _internal(tasks[name]) if name in tasks else None,
        )
        for name in sorted(queues)
    )


def _name(registered: str) -> str:
    return registered.partition(" ")[0]


def _internal(registered: Collection[str]) -> set[str]:
    return {name for name in map(_name, registered) if name.startswith(("celery.", "onward."))}


def _waiting(broker: Connection, queue: str) -> int:
    channel: Any = broker.channel()
    with channel:
        client = getattr(channel, "client", None)
        if client is not None and hasattr(channel, "priority_steps"):
            keys = [channel._q_for_pri(queue, each) for each in channel.priority_steps]
            return sum(int(client.llen(key)) for key in keys)
        try:
            return int(channel.queue_declare(queue, passive=True).message_count)
        except broker.channel_errors:  # the queue does not exist
            return 0


def _running(core: Core, broker: Connection) -> dict[str, int]:
    """Counts the messages that the workers are busy with, by queue."""
    inspect: Any = core.app.control.inspect(timeout=_PATIENCE, connection=broker)
    active = [each for found in (inspect.active() or {}).values() for each in found]
    return Counter(str(each["delivery_info"]["routing_key"]) for each in active)
