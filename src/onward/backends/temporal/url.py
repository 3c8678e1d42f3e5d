"""`temporal://host:port/namespace`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TypedDict, cast
from urllib.parse import unquote

from temporalio.service import TLSConfig

from onward.backends.temporal import TemporalBackend, temporal
from onward.url import parameters, split


class _Plain(TypedDict, total=False):
    task_queue: str
    heartbeat: float


class _Tls(TypedDict, total=False):
    tls: str
    tls_ca: str
    tls_cert: str
    tls_key: str
    tls_server_name: str


class _Known(_Plain, _Tls, total=False):
    pass


def at(url: str) -> TemporalBackend:
    """Temporal, at the host and in the namespace of a URL."""
    parts = split(url)
    said = parameters(url, _Known)
    given = cast(_Plain, {name: what for name, what in said.items() if not name.startswith("tls")})
    if parts.username or parts.password:
        raise ValueError("it has no user and no password: TEMPORAL_API_KEY has an API key")
    return temporal(
        parts.hostname or "localhost",
        parts.port or 7233,
        namespace=unquote(parts.path.strip("/")) or "default",
        tls=_tls(said),
        api_key=os.environ.get("TEMPORAL_API_KEY"),
        **given,
    )


def _tls(said: _Tls) -> bool | TLSConfig | None:
    """Whether to speak TLS, and by which files."""
    is_on = said.get("tls")
    if is_on not in (None, "true", "false"):
        raise ValueError("tls is true or false")
    if not any(name.startswith("tls_") for name in said):
        return None if is_on is None else is_on == "true"
    if is_on == "false":
        raise ValueError("tls is false, and yet there is more of it: leave one of them out")
    return TLSConfig(
        server_root_ca_cert=_contents("tls_ca", said.get("tls_ca")),
        client_cert=_contents("tls_cert", said.get("tls_cert")),
        client_private_key=_contents("tls_key", said.get("tls_key")),
        domain=said.get("tls_server_name"),
    )


def _contents(name: str, file: str | None) -> bytes | None:
    if file is None:
        return None
    try:
        return Path(file).read_bytes()
    except OSError as problem:
        raise ValueError(f"{name}: {file} cannot be read: {problem.strerror}") from None
