"""`celery+redis://` and its sisters."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TypedDict, cast
from urllib.parse import SplitResult, urlencode

from onward.backend import Backend
from onward.backend.tls import check_readable
from onward.engines import Engine
from onward.url import parameters, refuse_host, split

_OVER_TLS = ("rediss", "amqps")
_BROKERS = ("redis", "amqp", "memory", *_OVER_TLS)


class _Memory(TypedDict, total=False):
    queue: str


class _Here(_Memory, total=False):
    keep: float


class _Timed(_Here, total=False):
    connect_timeout: float
    socket_timeout: float


class _Plain(_Timed, total=False):
    result_backend: str
    dead_letters: int


class _OverTls(_Plain, total=False):
    ssl_ca_certs: str
    ssl_certfile: str
    ssl_keyfile: str


class Settings(_OverTls, total=False):
    """See `onward.backends.celery.celery`; the `ssl_` files are for the broker."""

    broker_url: str
    signing_keys: str


def _from_url(url: str) -> Settings:
    parts = split(url)
    transport = parts.scheme.partition("+")[2]
    if transport == "memory":
        refuse_host(url)
        said = parameters(url, _Memory)
    else:
        said = parameters(url, _OverTls if transport in _OVER_TLS else _Plain)
    settings = cast(Settings, said)
    settings["broker_url"] = f"{transport}://{parts.netloc}{parts.path}"
    return settings


def _connect(settings: Settings) -> Backend:
    from onward.backends.celery import celery
    from onward.backends.celery.app import verified

    transport, parts = _broker(settings)
    tls = {name: str(file) for name, file in settings.items() if name.startswith("ssl_")}
    if tls and transport not in _OVER_TLS:
        raise ValueError(f"{min(tls)} is for TLS: write rediss:// or amqps://")
    for name, file in tls.items():
        check_readable(name, Path(file))
    options: dict[str, object] = {}
    broker = f"{transport}://{parts.netloc}{parts.path}"
    if transport == "amqps":
        files = {name.removeprefix("ssl_"): file for name, file in tls.items()}
        options["broker_use_ssl"] = verified(broker) | files
    if transport.startswith("redis"):
        query = "&".join(filter(None, (parts.query, urlencode(tls))))
        broker = _redis("broker_url", parts._replace(query=query))
    ledger = settings.get("result_backend")
    keys = settings.get("signing_keys")
    names = {*_Here.__annotations__, "dead_letters"}
    given = {name: what for name, what in settings.items() if name in names}
    return celery(
        broker,
        None if ledger is None else _redis("result_backend", _split("result_backend", ledger)),
        options=options,
        signing_keys=None if keys is None else _keys(keys),
        **cast(_Timed, given),
    )


def _broker(settings: Settings) -> tuple[str, SplitResult]:
    """The transport of the broker, and its URL; raises ValueError for one that goes without."""
    parts = _split("broker_url", settings.get("broker_url", ""))
    transport = "amqp" if parts.scheme == "pyamqp" else parts.scheme
    if not transport and not parts.path:
        raise ValueError("broker_url is missing: it is as redis://localhost:6379/0")
    if transport not in _BROKERS:
        raise ValueError("broker_url is redis://, rediss://, amqp://, amqps:// or memory://")
    if transport.startswith("amqp") and "result_backend" not in settings:
        raise ValueError(
            "RabbitMQ keeps no ledger of calls: add a Redis that does, as its result_backend "
            "(redis://localhost:6379/0)"
        )
    if transport == "memory" and "result_backend" in settings:
        raise ValueError("memory:// keeps its ledger in this process: leave result_backend out")
    if not transport.startswith("redis") and parts.query:
        raise ValueError("broker_url has nothing behind a ? where the broker is no Redis")
    if transport == "memory" and (parts.netloc or parts.path.strip("/")):
        raise ValueError("memory:// is in this process, and has no host")
    return transport, parts


def _split(name: str, url: str) -> SplitResult:
    try:
        return split(url)
    except ValueError as problem:
        raise ValueError(f"{name}: {problem}") from None


def _redis(name: str, parts: SplitResult) -> str:
    """The URL of a Redis as Celery takes it; raises ValueError for another one."""
    if parts.scheme not in ("redis", "rediss"):
        raise ValueError(f"{name} is a Redis: redis://localhost:6379/0, or rediss://")
    if not re.fullmatch(r"/?\d*", parts.path):
        raise ValueError("what follows the host of a Redis is the number of a database, as in /0")
    query = f"?{parts.query}" if parts.query else ""
    return f"{parts.scheme}://{parts.netloc}{parts.path}{query}"


def _keys(said: str) -> list[bytes]:
    return [key.strip().encode() for key in said.split(",") if key.strip()]


ENGINE = Engine(
    Settings,
    _connect,
    _from_url,
    variables={"broker_url": "CELERY_BROKER_URL", "result_backend": "CELERY_RESULT_BACKEND"},
    secrets={"signing_keys": "ONWARD_SIGNING_KEYS"},
)
