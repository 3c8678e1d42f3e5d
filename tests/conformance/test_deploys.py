"""Rolling deploys on each engine: workers of two releases side by side, then of the newer alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from uuid import uuid4

import pytest
from returns.result import Success

from onward import Backend, Catalog, Signal, awaits, connect, result, send, status, submit, task
from onward.backend import Signals
from onward.fault import Unknown
from tests.engines.process import until
from tests.engines.temporal import Temporal
from tests.engines.valkey import Valkey
from tests.hatchet.double import Double
from tests.hatchet.served import backend_on, fresh

PATIENCE = 60.0
GO = Signal("go", int)

Opens = Callable[[], Backend]
"""Makes another client of the same engine, as another process would."""


@task(name="price")
def price(n: int) -> int:
    return n + 1


@task(name="price")
def newer_price(n: int, extra: int = 0) -> int:
    return n + 1 + extra


@task
def label(n: int) -> str:
    return f"labelled {n}"


@task
def pack(n: int) -> str:
    """The newer release does not have it."""
    return f"packed {n}"


ship = (price >> label).named("ship")
newer_ship = (newer_price >> newer_price >> label).named("ship")
approved = price >> awaits(GO) >> label
approved_and_packed = price >> awaits(GO) >> pack

OLDER = Catalog(price, label, pack, ship)
NEWER = Catalog(newer_price, label, newer_ship)


@pytest.fixture(params=["sqlite", "celery", "temporal", "hatchet"])
def opens(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Opens]:
    """The real Hatchet has the same in tests/hatchet/test_deploys.py."""
    queue, namespace = f"deploys-{uuid4().hex}", fresh()
    with ExitStack() as stack:
        engine = stack.enter_context(Double()) if request.param == "hatchet" else None

        def opened() -> Backend:
            backend: Backend
            match request.param:
                case "celery":
                    valkey: Valkey = request.getfixturevalue("valkey")
                    backend = connect(f"celery+{valkey.url}?queue={queue}").unwrap()
                case "temporal":
                    at: Temporal = request.getfixturevalue("temporal")
                    url = f"temporal://127.0.0.1:{at.port}?task_queue={queue}"
                    backend = connect(url).unwrap()
                case "sqlite":
                    backend = connect(f"sqlite:///{tmp_path}/onward.db").unwrap()
                case _:
                    assert engine is not None
                    backend = backend_on(engine, namespace=namespace, unserved=1.0)
            stack.callback(backend.close)
            return backend

        yield opened


def test_two_releases_serve_side_by_side_until_the_older_one_ends(opens: Opens) -> None:
    """Each call runs as its caller's release says; what no worker has any more is `Unknown`."""
    old, new = opens(), opens()
    assert isinstance(old, Signals)
    assert isinstance(new, Signals)
    older = old.serve(OLDER).unwrap()
    newer = new.serve(NEWER).unwrap()
    of_old = [submit(ship(n), on=old).unwrap() for n in range(4)]
    of_new = [submit(newer_ship(n), on=new).unwrap() for n in range(4)]
    for n in range(4):
        assert result(of_old[n], on=new, timeout=PATIENCE) == Success(f"labelled {n + 1}")
        assert result(of_new[n], on=old, timeout=PATIENCE) == Success(f"labelled {n + 2}")
    goes_on, has_no_task = (
        submit(flow(1), on=old).unwrap() for flow in (approved, approved_and_packed)
    )
    for ref in (goes_on, has_no_task):
        until(
            lambda ref=ref: status(ref, on=new).unwrap().state == "waiting",  # type: ignore[misc]  # mypy cannot infer a lambda's default
            within=PATIENCE,
            otherwise=lambda ref=ref: f"{status(ref, on=new)}",  # type: ignore[misc]  # as above
        )
    older.stop()
    for ref in (goes_on, has_no_task):
        assert send(ref, GO, 2, on=new) == Success(None)
    assert result(goes_on, on=new, timeout=PATIENCE) == Success("labelled 2")
    for ref in (has_no_task, submit(pack(1), on=new).unwrap()):
        fault = result(ref, on=new, timeout=PATIENCE).failure()
        assert isinstance(fault, Unknown)
        assert fault.task == "pack"
    newer.stop(grace=0.1)
