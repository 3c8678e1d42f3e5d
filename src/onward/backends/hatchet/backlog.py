"""Counts the steps that wait in the engine, and those that run, by action."""

from __future__ import annotations

import contextlib
from datetime import datetime

import msgspec
from msgspec import Struct

from onward.backends.hatchet import names
from onward.backends.hatchet.http_api import HttpApi

RUN = ":run"
"""The suffix that turns a workflow's name into an action's name."""


class Waiting(Struct, frozen=True):
    """The waiting steps of one action.

    Args:
        count: The number of waiting steps.
        aside: The number of those that wait for their rate limit or concurrency limit.
        oldest: When the first of them began to wait, in seconds since 1970.
        running: The number of steps that run.
    """

    count: int
    aside: int = 0
    oldest: float | None = None
    running: int = 0


class _Queued(Struct, frozen=True):
    queues: dict[str, int] | None = None
    oldest: datetime | None = None


class _Running(Struct, frozen=True):
    total: int = 0


class _Stat(Struct, frozen=True):
    queued: _Queued | None = None
    running: _Running | None = None


class _Ready(Struct, frozen=True):
    queues: dict[str, object] = {}


_STATS = msgspec.json.Decoder(dict[str, _Stat])
_READY = msgspec.json.Decoder(_Ready)


async def waiting(http: HttpApi, tenant: str) -> dict[str, Waiting]:
    """Returns the waiting and running steps, by action; empty if the HTTP API does not answer.

    Mailboxes are left out: they wait for a signal, and not for a worker.
    """
    ready: dict[str, object] = {}
    answer = await http.request("GET", f"tenants/{tenant}/step-run-queue-metrics")
    with contextlib.suppress(msgspec.MsgspecError):
        ready = _READY.decode(answer.value_or(b"{}")).queues
    counts = {name: count for name, count in ready.items() if isinstance(count, int)}
    found = {name: Waiting(count) for name, count in counts.items()}
    answer = await http.request("GET", f"tenants/{tenant}/task-stats")
    with contextlib.suppress(msgspec.MsgspecError):
        for task, stat in _STATS.decode(answer.value_or(b"{}")).items():
            queues = (stat.queued and stat.queued.queues) or {}
            running = 0 if stat.running is None else stat.running.total
            if running and not queues:  # the engine counts by task, which an action is named for
                queues = {f"{task}{RUN}": 0}
            for name, count in queues.items():
                before = found.get(name, Waiting(0))
                since = stat.queued.oldest if stat.queued is not None else None
                found[name] = Waiting(
                    max(before.count, count),
                    max(before.aside, count - counts.get(name, 0)),
                    None if since is None else since.timestamp(),
                    running,
                )
    mailbox = names.MAILBOX + RUN
    return {
        name: each
        for name, each in found.items()
        if (each.count or each.running) and not name.endswith(mailbox)
    }
