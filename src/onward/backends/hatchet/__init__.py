"""Hatchet: a task is a Hatchet task, a named flow a DAG, and the evaluator runs the rest."""

from __future__ import annotations

import os
import re

from onward.backend.tls import check_readable
from onward.backends.hatchet import names, sdk
from onward.backends.hatchet.backend import HatchetBackend
from onward.backends.hatchet.limits import Limit, Limits, checked
from onward.backends.hatchet.settings import Address, Settings, Tls
from onward.backends.hatchet.token import claims
from onward.policy import check_queue, check_seconds

__all__ = ["HatchetBackend", "Limit", "Tls", "hatchet"]

_MONTH = 30 * 24 * 3600.0
_TARGET = re.compile(r"([^\s:/]+|\[[0-9a-fA-F:]+\]):\d+")
_HERE = re.compile(r"(localhost|127\.[\d.]+|\[::1\]):")


def hatchet(
    token: str | None = None,
    host_port: str | None = None,
    *,
    server_url: str | None = None,
    tls: bool | Tls | None = None,
    namespace: str = "",
    queue: str = "onward",
    keep: float = _MONTH,
    lease: float = 60.0,
    limits: Limits | None = None,
    undeclared: float = 5.0,
    unserved: float = 120.0,
) -> HatchetBackend:
    """A backend that runs flows on Hatchet workers.

    Args:
        token: The tenant's token. The default is the environment's HATCHET_CLIENT_TOKEN.
        host_port: The address of the engine's gRPC, as `localhost:7077`. The default is in the
            token.
        server_url: The URL of its HTTP API, which has schedules and the progress of steps. The
            default is in the token.
        tls: Whether to use TLS, or how. None uses it unless the engine is on this machine.
        namespace: The prefix of its workflows' names, as for Hatchet's own SDKs.
        queue: The queue of steps that name none.
        keep: How long the engine remembers a key, and the finished steps of a flow, in seconds.
        lease: How long a step stays with a worker that does not renew it, in seconds.
        limits: How much of a task runs over all workers, by the tasks' names.
        undeclared: How long a call waits for a worker to declare its task before it is `Unknown`,
            in seconds.
        unserved: How long a step whose task no worker serves any more waits before it is
            `Unknown`, in seconds.

    Raises:
        TypeError: If an argument is of the wrong kind.
        ValueError: If it is out of bounds, or there is no token.
        ModuleNotFoundError: If Hatchet's SDK is not installed.

    Example:
        >>> from onward.backends.hatchet import hatchet
        >>> hatchet("e30.eyJzdWIiOiAiNzA3ZDA4NTUifQ.", "localhost:7077")
        hatchet('localhost:7077')
    """
    sdk.require()
    token = os.environ.get("HATCHET_CLIENT_TOKEN", "") if token is None else token
    texts = (("token", token), ("host_port", host_port), ("server_url", server_url))
    for name, text in (*texts, ("namespace", namespace)):
        if text is not None and not isinstance(text, str):
            raise TypeError(f"{name} must be a str, not {text!r}")
    said = claims(token)
    check_queue(queue)
    bounds = (
        ("keep", keep, 60.0),
        ("lease", lease, 10.0),
        ("undeclared", undeclared, 0.0),
        ("unserved", unserved, 1.0),
    )
    for name, seconds, least in bounds:
        check_seconds(name, seconds, least)
    if namespace and not names.is_allowed(namespace):
        raise ValueError(f"a namespace has only letters, digits, - and _, not {namespace!r}")
    target = host_port or said.grpc_broadcast_address
    if not _TARGET.fullmatch(target):
        raise ValueError("host_port is missing: the token does not name one; write localhost:7077")
    settings = Settings(
        address=Address(target, token, _tls(tls, target)),
        server_url=(server_url or said.server_url).rstrip("/"),
        tenant=said.sub,
        prefix=names.prefix(namespace),
        queue=queue,
        keep=float(keep),
        lease=float(lease),
        limits=checked(limits),
        undeclared=float(undeclared),
        unserved=float(unserved),
    )
    return HatchetBackend(settings, f"hatchet({target!r})")


def _tls(said: bool | Tls | None, target: str) -> Tls | None:
    if said is None:
        said = _HERE.match(target) is None
    if isinstance(said, bool):
        return Tls() if said else None
    if not isinstance(said, Tls):
        raise TypeError(f"tls is True, False or a Tls, not {said!r}")
    # gRPC ends the process if one is given without the other.
    if (said.certificate is None) != (said.key is None):
        raise ValueError("tls: a certificate and its key go together: one of them is missing")
    for file in (said.root_certificates, said.certificate, said.key):
        if file is not None:
            check_readable("tls", file)
    return said
