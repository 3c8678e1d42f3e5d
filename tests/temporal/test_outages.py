"""During an outage of the server nothing hangs, and afterwards waits get their outcomes."""

import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
from returns.result import Result, Success

from onward import (
    Catalog,
    TimedOut,
    Unavailable,
    cancel,
    result,
    results,
    run,
    schedule,
    schedules,
    status,
    submit,
    submit_all,
)
from onward.backends.temporal import TemporalBackend
from onward.backends.temporal import temporal as temporal_at
from tests.engines.process import until
from tests.engines.server import HOST
from tests.engines.temporal import Temporal
from tests.temporal.served import catalog, hold, inc, noted, same

PATIENCE = 120.0
"""How long a wait may last before it counts as hanging, on a machine with much to do."""

QUESTIONS: dict[str, Callable[[TemporalBackend], Result[object, object]]] = {
    "submit": lambda on: submit(inc(1), on=on),
    "submit a flow": lambda on: submit((inc >> inc)(1), on=on),
    "submit all": lambda on: submit_all([inc(1), inc(2)], on=on),
    "result": lambda on: result(inc.ref("task-x"), on=on, timeout=5),
    "status": lambda on: status(inc.ref("x"), on=on),
    "cancel": lambda on: cancel(inc.ref("x"), on=on),
    "serve": lambda on: on.serve(Catalog(inc)),
    "schedules": lambda on: schedules(on=on),
    "schedule": lambda on: schedule(inc(1), on=on, name="x", every=60),
}


def ask_all(backend: TemporalBackend) -> None:
    """Calls all interpreters at the same time, and asserts that each returns a fault."""

    def ask(name: str) -> tuple[str, object]:
        return name, QUESTIONS[name](backend).failure()

    with ThreadPoolExecutor(len(QUESTIONS)) as pool:
        for name, fault in pool.map(ask, QUESTIONS, timeout=PATIENCE):
            # A wait with a timeout may also end with TimedOut.
            expected = TimedOut if name == "result" else Unavailable
            assert isinstance(fault, expected | Unavailable), (name, fault)


@pytest.fixture
def nobody() -> Iterator[int]:
    """A port on which nobody listens."""
    with socket.socket() as bound:
        bound.bind((HOST, 0))
        yield bound.getsockname()[1]


def test_a_port_on_which_nobody_listens_is_unavailable(nobody: int) -> None:
    with closing(temporal_at(HOST, nobody)) as backend:
        ask_all(backend)


def test_a_server_that_does_not_answer_is_unavailable(tmp_path: Path) -> None:
    """It was killed, or is frozen, or only accepts connections."""
    with (
        Temporal.start(tmp_path / "gone", durable=False) as gone,
        Temporal.start(tmp_path / "frozen", durable=False) as frozen,
        socket.create_server((HOST, 0)) as mute,
        closing(temporal_at(HOST, gone.port)) as client_of_gone,
        closing(temporal_at(HOST, frozen.port)) as client_of_frozen,
        closing(temporal_at(HOST, mute.getsockname()[1])) as client_of_mute,
    ):
        for client in (client_of_gone, client_of_frozen):
            submit(inc(1), on=client).unwrap()
        gone.kill()
        frozen.pause()
        with ThreadPoolExecutor() as pool:
            list(pool.map(ask_all, (client_of_gone, client_of_frozen, client_of_mute)))


def test_a_wait_outlives_a_restart_of_the_server(tmp_path: Path) -> None:
    """So do the call and its worker."""
    folder = tmp_path / "held"
    folder.mkdir()
    with (
        Temporal.start(tmp_path / "server") as server,
        closing(temporal_at(HOST, server.port, heartbeat=5.0)) as backend,
        ThreadPoolExecutor() as pool,
    ):
        worker = backend.serve(catalog).unwrap()
        single = submit(hold(str(folder)), on=backend).unwrap()
        flow = submit((same >> hold >> same)(str(folder)), on=backend).unwrap()
        waiting = [pool.submit(result, ref, backend, timeout=PATIENCE) for ref in (single, flow)]
        gathered = pool.submit(lambda: dict(results([single, flow], on=backend, timeout=PATIENCE)))
        until(lambda: len(noted(folder)) >= 2, within=120, otherwise=lambda: "they did not begin")
        server.kill()
        time.sleep(1)  # long enough for all of them to notice
        server.restart()
        (folder / "let-go").touch()
        for wait in waiting:
            assert wait.result(PATIENCE) == Success(str(folder))
        assert set(gathered.result(PATIENCE).values()) == {Success(str(folder))}
        assert run(inc(1), on=backend, timeout=PATIENCE) == Success(2)
        worker.stop(0)
