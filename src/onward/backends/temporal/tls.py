"""TLS for the connection, by the files for it."""

from __future__ import annotations

from pathlib import Path

from temporalio.service import TLSConfig


def from_files(
    tls_ca: str | None = None,
    tls_cert: str | None = None,
    tls_key: str | None = None,
    tls_server_name: str | None = None,
) -> TLSConfig:
    """How to speak TLS.

    Args:
        tls_ca: Of the authorities to trust; the system's if not given.
        tls_cert: Of the client's own certificate, where the server asks for one.
        tls_key: Of its key.
        tls_server_name: What the server's certificate says that it is called, if not its host.

    Raises:
        ValueError: If a file cannot be read.
    """
    return TLSConfig(
        server_root_ca_cert=_contents("tls_ca", tls_ca),
        client_cert=_contents("tls_cert", tls_cert),
        client_private_key=_contents("tls_key", tls_key),
        domain=tls_server_name,
    )


def _contents(name: str, file: str | None) -> bytes | None:
    if file is None:
        return None
    try:
        return Path(file).read_bytes()
    except OSError as problem:
        raise ValueError(f"{name}: {file} cannot be read: {problem.strerror}") from None
