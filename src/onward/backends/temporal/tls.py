"""TLS for the connection, by the files for it."""

from __future__ import annotations

from temporalio.service import TLSConfig

from onward.backend.tls import contents


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
        server_root_ca_cert=contents("tls_ca", tls_ca),
        client_cert=contents("tls_cert", tls_cert),
        client_private_key=contents("tls_key", tls_key),
        domain=tls_server_name,
    )
