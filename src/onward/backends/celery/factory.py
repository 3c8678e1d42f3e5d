"""Makes a backend from its settings."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from onward.backends.celery import address
from onward.backends.celery.app import make_app, verifying
from onward.backends.celery.backend import CeleryBackend
from onward.backends.celery.client import PublishDeadline, Timeouts, primary_at
from onward.backends.celery.ledger import Ledger, RedisLedger
from onward.backends.celery.memory import MemoryLedger
from onward.backends.celery.refused import DeadLetters
from onward.backends.celery.results import Results
from onward.backends.celery.signing import Signer
from onward.policy import check_queue, check_seconds
from onward.sealing import sealing


def celery(
    broker_url: str,
    result_backend: str | None = None,
    *,
    queue: str = "onward",
    keep: float = 24 * 3600.0,
    lease: float = 10.0,
    options: dict[str, Any] | None = None,
    signing_keys: Sequence[bytes] | None = None,
    dead_letters: int = 0,
    connect_timeout: float = 5.0,
    socket_timeout: float = 5.0,
) -> CeleryBackend:
    """A backend that runs flows on Celery workers.

    Args:
        broker_url: Redis, RabbitMQ or `memory://`, as Celery writes it: also the socket of a Redis
            (`redis+socket:///run/redis.sock`), the Sentinels of one, with `;` between them
            (`sentinel://one:26379;sentinel://two:26379/0?master_name=mymaster`), and several
            RabbitMQs with `;` between them, of which one that answers is taken.
        result_backend: The Redis that keeps the ledger of calls; the broker's if not given.
        queue: The queue of steps that name none.
        keep: How long the outcome of a finished call can be had by its ref, in seconds.
        lease: How long a step belongs to a worker that does not renew it, in seconds. A call whose
            worker died is sent again after about twice as long.
        options: Further Celery settings, which go before ours.
        signing_keys: Secrets that clients and workers share, of 32 random bytes or more: what
            passes through the broker and the ledger is signed with the first, and refused unless
            one of them signed it. Secrets are encrypted with a key that is made of the first
            (extra `secrets`).
        dead_letters: How many of the messages that a worker refuses are kept, in the list
            `onward:dead_letters` of the ledger's Redis: the newest ones, for as long as `keep`.
        connect_timeout: How long the broker and the ledger may take to let a client or a worker
            connect, in seconds.
        socket_timeout: How long they may take to answer, in seconds, before the connection counts
            as broken and another one is tried.

    Raises:
        TypeError: If an argument is of the wrong kind.
        ValueError: If it is out of bounds, or there is no Redis to keep the ledger in.
    """
    check_queue(queue)
    for name, seconds, least in (
        ("keep", keep, 1.0),
        ("lease", lease, 1.0),
        ("connect_timeout", connect_timeout, 0.1),
        ("socket_timeout", socket_timeout, 0.1),
    ):
        check_seconds(name, seconds, least)
    if isinstance(dead_letters, bool) or not isinstance(dead_letters, int):
        raise TypeError(f"dead_letters is a number of messages, not {dead_letters!r}")
    if dead_letters < 0:
        raise ValueError(f"dead_letters is a number of messages from 0 up, not {dead_letters}")
    timeouts = Timeouts(float(connect_timeout), float(socket_timeout))
    signer = None if signing_keys is None else Signer(signing_keys)
    settings = dict(options or {})
    at_broker = settings.get("broker_transport_options")
    at_ledger = settings.get("result_backend_transport_options", at_broker)
    broker_url = verifying(address.checked("broker_url", broker_url, at_broker))
    kept_at = verifying(
        address.checked("result_backend", result_backend, at_ledger)
        if result_backend
        else broker_url
    )
    if "broker_use_ssl" in settings and address.is_sentinel(broker_url):
        raise ValueError("broker_use_ssl: a Redis behind Sentinel is not reached over TLS")
    ledger: Ledger
    scheme = urlsplit(kept_at).scheme
    if scheme != "memory" and not address.is_redis(kept_at):
        raise ValueError(
            f"a {scheme} broker keeps no ledger of calls: give result_backend='redis://...'"
        )
    if scheme == "memory" and dead_letters:
        raise ValueError("dead_letters are kept in a Redis, and memory:// has none")
    if scheme == "memory":
        ledger = MemoryLedger(keep)
        settings.setdefault("result_backend", "cache+memory://")
        settings.setdefault("task_ignore_result", False)
    else:
        ledger = RedisLedger(kept_at, keep, lease, signer, timeouts)
        # Celery's results know a socket by another name than its brokers do.
        at = kept_at.removeprefix("redis+") if scheme == address.SOCKET else kept_at
        if address.is_sentinel(kept_at):
            at = address.of_celery(kept_at)
            options_there = {"primary": primary_at(kept_at, timeouts)}
            settings["result_backend_transport_options"] = {**(at_ledger or {}), **options_there}
        settings.setdefault("result_backend", at)
        settings.setdefault("result_expires", math.ceil(keep))  # which counts branches of fan-outs
    publish_deadline = PublishDeadline()
    app = make_app(
        broker_url,
        queue=queue,
        options=settings,
        timeouts=timeouts,
        publish_deadline=publish_deadline,
    )
    if scheme != "memory":
        app.backend_cls = f"{Results.__module__}:{Results.__name__}+{app.conf.result_backend}"
    text = f"celery({urlsplit(broker_url).scheme}://...)"
    backend = CeleryBackend(app, ledger, queue, lease, text, signer, timeouts, publish_deadline)
    if dead_letters:
        backend.dead_letters = DeadLetters(kept_at, timeouts, most=dead_letters, keep=keep)
    return backend if signing_keys is None else sealing(backend, signing_keys)
