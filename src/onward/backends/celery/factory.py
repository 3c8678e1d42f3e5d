"""`celery()`, which checks the settings and makes the backend."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from onward.backends.celery import urls
from onward.backends.celery.app import make_app, verifying
from onward.backends.celery.backend import CeleryBackend
from onward.backends.celery.client import PublishDeadline, Timeouts, primary_finder
from onward.backends.celery.dead_letters import DeadLetters
from onward.backends.celery.ledger import Ledger
from onward.backends.celery.memory_ledger import MemoryLedger
from onward.backends.celery.redis_ledger import RedisLedger
from onward.backends.celery.result_backend import Results
from onward.backends.celery.signing import Signer
from onward.backends.celery.transport import names_keys
from onward.policy import check_queue, check_seconds
from onward.sealing import sealing

_READDRESSING = {"broker_read_url", "broker_transport", "broker_url", "broker_write_url"}
"""The Celery settings by which messages go to another broker."""


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
        broker_url: The URL of Redis, RabbitMQ or `memory://`, as in Celery. It may also name the
            socket of a Redis (`redis+socket:///run/redis.sock`), or Sentinels separated by `;`
            (`sentinel://one:26379;sentinel://two:26379/0?master_name=mymaster`), or several
            RabbitMQs separated by `;`, of which the first that answers is used.
        result_backend: The Redis that keeps the ledger of calls; the broker's Redis if not given.
        queue: The default queue, for steps that name none.
        keep: How long the outcome of a finished call is kept, in seconds.
        lease: How long a step stays reserved for a worker that does not renew its lease, in
            seconds. A call whose worker died is sent again after about twice this time.
        options: Further Celery settings. They override Onward's.
        signing_keys: Secrets that clients and workers share, each of 32 random bytes or more. The
            first one signs everything that passes through the broker and the ledger. Whatever none
            of them has signed is refused. A key derived from the first one encrypts values of type
            `Secret` (extra `secrets`).
        dead_letters: How many refused messages are kept, in the list `onward:dead_letters` of the
            ledger's Redis. The newest ones are kept, for as long as `keep`.
        connect_timeout: How long a connection to the broker or the ledger may take, in seconds.
        socket_timeout: How long the broker or the ledger may take to answer, in seconds. After
            that the connection counts as broken, and a new one is made.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If an argument is out of range, or there is no Redis for the ledger.
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
    broker_url = verifying(urls.check_url("broker_url", broker_url, at_broker))
    kept_at = verifying(
        urls.check_url("result_backend", result_backend, at_ledger)
        if result_backend
        else broker_url
    )
    if "broker_use_ssl" in settings and urls.is_sentinel(broker_url):
        raise ValueError("broker_use_ssl: TLS is not supported for a Redis behind Sentinel")
    ledger: Ledger
    scheme = urlsplit(kept_at).scheme
    if scheme != "memory" and not urls.is_redis(kept_at):
        raise ValueError(
            f"a {scheme} broker cannot keep the ledger of calls: set result_backend='redis://...'"
        )
    if scheme == "memory" and dead_letters:
        raise ValueError("dead_letters are kept in a Redis, and memory:// has none")
    if scheme == "memory":
        ledger = MemoryLedger(keep)
        settings.setdefault("result_backend", "cache+memory://")
        settings.setdefault("task_ignore_result", False)
    else:
        # The broker and the ledger in one Redis: the ledger can send and acknowledge by itself.
        is_one = kept_at == broker_url and not (
            names_keys(at_broker or ()) or _READDRESSING & set(settings)
        )
        ledger = RedisLedger(kept_at, keep, lease, signer, timeouts, sends=is_one)
        # Celery's result backends name the scheme of a socket differently than its brokers do.
        at = kept_at.removeprefix("redis+") if scheme == urls.SOCKET else kept_at
        if urls.is_sentinel(kept_at):
            at = urls.celery_url(kept_at)
            options_there = {"primary_finder": primary_finder(kept_at, timeouts)}
            settings["result_backend_transport_options"] = {**(at_ledger or {}), **options_there}
        settings.setdefault("result_backend", at)
        settings.setdefault("result_expires", math.ceil(keep))  # for the counters of chords
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
