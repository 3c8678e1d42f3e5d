"""The settings of Celery, and how a URL, a file and the environment give them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TypedDict, cast
from urllib.parse import SplitResult, urlencode

from onward.backend import Backend
from onward.backend.tls import check_readable
from onward.backends.celery.urls import REDIS, SENTINELS, SOCKET
from onward.engines import Engine
from onward.url import parameters, refuse_host, split

_OVER_TLS = ("rediss", "amqps")
_RABBITMQ = ("amqp", "amqps")
_BROKERS = (*REDIS, *_RABBITMQ, "memory")


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


class _Socket(_Plain, total=False):
    virtual_host: int


class _Sentinel(_Plain, total=False):
    master_name: str
    sentinel_username: str
    sentinel_password: str


class _OverTls(_Plain, total=False):
    ssl_ca_certs: str
    ssl_certfile: str
    ssl_keyfile: str


class Settings(_OverTls, total=False):
    """See `onward.backends.celery.celery`; the `ssl_` files are for the broker."""

    broker_url: str
    signing_keys: str


_PARAMETERS: dict[str, type] = {
    "memory": _Memory,
    SOCKET: _Socket,
    **dict.fromkeys(SENTINELS, _Sentinel),
    **dict.fromkeys(_OVER_TLS, _OverTls),
}
"""The parameters that a URL may have, by the broker's scheme; `_Plain` for all others."""


def _from_url(url: str) -> Settings:
    addresses, _, query = url.partition("?")
    first, *others = addresses.split(";")
    parts = split(first)
    transport = parts.scheme.removeprefix("celery+")
    if transport == "memory":
        refuse_host(url)
    known = _PARAMETERS.get(transport, _Plain)
    said = cast(dict[str, object], parameters(f"{first}?{query}", known))
    # A parameter that is not a setting belongs to the broker's own URL.
    own = {name: str(said.pop(name)) for name in [*said] if name not in Settings.__annotations__}
    one = f"{transport}://{parts.netloc}{parts.path}"
    broker = ";".join([one, *(each.removeprefix("celery+") for each in others)]) + (
        f"?{urlencode(own)}" if own else ""
    )
    return cast(Settings, {**said, "broker_url": broker})


def _connect(settings: Settings) -> Backend:
    from onward.backends.celery import celery
    from onward.backends.celery.app import verified

    broker = _broker(settings)
    transport = _transport(broker)
    tls = {name: str(file) for name, file in settings.items() if name.startswith("ssl_")}
    if tls and transport not in _OVER_TLS:
        raise ValueError(f"{min(tls)} is for TLS: write rediss:// or amqps://")
    for name, file in tls.items():
        check_readable(name, Path(file))
    options: dict[str, object] = {}
    if transport == "amqps":
        files = {name.removeprefix("ssl_"): file for name, file in tls.items()}
        options["broker_use_ssl"] = verified(broker) | files
    elif tls:
        broker += f"{'&' if '?' in broker else '?'}{urlencode(tls)}"
    ledger = settings.get("result_backend")
    keys = settings.get("signing_keys")
    names = {*_Timed.__annotations__, "dead_letters"}
    given = {name: what for name, what in settings.items() if name in names}
    return celery(
        broker,
        None if ledger is None else _redis("result_backend", ledger),
        options=options,
        signing_keys=None if keys is None else _keys(keys),
        **cast(_Timed, given),
    )


def _broker(settings: Settings) -> str:
    """Returns the broker's URL in Celery's form; raises ValueError if it is not supported."""
    said = settings.get("broker_url", "")
    if not said:
        raise ValueError("broker_url is missing: set it, for example to redis://localhost:6379/0")
    pieces = [_split("broker_url", each) for each in _pieces(said)]
    transport = _transport(said)
    if transport not in _BROKERS and "cluster" not in transport:
        raise ValueError(
            "broker_url must begin with redis://, rediss://, amqp://, amqps://, sentinel://, "
            "redis+socket:// or memory://"
        )
    if transport in _RABBITMQ and "result_backend" not in settings:
        raise ValueError(
            "RabbitMQ cannot keep the ledger of calls: add a Redis for it, as the result_backend "
            "(redis://localhost:6379/0)"
        )
    if transport == "memory" and "result_backend" in settings:
        raise ValueError("memory:// keeps its ledger in this process: leave result_backend out")
    if transport not in REDIS and any(each.query for each in pieces):
        raise ValueError("broker_url takes parameters behind a ? only for a Redis")
    if transport == "memory" and (pieces[0].netloc or pieces[0].path.strip("/")):
        raise ValueError("memory:// is in this process and has no host: leave the host out")
    if transport in _RABBITMQ:
        return said.replace("pyamqp://", "amqp://")
    return said if transport == "memory" else _redis("broker_url", said)


def _transport(url: str) -> str:
    scheme = _split("broker_url", url.partition("?")[0].partition(";")[0]).scheme
    return "amqp" if scheme == "pyamqp" else scheme


def _pieces(url: str) -> list[str]:
    """Splits several URLs separated by `;`; the last one keeps the query."""
    addresses, mark, query = url.partition("?")
    *others, last = addresses.split(";")
    return [*others, last + mark + query]


def _split(name: str, url: str) -> SplitResult:
    try:
        return split(url)
    except ValueError as problem:
        raise ValueError(f"{name}: {problem}") from None


def _redis(name: str, url: str) -> str:
    """Returns the URL of a Redis in Celery's form; raises ValueError if it is not a Redis."""
    pieces = [_split(name, each) for each in _pieces(url)]
    transport = pieces[0].scheme
    if transport not in REDIS and "cluster" not in transport:
        raise ValueError(
            f"{name} must be a Redis: redis://localhost:6379/0, or rediss://, sentinel:// or "
            "redis+socket://"
        )
    if transport in ("redis", "rediss") and not re.fullmatch(r"/?\d*", pieces[0].path):
        raise ValueError("the path of a Redis URL must be the number of a database, such as /0")
    return url


def _keys(said: str) -> list[bytes]:
    return [key.strip().encode() for key in said.split(",") if key.strip()]


ENGINE = Engine(
    Settings,
    _connect,
    _from_url,
    variables={"broker_url": "CELERY_BROKER_URL", "result_backend": "CELERY_RESULT_BACKEND"},
    secrets={"signing_keys": "ONWARD_SIGNING_KEYS"},
)
