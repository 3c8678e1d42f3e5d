"""A system on Hatchet: its tasks are steps of Onward's, and call Onward's flows."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from returns.result import Success

from onward import Catalog, Raised, cancel, connect, local, run, submit, task
from onward.backends.hatchet import HatchetBackend
from onward.backends.hatchet.http_api import HttpApi
from onward.bridges import adopted
from tests.bridges.flows import CATALOG
from tests.bridges.working import served
from tests.engines.hatchet import Hatchet
from tests.engines.process import until
from tests.engines.worker import WorkerProcess
from tests.hatchet.served import fresh

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Receipt:
    """What the tasks give."""

    card: str
    cents: int


@dataclass(frozen=True)
class Said:
    """What the tasks that call flows give."""

    said: str


@task
def cents(receipt: Receipt) -> int:
    return receipt.cents


@dataclass(frozen=True)
class System:
    """A system on Hatchet: the URL of the engine, and the prefix of its tasks' names."""

    url: str
    name: str


@pytest.fixture(scope="module")
def system(
    hatchet: Hatchet, tmp_path_factory: pytest.TempPathFactory, monkeypatch_module: Any
) -> Iterator[System]:
    folder, name, environment = (
        tmp_path_factory.mktemp("system"),
        fresh(),
        hatchet.client_environment,
    )
    at = f"sqlite:///{folder}/onward.db"
    for key, value in environment.items():
        monkeypatch_module.setenv(key, value)
    with (
        closing(connect(at).unwrap()) as backend,
        WorkerProcess.module(
            "tests.bridges.hatchet_app",
            log=folder / "log",
            folder=ROOT,
            environment={**environment, "NAME": name, "ONWARD": at},
        ) as process,
    ):
        worker = backend.serve(CATALOG).unwrap()
        url = f"hatchet://{environment['HATCHET_CLIENT_HOST_PORT']}"
        until(lambda: f"{name}-retried" in declared(url), within=90, otherwise=process.tail)
        yield System(url, name)
        worker.stop(0)


@pytest.fixture(scope="module")
def monkeypatch_module() -> Iterator[pytest.MonkeyPatch]:
    """The environment that every client of Hatchet reads."""
    with pytest.MonkeyPatch.context() as made:
        yield made


def charge(card: str, cents: int = 100) -> Receipt:
    raise NotImplementedError


def of_system(system: System, name: str, signature: Any) -> Any:
    return adopted.hatchet(f"{system.name}-{name}", signature, on=system.url)


def test_what_hatchet_has_is_a_step(system: System) -> None:
    step = of_system(system, "charge", charge)
    assert run((step >> cents)("a", cents=7), on=local()) == Success(7)


def test_the_error_of_what_hatchet_has_is_raised(system: System) -> None:
    failed = run(of_system(system, "charge", charge)("bad", 5), on=local()).failure()
    assert isinstance(failed, Raised)
    assert failed.error_type == "hatchet.Failed"
    assert "no 5" in failed.message


def calls(n: int) -> Said:
    raise NotImplementedError


def test_a_task_gets_the_result_of_a_call(system: System) -> None:
    step = of_system(system, "calls", calls)
    assert run(step(1), on=local()) == Success(Said("<Success: 1>"))
    assert run(step(2), on=local()) == Success(Said("<Failure: 3 is odd>"))


def test_another_attempt_makes_a_failed_call_anew(system: System) -> None:
    found = run(of_system(system, "retried", calls)(1), on=local()).unwrap()
    assert "broke at 1" in found.said


def hold(seconds: int) -> Receipt:
    raise NotImplementedError


def test_who_cancels_the_call_cancels_the_run(system: System, tmp_path: Path) -> None:
    step = of_system(system, "hold", hold)
    with served(Catalog(step), on=f"sqlite:///{tmp_path}/onward.db") as backend:
        ref = submit(step(1), on=backend).unwrap()
        until(lambda: states(system) == ["RUNNING"], within=90, otherwise=lambda: "it is not run")
        cancel(ref, on=backend).unwrap()
        until(
            lambda: states(system) == ["CANCELLED"],
            within=90,
            otherwise=lambda: f"it is {states(system)}",
        )


def states(system: System) -> list[str]:
    """The states of the runs that hold."""
    query = [("since", (datetime.now(UTC) - timedelta(minutes=10)).isoformat())]
    rows = told(system.url, "stable/tenants/{}/workflow-runs", [*query, ("only_tasks", "false")])
    return [row["status"] for row in rows if row["displayName"].startswith(f"{system.name}-hold")]


def declared(url: str) -> set[str]:
    """The names of the workflows that the engine knows."""
    return {row["name"] for row in told(url, "tenants/{}/workflows", [("limit", "500")])}


def told(url: str, path: str, query: list[tuple[str, str]]) -> list[dict[str, Any]]:
    """The rows that the engine's HTTP API tells."""
    backend = connect(url).unwrap()
    assert isinstance(backend, HatchetBackend)

    async def rows() -> list[dict[str, Any]]:
        at = backend.settings
        http = HttpApi(at.server_url, at.address.token, None)
        try:
            answer = await http.request("GET", path.format(at.tenant), query=query)
        finally:
            await http.close()
        found: list[dict[str, Any]] = json.loads(answer.unwrap())["rows"]
        return found

    with closing(backend):
        return asyncio.run(rows())
