"""How the broker, the ledger and the workers are."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping
from importlib.metadata import version
from typing import Any

from kombu import Connection

from onward.backend import Diagnosis, Finding, SeenWorker
from onward.backends.celery.core import Core
from onward.backends.celery.errors import broker_of
from onward.backends.celery.ledger import RedisLedger

_PATIENCE = 1.0
"""How long workers may take to answer, in seconds."""


def look(core: Core, queues: Collection[str]) -> Diagnosis:
    """Looks at all of them; raises what the clients raise where one is not reached."""
    findings = [Finding("SDK", f"celery {version('celery')}, kombu {version('kombu')}")]
    clock = None
    with broker_of(core.app) as broker:
        findings.append(Finding("broker", _broker(broker)))
        if isinstance(core.ledger, RedisLedger):
            before = time.time()
            there = core.ledger.clock()
            clock = there - (before + time.time()) / 2
            findings += _ledger(core.ledger.server())
        findings.append(_signing(core))
        workers = _workers(core, broker)
        served = {queue for worker in workers for queue in worker.queues}
        known = sorted({core.queue, *core.queues, *queues, *served})
        waiting = {queue: _waiting(broker, queue) for queue in known}
    return Diagnosis(core.queue, tuple(findings), workers, waiting, clock)


def _broker(broker: Connection) -> str:
    channel: Any = broker.default_channel
    client: Any = getattr(channel, "client", None)
    if hasattr(client, "info"):
        return _server(client.info())
    said: Mapping[str, object] = getattr(broker.connection, "server_properties", {})
    told = " ".join(str(said[name]) for name in ("product", "version") if name in said)
    return told or f"{broker.transport_cls}, in this process"


def _server(said: Mapping[str, object]) -> str:
    if "valkey_version" in said:
        return f"Valkey {said['valkey_version']}"
    return f"Redis {said.get('redis_version', 'of an unknown version')}"


def _ledger(said: Mapping[str, object]) -> Iterator[Finding]:
    yield Finding("ledger", _server(said))
    policy = str(said.get("maxmemory_policy", "noeviction"))
    if policy != "noeviction":
        yield Finding(
            "ledger",
            f"with maxmemory-policy {policy} it drops calls when its memory is full",
            "set maxmemory-policy noeviction",
            is_wrong=True,
        )
    if said.get("aof_enabled") == 0:
        yield Finding(
            "ledger",
            "it has no append-only file: what is submitted is gone when it dies",
            "set appendonly yes, if calls are to outlive it",
        )


def _signing(core: Core) -> Finding:
    if core.signer is not None:
        return Finding("credentials", "calls are signed, and workers refuse those that are not")
    return Finding(
        "credentials",
        "calls are not signed: whoever can write to the broker can have any task run",
        "set ONWARD_SIGNING_KEYS for clients and workers, if that is more than those meant to",
    )


def _workers(core: Core, broker: Connection) -> tuple[SeenWorker, ...]:
    asked: Any = core.app.control.inspect(timeout=_PATIENCE, connection=broker)
    queues = asked.active_queues() or {}
    tasks = asked.registered() or {}
    return tuple(
        SeenWorker(
            name,
            frozenset(str(queue["name"]) for queue in queues[name]),
            frozenset(map(_name, tasks[name])) - _plumbing(tasks[name]) if name in tasks else None,
        )
        for name in sorted(queues)
    )


def _name(said: str) -> str:
    return said.partition(" ")[0]


def _plumbing(said: Collection[str]) -> set[str]:
    return {name for name in map(_name, said) if name.startswith(("celery.", "onward."))}


def _waiting(broker: Connection, queue: str) -> int:
    channel: Any = broker.channel()
    with channel:
        client = getattr(channel, "client", None)
        if client is not None and hasattr(channel, "priority_steps"):
            keys = [channel._q_for_pri(queue, each) for each in channel.priority_steps]
            return sum(int(client.llen(key)) for key in keys)
        try:
            return int(channel.queue_declare(queue, passive=True).message_count)
        except broker.channel_errors:  # there is no such queue
            return 0
