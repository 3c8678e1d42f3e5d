"""`celery+redis://` and its sisters."""

from __future__ import annotations

import os
import re
from typing import TypedDict, cast
from urllib.parse import urlencode

from onward.backends.celery import CeleryBackend, celery
from onward.backends.celery.app import verified
from onward.url import parameters, refuse_host, split


class _Memory(TypedDict, total=False):
    queue: str


class _Celery(_Memory, total=False):
    result_backend: str
    keep: float


class _CeleryOverTls(_Celery, total=False):
    ssl_ca_certs: str
    ssl_certfile: str
    ssl_keyfile: str


def at(url: str) -> CeleryBackend:
    """Celery, on the broker of a URL."""
    parts = split(url)
    transport = parts.scheme.partition("+")[2]
    if transport == "memory":
        refuse_host(url)
        return celery("memory://", **parameters(url, _Memory), signing_keys=_signing_keys())
    is_rabbitmq = transport in ("amqp", "amqps")
    said = parameters(url, _CeleryOverTls if transport in ("rediss", "amqps") else _Celery)
    tls = {name: value for name, value in said.items() if name.startswith("ssl_")}
    given = cast(_Celery, {name: value for name, value in said.items() if name not in tls})
    broker = f"{transport}://{parts.netloc}{parts.path}"
    if is_rabbitmq and "result_backend" not in given:
        raise ValueError(
            "RabbitMQ keeps no ledger of calls: add a Redis that does, as in "
            "?result_backend=redis://localhost:6379/0"
        )
    options: dict[str, object] = {}
    if transport == "amqps":
        files = {name.removeprefix("ssl_"): file for name, file in tls.items()}
        options["broker_use_ssl"] = verified() | files
    if not is_rabbitmq:
        broker = _redis(f"{broker}?{urlencode(tls)}")
    if "result_backend" in given:
        given["result_backend"] = _redis(given["result_backend"])
    return celery(broker, **given, options=options, signing_keys=_signing_keys())


def _signing_keys() -> list[bytes] | None:
    """What the environment has for keys. A URL has none: it is shown and logged too easily."""
    said = os.environ.get("ONWARD_SIGNING_KEYS")
    if said is None:
        return None
    return [key.strip().encode() for key in said.split(",") if key.strip()]


def _redis(url: str) -> str:
    """The URL of a Redis as Celery takes it; raises ValueError for another one."""
    parts = split(url)
    if parts.scheme not in ("redis", "rediss"):
        raise ValueError("result_backend is a Redis: redis://localhost:6379/0, or rediss://")
    if not re.fullmatch(r"/?\d*", parts.path):
        raise ValueError("what follows the host of a Redis is the number of a database, as in /0")
    return f"{parts.scheme}://{parts.netloc}{parts.path}" + (
        f"?{parts.query}" if parts.query else ""
    )
