"""The Hatchet backend: runs tasks as Hatchet tasks, named flows as DAGs, and all other flows.

The evaluator runs flows that are not DAGs.
"""

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
        token: The tenant's token. The default is the environment variable HATCHET_CLIENT_TOKEN.
        host_port: The address of the engine's gRPC API, such as `localhost:7077`. The default is
            in the token.
        server_url: The URL of the engine's HTTP API, which has schedules and the progress of steps.
            The default is in the token.
        tls: Whether to use TLS, or its configuration; None to use it unless the engine is on this
            machine.
        namespace: The prefix of workflow names, as in Hatchet's own SDKs.
        queue: The default queue, for steps that name none.
        keep: How long the engine remembers a key, and the finished steps of a flow, in seconds.
        lease: How long a step stays with a worker that does not renew its lease, in seconds.
        limits: The limits of tasks over all workers, by the tasks' names.
        undeclared: How long a call waits for a worker to declare its task, in seconds. After that
            it is `Unknown`.
        unserved: How long a step waits if no worker serves its task any more, in seconds. After
            that it is `Unknown`.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If an argument is out of range, or there is no token.
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
    token_claims = claims(token)
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
    target = host_port or token_claims.grpc_broadcast_address
    if not _TARGET.fullmatch(target):
        raise ValueError("host_port is missing: the token does not name one; write localhost:7077")
    settings = Settings(
        address=Address(target, token, _tls(tls, target)),
        server_url=(server_url or token_claims.server_url).rstrip("/"),
        tenant=token_claims.sub,
        prefix=names.prefix(namespace),
        queue=queue,
        keep=float(keep),
        lease=float(lease),
        limits=checked(limits),
        undeclared=float(undeclared),
        unserved=float(unserved),
    )
    return HatchetBackend(settings, f"hatchet({target!r})")


def _tls(tls: bool | Tls | None, target: str) -> Tls | None:
    if tls is None:
        tls = _HERE.match(target) is None
    if isinstance(tls, bool):
        return Tls() if tls else None
    if not isinstance(tls, Tls):
        raise TypeError(f"tls is True, False or a Tls, not {tls!r}")
    # gRPC ends the process if one is given without the other.
    if (tls.certificate is None) != (tls.key is None):
        raise ValueError("tls: a certificate and its key go together: set both")
    for file in (tls.root_certificates, tls.certificate, tls.key):
        if file is not None:
            check_readable("tls", file)
    return tls
