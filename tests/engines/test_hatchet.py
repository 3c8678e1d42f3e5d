"""Hatchet's engine does what the tests that use it rely on, and leaves nothing behind."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engines.hatchet import TOKEN, Hatchet
from tests.engines.process import Process, living, until
from tests.engines.running import running
from tests.engines.server import HOST

ROOT = Path(__file__).parents[2]

RUN = """
import pathlib, signal, sys
from tests.engines.hatchet import Hatchet

server = Hatchet.start(pathlib.Path(sys.argv[1]))
print(server.pid, *server.ports, flush=True)
signal.pause()
"""

CLIENT = """
import sys

import grpc
from hatchet_sdk import Context, Hatchet
from hatchet_sdk.contracts.v1.workflows_pb2_grpc import AdminServiceStub

async def echo(input: dict, context: Context) -> dict:
    return input

hatchet = Hatchet()
if sys.argv[1] == "submit":
    task = hatchet.task(name="echo", input_validator=dict)(echo)
    admin = AdminServiceStub(grpc.insecure_channel(hatchet.config.host_port))
    token = ("authorization", f"bearer {hatchet.config.token}")
    admin.PutWorkflow(task.to_proto(), metadata=[token])
    print(task.run({"value": 1}, wait_for_result=False))
else:
    details = hatchet.runs.get_details(sys.argv[2])
    print(details.status.value, details.input)
"""
"""In a process of its own, since the SDK takes its configuration from the environment."""

WORKER = """
from hatchet_sdk import Context, Hatchet

async def echo(input: dict, context: Context) -> dict:
    return input

if __name__ == "__main__":
    hatchet = Hatchet()
    task = hatchet.task(name="echo", input_validator=dict)(echo)
    hatchet.worker("worker", workflows=[task]).start()
"""


def client(server: Hatchet, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", CLIENT, *arguments],
        env={**os.environ, **server.client_environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hatchet]:
    yield from running(Hatchet, tmp_path_factory)


@pytest.fixture
def server(started: Hatchet) -> Hatchet:
    return started if started.is_up() else started.restart()


@pytest.mark.long
def test_an_engine_has_after_a_kill_what_was_triggered_before(server: Hatchet) -> None:
    run = client(server, "submit")
    server.kill()
    server.restart()
    assert client(server, "show", run) == "QUEUED {'value': 1}"


@pytest.mark.long
def test_a_restarted_engine_can_take_over_at_once_from_the_killed_one(
    server: Hatchet, tmp_path: Path
) -> None:
    script = tmp_path / "worker.py"
    script.write_text(WORKER)
    run = client(server, "submit")
    server.kill()
    server.restart()
    server.take_over()
    command = [sys.executable, str(script)]
    with Process(command, log=tmp_path / "log", environment=server.client_environment) as worker:
        until(
            lambda: client(server, "show", run) == "COMPLETED {'value': 1}",
            within=45,
            otherwise=worker.tail,
        )


@pytest.mark.long
def test_a_killed_engine_restarts_where_its_clients_look_for_it(server: Hatchet) -> None:
    environment, group = server.client_environment, server.pid
    server.kill()
    assert not living(group)
    assert not server.is_up()
    server.restart()
    assert server.is_up()
    assert server.client_environment == environment


@pytest.mark.long
def test_the_pid_is_that_of_the_engine_itself(server: Hatchet) -> None:
    command = ["ps", "-o", "comm=", "-p", str(server.pid)]
    name = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    assert name == "hatchet-lite"


@pytest.mark.long
def test_a_stopped_engine_has_ended(server: Hatchet) -> None:
    group = server.pid
    server.stop()
    assert not living(group)
    assert not server.is_up()


@pytest.mark.long
def test_a_paused_engine_is_unreachable_until_it_is_resumed(server: Hatchet) -> None:
    server.pause()
    assert not server.is_up()
    server.resume()
    assert server.is_up()


@pytest.mark.long
@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere ports cannot be kept")
def test_nobody_is_given_the_ports_of_an_engine_that_is_down(server: Hatchet) -> None:
    server.kill()
    for port in server.ports:
        with socket.socket() as other, pytest.raises(OSError, match="in use"):
            other.bind((HOST, port))


@pytest.mark.long
def test_two_engines_do_not_meet(server: Hatchet, tmp_path: Path) -> None:
    run = client(server, "submit")
    with Hatchet.start(tmp_path / "other") as other:
        assert client(other, "submit") != run
        server.kill()
        assert other.is_up()


def test_what_needs_an_engine_shares_the_given_one(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytester.makeconftest("from tests.engines.hatchet import hatchet")
    pytester.makepyfile(
        """
        def test_it(hatchet):
            assert hatchet.token == "given"
            assert hatchet.client_environment["HATCHET_CLIENT_HOST_PORT"] == "example.org:7077"
        """
    )
    monkeypatch.setenv("PYTHONPATH", str(ROOT), prepend=os.pathsep)
    monkeypatch.setenv(TOKEN, "given")
    monkeypatch.setenv("HATCHET_CLIENT_HOST_PORT", "example.org:7077")
    pytester.runpytest_subprocess().assert_outcomes(passed=1)


def test_without_an_engine_what_needs_one_is_skipped_with_the_cure(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytester.makeconftest("from tests.engines.hatchet import hatchet")
    pytester.makepyfile("def test_it(hatchet): raise AssertionError")
    monkeypatch.setenv("PYTHONPATH", str(ROOT), prepend=os.pathsep)
    monkeypatch.setenv("PATH", str(pytester.path))
    monkeypatch.delenv(TOKEN, raising=False)
    result = pytester.runpytest_subprocess("-rs")
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(["*Hatchet is not installed: set HATCHET_CLIENT_TOKEN *"])


def test_a_killed_test_run_leaves_no_engine_and_no_database(tmp_path: Path) -> None:
    if reason := Hatchet.missing():
        pytest.skip(reason)
    command = [sys.executable, "-c", RUN, str(tmp_path)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        group, *_ = map(int, process.stdout.readline().split())
        assert group in living(group)
        database = int((tmp_path / "postgresql" / "data" / "postmaster.pid").read_text().split()[0])
        process.send_signal(signal.SIGKILL)
        until(
            lambda: not living(group) and not living(database),
            within=120,
            otherwise=lambda: f"{living(group) | living(database)} live on",
        )
