"""The settings of Temporal, and how a URL, a file and the environment give them."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict, cast
from urllib.parse import unquote

from onward.backend import Backend
from onward.backend.tls import check_settings, contents
from onward.engines import Engine
from onward.url import host_and_port, ipv6_in_brackets, parameters, refuse_user, split

if TYPE_CHECKING:
    from temporalio.service import TLSConfig


class _Parameters(TypedDict, total=False):
    task_queue: str
    heartbeat: float
    tls: bool
    tls_ca: str
    tls_cert: str
    tls_key: str
    tls_server_name: str


class Settings(_Parameters, total=False):
    """See `onward.backends.temporal.temporal`; `address` is host and port in one."""

    address: str
    host: str
    port: int
    namespace: str
    api_key: str


def _from_url(url: str) -> Settings:
    refuse_user(url, "TEMPORAL_API_KEY has an API key")
    parts = split(url)
    settings = cast(Settings, parameters(url, _Parameters))
    if parts.hostname:
        settings["address"] = parts.netloc
    elif parts.port is not None:
        settings["port"] = parts.port
    if parts.path.strip("/"):
        settings["namespace"] = unquote(parts.path.strip("/"))
    return settings


class _Plain(TypedDict, total=False):
    namespace: str
    task_queue: str
    heartbeat: float


def _connect(settings: Settings) -> Backend:
    from onward.backends.temporal import temporal

    files = {name: what for name, what in settings.items() if name.startswith("tls_")}
    tls = settings.get("tls")
    check_settings(tls, files)
    host, port = _address(settings)
    given = {name: what for name, what in settings.items() if name in _Plain.__annotations__}
    return temporal(
        host,
        port,
        tls=tls_config(**cast(dict[str, str], files)) if files else tls,
        api_key=settings.get("api_key", "").strip() or None,
        **cast(_Plain, given),
    )


def tls_config(
    tls_ca: str | None = None,
    tls_cert: str | None = None,
    tls_key: str | None = None,
    tls_server_name: str | None = None,
) -> TLSConfig:
    """Makes the SDK's TLS configuration from files.

    Args:
        tls_ca: The file of the trusted authorities; None for the system's.
        tls_cert: The file of the client's certificate, if the server requires one.
        tls_key: The file of that certificate's key.
        tls_server_name: The name in the server's certificate, if it is not the host.

    Raises:
        ValueError: If a file cannot be read.
    """
    from temporalio.service import TLSConfig

    return TLSConfig(
        server_root_ca_cert=contents("tls_ca", tls_ca),
        client_cert=contents("tls_cert", tls_cert),
        client_private_key=contents("tls_key", tls_key),
        domain=tls_server_name,
    )


def _address(settings: Settings) -> tuple[str, int]:
    host, port = settings.get("host", "localhost"), settings.get("port", 7233)
    if "address" in settings:
        if "host" in settings or "port" in settings:
            raise ValueError("address and host or port are both set: leave one of them out")
        host, explicit_port = host_and_port("address", settings["address"])
        return host, 7233 if explicit_port is None else explicit_port
    return ipv6_in_brackets(host), port


ENGINE = Engine(
    Settings,
    _connect,
    _from_url,
    variables={
        "address": "TEMPORAL_ADDRESS",
        "namespace": "TEMPORAL_NAMESPACE",
        "tls": "TEMPORAL_TLS",
        "tls_ca": "TEMPORAL_TLS_SERVER_CA_CERT_PATH",
        "tls_cert": "TEMPORAL_TLS_CLIENT_CERT_PATH",
        "tls_key": "TEMPORAL_TLS_CLIENT_KEY_PATH",
        "tls_server_name": "TEMPORAL_TLS_SERVER_NAME",
    },
    secrets={"api_key": "TEMPORAL_API_KEY"},
)
