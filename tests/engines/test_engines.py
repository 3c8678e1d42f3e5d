"""The servers do what the tests that use them rely on, and leave nothing behind."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import amqp
import pytest
from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from tests.engines.process import living, until
from tests.engines.rabbitmq import RabbitMQ
from tests.engines.server import HOST, Server
from tests.engines.temporal import Temporal
from tests.engines.valkey import Valkey

ROOT = Path(__file__).parents[2]

RUN = """
import pathlib, signal, sys
from tests.engines.rabbitmq import RabbitMQ
from tests.engines.temporal import Temporal
from tests.engines.valkey import Valkey

kind, folder, state = sys.argv[1:]
kinds = {"Valkey": Valkey, "RabbitMQ": RabbitMQ, "Temporal": Temporal}
server = kinds[kind].start(pathlib.Path(folder))
if state == "paused":
    server.pause()
print(server.pid, flush=True)
signal.pause()
"""


# RabbitMQ takes ten times as much to start. Tests that use it would show most of what is wrong.
@pytest.fixture(params=[Valkey, pytest.param(RabbitMQ, marks=pytest.mark.long), Temporal])
def kind(request: pytest.FixtureRequest) -> type[Server]:
    kind: type[Server] = request.param
    if reason := kind.missing():
        pytest.skip(reason)
    return kind


@pytest.fixture
def server(kind: type[Server], tmp_path: Path) -> Iterator[Server]:
    with kind.start(tmp_path) as server:
        yield server


def comes_up(server: Server) -> None:
    """Waits until it answers, for which a machine that has much to do may need some time."""
    until(server.is_up, within=120, otherwise=lambda: f"{server} does not answer")


def test_a_killed_server_restarts_at_the_same_url(server: Server) -> None:
    url, group = server.url, server.pid
    server.kill()
    assert not living(group)
    assert not server.is_up()
    server.restart()
    comes_up(server)
    assert server.url == url


def test_the_pid_is_that_of_the_server_itself(server: Server) -> None:
    command = ["ps", "-o", "comm=", "-p", str(server.pid)]
    name = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    names = {Valkey: "valkey-server", RabbitMQ: "beam.smp", Temporal: "temporal"}
    assert Path(name).name == names[type(server)]


def test_a_stopped_server_has_ended_in_good_order(server: Server) -> None:
    group = server.pid
    server.stop()
    assert not living(group)
    assert not server.is_up()
    goodbye = {
        Valkey: "ready to exit, bye bye",
        RabbitMQ: "SIGTERM received - shutting down",
        Temporal: "",  # which says nothing of it unless it is told to: see test_temporal.py
    }
    assert goodbye[type(server)] in server.log.read_text()


def test_a_paused_server_is_unreachable_until_it_is_resumed(server: Server) -> None:
    server.pause()
    assert not server.is_up()
    server.resume()
    comes_up(server)


def test_a_paused_server_can_be_stopped(server: Server) -> None:
    server.pause()
    server.stop()
    assert not server.is_up()


def test_a_server_listens_on_loopback_alone(server: Server) -> None:
    for port in server.ports:
        socket.create_connection((HOST, port)).close()
        # A socket for all addresses would take this one too, for all of 127.0.0.0/8 is here.
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.2", port))


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere ports cannot be kept")
def test_nobody_is_given_the_ports_of_a_server_that_is_down(server: Server) -> None:
    server.kill()
    for port in server.ports:
        with socket.socket() as other, pytest.raises(OSError, match="in use"):
            other.bind((HOST, port))


def test_two_servers_of_a_kind_do_not_meet(kind: type[Server], tmp_path: Path) -> None:
    with kind.start(tmp_path / "one") as one, kind.start(tmp_path / "two") as two:
        assert not {*one.ports} & {*two.ports}
        one.kill()
        comes_up(two)


@pytest.mark.parametrize("state", ["running", "paused"])
def test_a_killed_test_run_leaves_no_server(kind: type[Server], state: str, tmp_path: Path) -> None:
    command = [sys.executable, "-c", RUN, kind.__name__, str(tmp_path), state]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        group = int(process.stdout.readline())
        assert group in living(group)
        process.send_signal(signal.SIGKILL)
        until(lambda: not living(group), within=120, otherwise=lambda: f"{living(group)} live on")


def test_valkey_has_after_a_kill_what_it_acknowledged(tmp_path: Path) -> None:
    with Valkey.start(tmp_path) as server, Redis.from_url(server.url) as client:
        client.set("key", "value")
        server.kill()
        with pytest.raises(RedisConnectionError):
            client.get("key")
        server.restart()
        assert client.get("key") == b"value"


def test_valkey_forgets_all_if_it_is_told_to(tmp_path: Path) -> None:
    server = Valkey.start(tmp_path, append_only=False)
    with server, Redis.from_url(server.url) as client:
        client.set("key", "value")
        server.restart()
        assert client.get("key") is None


@pytest.mark.long
def test_rabbitmq_has_after_a_kill_what_it_confirmed(tmp_path: Path) -> None:
    if reason := RabbitMQ.missing():
        pytest.skip(reason)
    with RabbitMQ.start(tmp_path) as server:
        where = f"{HOST}:{server.port}"
        with amqp.Connection(where, confirm_publish=True) as connection:
            channel = connection.channel()
            channel.queue_declare("queue", durable=True, auto_delete=False)
            persistent = amqp.Message("value", delivery_mode=2)
            channel.basic_publish(persistent, routing_key="queue")
        server.kill()
        server.restart()
        with amqp.Connection(where) as connection:
            message = connection.channel().basic_get("queue")
            assert message is not None
            assert message.body == "value"


def test_a_server_that_does_not_start_shows_its_log(tmp_path: Path) -> None:
    with Valkey.start(tmp_path) as server:
        server.stop()
        manifest = tmp_path / "appendonlydir" / "appendonly.aof.manifest"
        manifest.write_text("no manifest\n")
        with pytest.raises(ChildProcessError, match=r"(?s)ended with 1.*manifest"):
            server.restart()


def test_a_server_that_never_answers_is_ended_and_shows_its_log(tmp_path: Path) -> None:
    class Mute(Valkey):
        patience = 0.5

        def answers(self) -> bool:
            until(self.is_ready, within=120, otherwise=self.log.read_text)
            return False

        def is_ready(self) -> bool:
            return "Ready to accept connections" in self.log.read_text()

    server = Mute(tmp_path)
    with pytest.raises(TimeoutError, match=r"(?s)does not answer.*Ready to accept connections"):
        server.restart()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((HOST, server.port))


def test_what_is_not_installed_is_skipped_with_the_cure(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytester.makeconftest('pytest_plugins = ["tests.engines.fixtures"]')
    pytester.makepyfile("def test_it(rabbitmq): raise AssertionError")
    monkeypatch.setenv("PATH", str(pytester.path))
    monkeypatch.setenv("PYTHONPATH", str(ROOT), prepend=os.pathsep)
    result = pytester.runpytest_subprocess("-rs")
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(["*RabbitMQ is not installed: apt-get install rabbitmq-server"])


def test_a_test_run_shares_one_server(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytester.makeconftest('pytest_plugins = ["tests.engines.fixtures"]')
    pytester.makepyfile(
        """
        seen = set()

        def test_one(valkey):
            seen.add(valkey.url)
            assert valkey.is_up()

        def test_two(valkey):
            assert seen == {valkey.url}
        """
    )
    monkeypatch.setenv("PYTHONPATH", str(ROOT), prepend=os.pathsep)
    pytester.runpytest_subprocess().assert_outcomes(passed=2)
