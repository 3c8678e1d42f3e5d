"""What a worker reports of its health: on a port, and to systemd."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import subprocess
import sys
import threading
from collections.abc import Collection, Iterator
from contextlib import closing, contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest
from returns.result import Failure, Result, Success

from onward import (
    Catalog,
    Fault,
    Health,
    Misconfigured,
    Unavailable,
    aio,
    local,
    submit,
    task,
    work,
)
from onward.backend import Hearing, Hears, Worker
from onward.backends.sqlite import sqlite
from tests.engines.process import until

SOON = 30.0


@task
def double(n: int) -> int:
    if n < 0:
        raise ValueError("it is negative")
    return 2 * n


@task
def refuse(n: int) -> Result[int, str]:
    return Failure(f"no {n}")


catalog = Catalog(double, refuse)


class Ears:
    """A worker that hears what the test says."""

    def __init__(self) -> None:
        self.silent = 0.0
        self.stopped = threading.Event()
        self.may_stop = threading.Event()
        self.may_stop.set()

    def stop(self, grace: float = 30.0) -> None:
        self.may_stop.wait(SOON)
        self.stopped.set()

    def wait(self, timeout: float | None = None) -> bool:
        return self.stopped.wait(timeout)

    def hearing(self) -> Hearing | None:
        return Hearing(self.silent, limit=15.0, slots=4)


class Deaf:
    """A worker of an engine that cannot tell."""

    def __init__(self) -> None:
        self.stopped = threading.Event()

    def stop(self, grace: float = 30.0) -> None:
        self.stopped.set()

    def wait(self, timeout: float | None = None) -> bool:
        return self.stopped.wait(timeout)


class Engine:
    """A backend with only `serve`, which waits until it may."""

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self.may_serve = threading.Event()

    def submit(self, *_: object) -> Any:
        raise NotImplementedError

    def serve(
        self,
        _: Catalog,
        /,
        *,
        concurrency: int | None = None,
        queues: Collection[str] | None = None,
    ) -> Result[Worker, Fault]:
        self.may_serve.wait(SOON)
        return Success(self.worker)


class Served:
    """A worker that is served on a thread, and its pages."""

    def __init__(self, port: int) -> None:
        self.port = port

    def get(self, path: str, method: str = "GET") -> tuple[int, str]:
        asking = HTTPConnection("127.0.0.1", self.port, timeout=SOON)
        asking.request(method, path)
        answer = asking.getresponse()
        text = answer.read().decode()
        asking.close()
        return answer.status, text

    def state(self, path: str) -> tuple[int, str]:
        status, text = self.get(path)
        return status, json.loads(text)["state"]

    def becomes(self, path: str, status: int, state: str) -> None:
        until(
            lambda: self.state(path) == (status, state),
            within=SOON,
            otherwise=lambda: f"{path} answers {self.state(path)}",
        )


@contextmanager
def serving(on: Any, caplog: pytest.LogCaptureFixture, deaf: float = 120.0) -> Iterator[Served]:
    stop = threading.Event()
    with caplog.at_level(logging.INFO, "onward.health"):
        thread = threading.Thread(
            target=work,
            args=(catalog, on),
            kwargs={"health": Health(port=0, deaf=deaf), "stop": stop},
        )
        thread.start()
        try:
            until(
                lambda: "health is at" in caplog.text,
                within=SOON,
                otherwise=lambda: caplog.text,
            )
            yield Served(int(caplog.text.partition("127.0.0.1:")[2].partition(":")[0]))
        finally:
            stop.set()
            thread.join(SOON)
    assert not thread.is_alive()


def test_a_worker_is_live_while_it_starts_and_ready_once_it_serves(
    caplog: pytest.LogCaptureFixture,
) -> None:
    engine = Engine(Ears())
    with serving(engine, caplog) as served:
        assert served.state("/live") == (200, "starting")
        assert served.state("/ready") == (503, "starting")
        engine.may_serve.set()
        served.becomes("/ready", 200, "ready")
        assert served.state("/live") == (200, "ready")


def test_a_deaf_worker_is_not_ready_at_once_and_not_live_after_a_while(
    caplog: pytest.LogCaptureFixture,
) -> None:
    ears = Ears()
    engine = Engine(ears)
    engine.may_serve.set()
    with serving(engine, caplog, deaf=60.0) as served:
        served.becomes("/ready", 200, "ready")
        ears.silent = 16.0
        served.becomes("/ready", 503, "deaf")
        assert served.state("/live") == (200, "deaf")
        assert "the worker is deaf: it has heard nothing from its engine for 16 s" in caplog.text
        ears.silent = 61.0
        served.becomes("/live", 503, "deaf")
        ears.silent = 0.0
        served.becomes("/ready", 200, "ready")
        assert served.state("/live") == (200, "ready")
        assert "the worker hears its engine again" in caplog.text


def test_a_worker_of_an_engine_that_cannot_tell_is_ready(caplog: pytest.LogCaptureFixture) -> None:
    engine = Engine(Deaf())
    engine.may_serve.set()
    assert not isinstance(engine.worker, Hears)
    with serving(engine, caplog) as served:
        served.becomes("/ready", 200, "ready")
        assert "silent" not in served.get("/metrics")[1]


def test_a_worker_that_stops_is_not_ready_and_still_live(caplog: pytest.LogCaptureFixture) -> None:
    ears = Ears()
    ears.may_stop.clear()
    engine = Engine(ears)
    engine.may_serve.set()
    stop = threading.Event()
    with caplog.at_level(logging.INFO, "onward.health"):
        backend: Any = engine
        ends = threading.Thread(
            target=work, args=(catalog, backend), kwargs={"health": Health(port=0), "stop": stop}
        )
        ends.start()
        until(lambda: "health is at" in caplog.text, within=SOON, otherwise=lambda: caplog.text)
        served = Served(int(caplog.text.partition("127.0.0.1:")[2].partition(":")[0]))
        served.becomes("/ready", 200, "ready")
        stop.set()
        served.becomes("/ready", 503, "stopping")
        assert served.state("/live") == (200, "stopping")
        ears.may_stop.set()
        ends.join(SOON)
    with pytest.raises(ConnectionRefusedError):
        served.get("/live")


def test_metrics_count_and_time_steps_by_task_and_outcome(
    caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    with closing(sqlite(tmp_path / "calls.db")) as backend, serving(backend, caplog) as served:
        served.becomes("/ready", 200, "ready")
        for call in (double(1), double(2), double(-1), refuse(3)):
            ref: Any = submit(call, on=backend).unwrap()
            assert backend.outcome(ref.id).unwrap() is not None

        def is_counted() -> bool:
            text = served.get("/metrics")[1]
            return all(
                line in text.splitlines()
                for line in (
                    'onward_steps_begun_total{task="double"} 3.0',
                    'onward_steps_ended_total{outcome="value",task="double"} 2.0',
                    'onward_steps_ended_total{outcome="Raised",task="double"} 1.0',
                    'onward_steps_ended_total{outcome="error",task="refuse"} 1.0',
                    'onward_steps_running{task="double"} 0.0',
                    'onward_step_duration_seconds_count{task="double"} 3.0',
                    "onward_worker_ready 1.0",
                    "onward_worker_live 1.0",
                )
            )

        until(is_counted, within=SOON, otherwise=lambda: served.get("/metrics")[1])
        status, text = served.get("/metrics", "HEAD")
        assert (status, text) == (200, "")
        assert served.get("/else") == (404, "there are /live, /ready, /metrics\n")


def test_a_port_that_is_taken_is_a_fault() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        failed = work(catalog, on=local(), health=Health(port)).failure()
    assert isinstance(failed, Misconfigured)
    assert f"port {port} of 127.0.0.1 cannot be listened on" in failed.message


def test_a_worker_that_cannot_be_served_frees_its_port() -> None:
    class Away(Engine):
        def serve(self, _: Catalog, /, **__: object) -> Result[Worker, Fault]:
            return Failure(Unavailable("", "it is away"))

    with socket.create_server(("127.0.0.1", 0)) as found:
        port = found.getsockname()[1]
    backend: Any = Away(Deaf())
    for _ in range(2):
        assert isinstance(work(catalog, on=backend, health=Health(port)).failure(), Unavailable)


def test_aio_work_reports_health_too(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        stop = asyncio.Event()
        with caplog.at_level(logging.INFO, "onward.health"):
            working = asyncio.create_task(
                aio.work(catalog, on=local(), health=Health(port=0), stop=stop)
            )
            await asyncio.to_thread(
                until,
                lambda: "health is at" in caplog.text,
                within=SOON,
                otherwise=lambda: caplog.text,
            )
            served = Served(int(caplog.text.partition("127.0.0.1:")[2].partition(":")[0]))
            await asyncio.to_thread(served.becomes, "/ready", 200, "ready")
            stop.set()
            assert await working == Success(None)

    asyncio.run(main())


def test_systemd_is_told_that_it_is_ready_alive_and_stopping(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.settimeout(SOON)
        listening.bind(str(tmp_path / "notify"))
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        monkeypatch.setenv("WATCHDOG_USEC", "300000")
        ears = Ears()
        engine: Any = Engine(ears)
        engine.may_serve.set()
        stop = threading.Event()
        thread = threading.Thread(
            target=work, args=(catalog, engine), kwargs={"health": Health(deaf=20), "stop": stop}
        )
        thread.start()
        assert listening.recv(1000).decode().splitlines() == [
            "WATCHDOG=1",
            "STATUS=ready",
            "READY=1",
        ]
        assert listening.recv(1000) == b"WATCHDOG=1"
        ears.silent = 21.0
        while (told := listening.recv(1000)) == b"WATCHDOG=1":
            pass
        assert told == b"STATUS=deaf"  # and no more: its watchdog runs out
        stop.set()
        assert listening.recv(1000).decode().splitlines() == [
            "WATCHDOG=1",
            "STATUS=stopping",
            "STOPPING=1",
        ]
        thread.join(SOON)


def test_no_metrics_without_their_library_and_a_clear_message() -> None:
    program = """
import sys
sys.modules["prometheus_client"] = None
import logging, threading, urllib.error, urllib.request
from onward import Catalog, Health, local, task
from onward.health.watching import Watching
logging.basicConfig(level="INFO", format="%(message)s", stream=sys.stdout)
watching = Watching(Health(port=0), ())
try:
    urllib.request.urlopen(watching._server.url + "/metrics")
except urllib.error.HTTPError as answer:
    print(answer.code, answer.read().decode())
print(urllib.request.urlopen(watching._server.url + "/live").status)
watching.close()
"""
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=240, check=True
    )
    message = 'the metrics need prometheus-client: pip install "onward[metrics]"'
    assert f"501 {message}\n" in ran.stdout
    assert ran.stdout.endswith("200\n")


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"port": "80"}, TypeError, "port is a whole number, not '80'"),
        ({"port": True}, TypeError, "port is a whole number, not True"),
        ({"port": 70_000}, ValueError, "port is between 0 and 65535, not 70000"),
        ({"host": 1}, TypeError, "host is a str, not 1"),
        ({"host": ""}, ValueError, "host is empty"),
        ({"deaf": "1"}, TypeError, "deaf is a number of seconds, not '1'"),
        ({"deaf": 0}, ValueError, "deaf is a number of seconds above 0, not 0"),
    ],
)
def test_a_wrong_health_is_refused_where_it_stands(
    options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        Health(**options)


def test_health_must_be_a_health() -> None:
    wrong: Any = 8000
    with pytest.raises(TypeError, match=r"8000 is not a Health: write Health\(port=...\)"):
        work(catalog, on=local(), health=wrong)
