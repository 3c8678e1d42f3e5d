"""The settings of Hatchet, and how a URL, a file and the environment give them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, TypedDict, cast
from urllib.parse import unquote

from onward.backend import Backend
from onward.engines import Engine
from onward.url import host_and_port, parameters, refuse_user, split

if TYPE_CHECKING:
    from onward.backends.hatchet import Limit, Tls
    from onward.backends.hatchet.limits import Per

_STRATEGIES = {"none": False, "tls": True, "mtls": True}


class _Plain(TypedDict, total=False):
    server_url: str
    queue: str
    keep: float
    lease: float
    undeclared: float
    unserved: float


class _Parameters(_Plain, total=False):
    tls: bool
    tls_ca: str
    tls_cert: str
    tls_key: str
    tls_server_name: str


class _Limit(TypedDict, total=False):
    concurrency: int
    rate: int
    per: str


class Settings(_Parameters, total=False):
    """See `onward.backends.hatchet.hatchet`; `tls_strategy` is the `tls` of Hatchet's own SDKs."""

    token: str
    host_port: str
    namespace: str
    tls_strategy: str
    limits: dict[str, _Limit]


def _from_url(url: str) -> Settings:
    refuse_user(url, "HATCHET_CLIENT_TOKEN has the token")
    parts = split(url)
    settings = cast(Settings, parameters(url, _Parameters))
    if parts.hostname:
        settings["host_port"] = parts.netloc
    if parts.path.strip("/"):
        settings["namespace"] = unquote(parts.path.strip("/"))
    return settings


def _connect(settings: Settings) -> Backend:
    from onward.backends.hatchet import hatchet

    target = settings.get("host_port")
    if target is not None:
        host, port = host_and_port("host_port", target)
        target = f"{host}:{7077 if port is None else port}"
    server = settings.get("server_url")
    if server is not None and "@" in server:
        raise ValueError("server_url must have no user and no password: the token authenticates")
    if server is not None and not server.startswith(("http://", "https://")):
        raise ValueError("server_url is a URL: write https://app.hatchet.run")
    token = settings.get("token", "").strip()
    if not token:
        raise ValueError("token is missing: set HATCHET_CLIENT_TOKEN")
    given = {name: what for name, what in settings.items() if name in _Plain.__annotations__}
    return hatchet(
        token,
        target,
        namespace=settings.get("namespace", ""),
        tls=_tls(settings),
        limits=_limits(settings),
        **cast(_Plain, given),
    )


def _limits(settings: Settings) -> dict[str, Limit]:
    """Makes the limits of tasks."""
    from onward.backends.hatchet import Limit

    limits: dict[str, Limit] = {}
    for task, given in settings.get("limits", {}).items():
        per = cast("Per", given.get("per", "second"))  # Limit checks it
        try:
            limits[task] = Limit(given.get("concurrency"), given.get("rate"), per)
        except ValueError as problem:
            raise ValueError(f"limits of {task}: {problem}") from None
    return limits


def _tls(settings: Settings) -> bool | Tls | None:
    """Makes the setting `tls` from the settings of its files."""
    from onward.backends.hatchet import Tls

    is_on = settings.get("tls")
    strategy = settings.get("tls_strategy")
    ca, certificate, key = (
        _file(settings.get("tls_ca")),
        _file(settings.get("tls_cert")),
        _file(settings.get("tls_key")),
    )
    name = settings.get("tls_server_name")
    if strategy is not None:
        if is_on is not None:
            raise ValueError("tls and tls_strategy are both set: leave one of them out")
        if strategy not in _STRATEGIES:
            raise ValueError(f"tls_strategy is one of {', '.join(_STRATEGIES)}")
        is_on = _STRATEGIES[strategy]
    if (certificate is None) != (key is None) or (strategy == "mtls" and key is None):
        raise ValueError("tls_cert and tls_key go together: set both")
    if not any((ca, certificate, name)):
        return is_on
    if is_on is False:
        raise ValueError("tls is off, but other settings of TLS are set: leave one of them out")
    return Tls(ca, certificate, key, name)


def _file(path: str | None) -> Path | None:
    return None if path is None else Path(path)


ENGINE = Engine(
    Settings,
    _connect,
    _from_url,
    variables={
        "host_port": "HATCHET_CLIENT_HOST_PORT",
        "server_url": "HATCHET_CLIENT_SERVER_URL",
        "namespace": "HATCHET_CLIENT_NAMESPACE",
        "tls_strategy": "HATCHET_CLIENT_TLS_STRATEGY",
        "tls_ca": "HATCHET_CLIENT_TLS_ROOT_CA_FILE",
        "tls_cert": "HATCHET_CLIENT_TLS_CERT_FILE",
        "tls_key": "HATCHET_CLIENT_TLS_KEY_FILE",
        "tls_server_name": "HATCHET_CLIENT_TLS_SERVER_NAME",
    },
    secrets={"token": "HATCHET_CLIENT_TOKEN"},
)
