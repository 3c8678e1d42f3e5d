"""The proxy fails in the ways that the fault tests rely on."""

import socket
import threading
import time
from collections.abc import Iterator

import pytest

from tests.engines.process import until
from tests.engines.server import HOST
from tests.faults.proxy import Proxy

SOON = 30.0


@pytest.fixture
def echo() -> Iterator[socket.socket]:
    """A server that echoes bytes."""
    with socket.create_server((HOST, 0)) as listening:

        def answer(connection: socket.socket) -> None:
            try:
                with connection:
                    while said := connection.recv(65536):
                        connection.sendall(said)
            except OSError:
                pass

        def accept() -> None:
            while True:
                try:
                    connection, _ = listening.accept()
                except OSError:
                    return
                threading.Thread(target=answer, args=(connection,), daemon=True).start()

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield listening
        listening.shutdown(socket.SHUT_RDWR)
        thread.join(SOON)


@pytest.fixture
def network(echo: socket.socket) -> Iterator[Proxy]:
    with Proxy(echo.getsockname()[1]) as proxy:
        yield proxy


def connected(network: Proxy) -> socket.socket:
    return socket.create_connection((HOST, network.port), timeout=SOON)


def echoed(connection: socket.socket, said: bytes = b"hello") -> bytes:
    connection.sendall(said)
    heard = b""
    while len(heard) < len(said) and (some := connection.recv(65536)):
        heard += some
    return heard


def heard_until_it_ends(connection: socket.socket) -> tuple[bytes, OSError | None]:
    """Reads until the end; returns the bytes and the error, or None after a normal end."""
    heard = b""
    try:
        while some := connection.recv(65536):
            heard += some
    except OSError as end:
        return heard, end
    return heard, None


def test_bytes_are_forwarded(network: Proxy) -> None:
    with connected(network) as one, connected(network) as other:
        assert echoed(one) == b"hello"
        assert echoed(other, b"x" * 1_000_000) == b"x" * 1_000_000
        assert network.open == network.accepted == 2


def test_a_closed_connection_is_closed_on_both_sides(network: Proxy) -> None:
    with connected(network) as one:
        echoed(one)
    until(lambda: network.open == 0, within=SOON, otherwise=lambda: "still open")


def test_dropped_connections_end_and_new_ones_work(network: Proxy) -> None:
    with connected(network) as one, connected(network) as other:
        echoed(one), echoed(other)
        assert network.drop() == 2
        assert one.recv(1) == other.recv(1) == b""
        with connected(network) as another:
            assert echoed(another) == b"hello"


def test_reset_connections_end_with_a_reset(network: Proxy) -> None:
    with connected(network) as one:
        echoed(one)
        assert network.reset() == 1
        with pytest.raises(ConnectionResetError):
            one.recv(1)


def test_a_torn_connection_is_reset_in_the_middle_of_the_next_answer(network: Proxy) -> None:
    with connected(network) as one:
        echoed(one)
        network.tear()
        one.sendall(b"1234")
        heard, end = heard_until_it_ends(one)
        assert b"1234".startswith(heard)
        assert len(heard) < 4
        assert isinstance(end, ConnectionResetError)


def test_swallowed_connections_stay_open_and_dead(network: Proxy) -> None:
    with connected(network) as one:
        echoed(one)
        network.swallow()
        with connected(network) as late:
            for connection in (one, late):
                connection.settimeout(0.2)
                with pytest.raises(TimeoutError):
                    echoed(connection)
            network.heal()
            for connection in (one, late):
                with pytest.raises(TimeoutError):
                    echoed(connection)
            with connected(network) as another:
                assert echoed(another) == b"hello"


def test_latency_applies_each_way_and_not_to_each_chunk(network: Proxy) -> None:
    network.latency = 0.1
    with connected(network) as one:
        start = time.monotonic()
        assert echoed(one, b"x" * 1_000_000) == b"x" * 1_000_000
        assert time.monotonic() - start >= 0.2


def test_a_connection_is_closed_while_the_server_is_away() -> None:
    with socket.socket() as closed:
        closed.bind((HOST, 0))  # nobody listens
        with Proxy(closed.getsockname()[1]) as network, connected(network) as one:
            assert one.recv(1) == b""


def test_a_closed_proxy_accepts_no_connections(network: Proxy) -> None:
    with connected(network) as one:
        echoed(one)
        network.close()
        assert isinstance(heard_until_it_ends(one)[1], ConnectionResetError)
    with pytest.raises(ConnectionRefusedError):
        connected(network)


def test_urls_lead_through_the_proxy(network: Proxy) -> None:
    through = network.url("amqp://guest:guest@127.0.0.1:5672//")
    assert through == f"amqp://guest:guest@127.0.0.1:{network.port}//"
    assert network.url("redis://127.0.0.1:1/9") == f"redis://127.0.0.1:{network.port}/9"
