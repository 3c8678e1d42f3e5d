"""If the server is not reached, the fault says plainly what happened, where, and what to do."""

import socket
from contextlib import closing

from onward import Unavailable, submit
from onward.backends.temporal import temporal as temporal_at
from tests.engines.server import HOST
from tests.engines.temporal import Temporal
from tests.temporal.served import inc

NOT_PLAIN = ("tonic", "Transport", "Failed client connect", "Os {", "{ kind", "Status {", "\\")


def message(host: str, port: int, *, tls: bool = False) -> str:
    """The message of the fault that a client gets at this address."""
    with closing(temporal_at(host, port, tls=tls)) as backend:
        fault = submit(inc(1), on=backend).failure()
    assert isinstance(fault, Unavailable)
    assert not [word for word in NOT_PLAIN if word in fault.message]
    return fault.message


def test_nobody_listens() -> None:
    with socket.socket() as bound:
        bound.bind((HOST, 0))
        port = bound.getsockname()[1]
        assert message(HOST, port) == (
            f"nothing listens at {HOST}:{port} (Connection refused): "
            "start Temporal there, or correct the host and port"
        )


def test_the_host_has_no_address() -> None:
    text = message("temporal.invalid", 7233)
    assert text.startswith("the host of temporal.invalid:7233 is not known (failed to lookup")
    assert text.endswith("): correct its name")


def test_the_server_does_not_use_tls(temporal: Temporal) -> None:
    assert message(HOST, temporal.port, tls=True) == (
        f"{HOST}:{temporal.port} does not use TLS (InvalidContentType): "
        "turn TLS off, or name the port that uses it"
    )
