"""The checked and complete settings of a Hatchet backend."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from onward.backends.hatchet.limits import Limits


@dataclass(frozen=True)
class Tls:
    """How the connection to the engine uses TLS.

    Args:
        root_certificates: A file of the trusted authorities; None for the system's.
        certificate: A file of the client's certificate, if the engine requires one.
        key: The file of that certificate's key.
        server_name: The name in the engine's certificate, if it is not the host.
    """

    root_certificates: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    server_name: str | None = None


@dataclass(frozen=True)
class Address:
    """The engine's address, and the token for it.

    Args:
        target: The engine's host and port.
        token: The tenant's token, which is a secret.
        tls: The TLS configuration; None for no TLS.
    """

    target: str
    token: str = field(repr=False)
    tls: Tls | None


@dataclass(frozen=True)
class Settings:
    """The settings of a Hatchet backend.

    Args:
        address: The engine's address.
        server_url: The URL of its HTTP API.
        tenant: The tenant's id.
        prefix: The prefix of the workflows' names.
        queue: The default queue, for steps that name none.
        keep: How long an idempotency key is remembered, in seconds.
        lease: How long a step stays with a worker that does not renew its lease, in seconds.
        limits: The limits of tasks, by the tasks' names.
        undeclared: How long a submission waits for a worker to declare its task, in seconds.
        unserved: How long a step waits for a worker to serve its task again, in seconds.
        holds: How long a worker holds a flow that only waits before it gives it back to the
            engine, in seconds. Most waits that end soon then need no other worker.
    """

    address: Address
    server_url: str
    tenant: str
    prefix: str
    queue: str
    keep: float
    lease: float
    limits: Limits
    undeclared: float
    unserved: float
    holds: float = 5.0
