"""The settings of a Hatchet backend, checked and complete."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from onward.backends.hatchet.limits import Limits


@dataclass(frozen=True)
class Tls:
    """How the connection to the engine uses TLS.

    Args:
        root_certificates: A file of the authorities to trust; the system's if none is given.
        certificate: A file of the client's own certificate, where the engine asks for one.
        key: The file of its key.
        server_name: The name in the engine's certificate, if it is not the host.
    """

    root_certificates: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    server_name: str | None = None


@dataclass(frozen=True)
class Address:
    """Where the engine is, and the token for it.

    Args:
        target: Its host and port.
        token: The secret.
        tls: How the connection uses TLS; None for no TLS.
    """

    target: str
    token: str = field(repr=False)
    tls: Tls | None


@dataclass(frozen=True)
class Settings:
    """What a Hatchet backend was told.

    Args:
        address: Where the engine is.
        server_url: Where its HTTP API is.
        tenant: The tenant's id.
        prefix: The prefix of the workflows' names.
        queue: The queue of steps that name none.
        keep: How long an idempotency key is remembered, in seconds.
        lease: How long a step stays with a worker that does not renew it, in seconds.
        limits: The limits of tasks, by the tasks' names.
        undeclared: How long a submission waits for a worker to declare its task, in seconds.
        unserved: How long a step waits for a worker to serve its task again, in seconds.
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
