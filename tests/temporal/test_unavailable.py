"""Who does not reach the server hears in a plain sentence what happened, where, and what to do."""

import socket
from contextlib import closing

from onward import Unavailable, submit
from onward.backends.temporal import temporal as temporal_at
from tests.engines.server import HOST
from tests.engines.temporal import Temporal
from tests.temporal.served import inc

NOT_PLAIN = ("tonic", "Transport", "Failed client connect", "Os {", "{ kind", "Status {", "\\")


def said(host: str, port: int, *, tls: bool = False) -> str:
    """What a client hears there."""
    with closing(temporal_at(host, port, tls=tls)) as backend:
        fault = submit(inc(1), on=backend).failure()
    assert isinstance(fault, Unavailable)
    assert not [word for word in NOT_PLAIN if word in fault.message]
    return fault.message


def test_it_is_told_that_nobody_listens() -> None:
    with socket.socket() as bound:
        bound.bind((HOST, 0))
        port = bound.getsockname()[1]
        assert said(HOST, port) == (
            f"nothing listens at {HOST}:{port} (Connection refused): "
            "start Temporal there, or correct the host and port"
        )


def test_it_is_told_that_the_host_has_no_address() -> None:
    told = said("temporal.invalid", 7233)
    assert told.startswith("the host of temporal.invalid:7233 is not known (failed to lookup")
    assert told.endswith("): correct its name")


def test_it_is_told_that_tls_is_not_spoken_there(temporal: Temporal) -> None:
    assert said(HOST, temporal.port, tls=True) == (
        f"{HOST}:{temporal.port} speaks no TLS (InvalidContentType): "
        "leave TLS out, or name the port that does"
    )
