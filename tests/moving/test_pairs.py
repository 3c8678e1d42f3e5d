"""A call that is moved goes on where it was, between each pair of engines."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from itertools import permutations
from pathlib import Path
from typing import Protocol, TypeAlias, runtime_checkable

import pytest
from returns.result import Success

from onward import (
    Cancels,
    Catalog,
    Signal,
    Signals,
    awaits,
    cancel,
    connect,
    current,
    each,
    history,
    keep,
    move,
    result,
    send,
    status,
    submit,
    task,
)
from onward.backend import Histories, Moves
from tests.engines.process import until
from tests.engines.temporal import Temporal
from tests.engines.valkey import Valkey
from tests.hatchet.double import Double
from tests.hatchet.served import Engine as HatchetEngine
from tests.hatchet.served import fresh

PATIENCE = 120.0
GO = Signal("go", int)
ran: list[tuple[str, str, str | None]] = []


@runtime_checkable
class Engine(Histories, Cancels, Signals, Protocol):
    """All that these tests need of a backend."""


def note(what: str) -> None:
    ran.append((what, current().id, current().key))


@task
def split(n: int) -> list[int]:
    note("split")
    return list(range(n))


@task
def double(n: int) -> int:
    note(f"double {n}")
    return 2 * n


@task
def total(pair: tuple[list[int], int]) -> int:
    note("total")
    return sum(pair[0]) + pair[1]


@task
def undo(n: int) -> None:
    note("undo")


FLOW = (split >> each(double) >> keep(awaits(GO, timeout=3600)) >> total).finally_(undo)
CATALOG = Catalog(FLOW)

Open: TypeAlias = Callable[[], AbstractContextManager[Engine]]


@contextmanager
def served(url: str) -> Iterator[Engine]:
    backend = connect(url).unwrap()
    assert isinstance(backend, Engine)
    worker = backend.serve(CATALOG).unwrap()
    try:
        yield backend
    finally:
        worker.stop()
        backend.close()


@pytest.fixture
def engines(tmp_path: Path, request: pytest.FixtureRequest) -> dict[str, Open]:
    def celery() -> AbstractContextManager[Engine]:
        valkey: Valkey = request.getfixturevalue("valkey")
        return served(f"celery+{valkey.url}?queue=moving")

    def temporal() -> AbstractContextManager[Engine]:
        server: Temporal = request.getfixturevalue("temporal")
        return served(f"temporal://127.0.0.1:{server.port}?task_queue=moving")

    @contextmanager
    def hatchet(engine: HatchetEngine) -> Iterator[Engine]:
        environment = engine.client_environment
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("HATCHET_CLIENT_TOKEN", environment["HATCHET_CLIENT_TOKEN"])
            server = environment["HATCHET_CLIENT_SERVER_URL"]
            address = f"{environment['HATCHET_CLIENT_HOST_PORT']}/{fresh()}"
            with served(f"hatchet://{address}?tls=false&server_url={server}") as backend:
                yield backend

    @contextmanager
    def double() -> Iterator[Engine]:
        with Double() as engine, hatchet(engine) as backend:
            yield backend

    return {
        "hatchet": lambda: hatchet(request.getfixturevalue("hatchet")),
        "hatchet double": double,
        "sqlite": lambda: served(f"sqlite:///{tmp_path}/onward.db"),
        "other sqlite": lambda: served(f"sqlite:///{tmp_path}/other.db"),
        "celery": celery,
        "temporal": temporal,
    }


NAMES = ("sqlite", "celery", "temporal")


HATCHETS = ("hatchet", "hatchet double")
OTHERS = [
    *(("sqlite", other) for other in ("other sqlite", *HATCHETS)),
    *((other, "sqlite") for other in HATCHETS),
]


@pytest.mark.parametrize(("old", "new"), [*OTHERS, *permutations(NAMES, 2)])
def test_a_call_goes_on_where_it_was(old: str, new: str, engines: dict[str, Open]) -> None:
    ran.clear()
    key = f"{old}-{new}"
    with engines[old]() as here, engines[new]() as there:
        ref = submit(FLOW(3), on=here, key=key, tags=["nightly"]).unwrap()
        until(
            lambda: status(ref, on=here).unwrap().state == "waiting",
            within=PATIENCE,
            otherwise=lambda: str(status(ref, on=here)),
        )
        until_due = status(ref, on=here).unwrap().until
        assert isinstance(here, Moves)
        moved = move(ref, on=here, to=there).unwrap()
        assert move(ref, on=here, to=there) == Success(moved)
        assert submit(FLOW(3), on=there, key=key) == Success(moved)
        until(
            lambda: status(ref, on=here).unwrap().state == "waiting",
            within=PATIENCE,
            otherwise=lambda: str(status(ref, on=here)),
        )
        now = status(moved, on=there).unwrap()
        assert until_due is not None
        assert now.until is not None
        assert abs((now.until - until_due).total_seconds()) < 5
        assert send(ref, GO, 100, on=here) == Success(None)
        assert result(ref, on=here, timeout=PATIENCE) == Success(106)
        assert result(moved, on=there, timeout=PATIENCE) == Success(106)
        assert status(ref, on=here).unwrap().state == "done"
        assert history(ref, on=here).unwrap().state == "moved"
        found = history(moved, on=there).unwrap()
        assert found.tags == ("nightly",)
        assert [step.path for step in found.steps if step.taken_over] == [
            "try.0",
            "try.1[0]",
            "try.1[1]",
            "try.1[2]",
        ]
    whole, *items, last, cleanup = ran
    id = whole[1]
    assert found.origin == id
    assert whole == ("split", id, key)
    assert sorted(items) == [(f"double {n}", id, key) for n in range(3)]
    assert (last, cleanup) == (("total", id, key), ("undo", id, key))


@pytest.mark.parametrize("old", [*NAMES, *HATCHETS])
def test_a_delayed_call_starts_when_it_would_have(old: str, engines: dict[str, Open]) -> None:
    with engines[old]() as here, engines["other sqlite"]() as there:
        ref = submit(FLOW(3), on=here, delay=600).unwrap()
        assert isinstance(here, Moves)
        moved = move(ref, on=here, to=there).unwrap()
        found = history(moved, on=there).unwrap()
        assert found.state == "queued"
        starts = there.history(moved.id).unwrap().call.starts
        assert starts is not None
        assert abs((starts - datetime.now(UTC)).total_seconds() - 600) < 60
        assert cancel(moved, on=there) == Success(None)
