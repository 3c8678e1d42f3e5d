"""What Hatchet's own tools show of a call: failure as failure, and no secret."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import Request, urlopen

import pytest
from pydantic import SecretStr
from returns.result import Failure, Result, Success

from onward import (
    BadPayload,
    Call,
    Catalog,
    Fault,
    Secret,
    given,
    progress,
    result,
    submit,
    task,
    work,
)
from onward.backends.hatchet import HatchetBackend
from onward.backends.hatchet.token import claims
from onward.flows.flow import AnyFlow
from onward.sealing import sealing
from tests.engines.process import until
from tests.hatchet.served import PATIENCE, Engine, backend_on, fresh, serving

MARKER = f"s3cr3t{fresh()}"
PAGE = 500
"""Of the runs that the engine lists, which other tests start as well."""


@task
def inc(n: int) -> int:
    return n + 1


@task
def breaks(n: int) -> int:
    raise RuntimeError(f"broke at {n}")


@task
def refuses(n: int) -> Result[int, str]:
    return Failure(f"no {n}")


@task(timeout=0.1)
def sleeps(n: int) -> int:
    time.sleep(0.3)
    return n


@task
def mends(error: str | Fault) -> int:
    return 0


@task
def login(user: str, password: Secret[str]) -> Secret[str]:
    progress(1, 2, f"for {user} with {password}")
    time.sleep(0.3)  # after which the progress is in the log
    return Secret(f"{user}:{password.get_secret_value()}")


@task
def opened(token: Secret[str]) -> int:
    return len(token.get_secret_value())


@task
def locked(password: SecretStr) -> int:
    raise PermissionError(f"not with {password}")


@task
def plainly(user: str, password: str) -> int:
    return len(user + password)


rescued = (breaks.rescue(mends) >> inc).named("rescued")
fails = (inc >> breaks >> inc).named("fails")
CATALOG = Catalog(inc, breaks, refuses, sleeps, mends, login, opened, locked, plainly)


class Dashboard:
    """What the dashboard asks of the engine's HTTP API."""

    def __init__(self, engine: Engine) -> None:
        environment = engine.client_environment
        self._url = environment["HATCHET_CLIENT_SERVER_URL"]
        self._token = environment["HATCHET_CLIENT_TOKEN"]
        self._since = datetime.now(UTC) - timedelta(minutes=1)

    def ask(self, path: str, **query: str) -> Any:
        url = f"{self._url}/api/v1/stable/{path}?{urlencode(query)}"
        asked = Request(url, headers={"Authorization": f"Bearer {self._token}"})
        with urlopen(asked, timeout=30) as answer:
            return json.load(answer)

    def run(self, id: str) -> Any:
        """A run with its tasks. The engine shows it only some time after it answers for it."""
        try:
            return self.ask(f"workflow-runs/{id}")
        except HTTPError as problem:
            if problem.code != 404:
                raise
            return {"run": {"status": "not shown yet"}, "tasks": []}

    def _rows(self, **query: str) -> list[Any]:
        path = f"tenants/{claims(self._token).sub}/workflow-runs"
        query |= {"since": self._since.isoformat(), "only_tasks": "false", "limit": str(PAGE)}
        rows: list[Any] = []
        is_last = False
        while not is_last:
            found = self.ask(path, offset=str(len(rows)), **query)["rows"]
            rows += found
            is_last = len(found) < PAGE
        return rows

    def listed(self, status: str) -> set[str]:
        """The ids of the runs in the list of those with a status."""
        return {row["metadata"]["id"] for row in self._rows(statuses=status)}

    def tasks(self, id: str) -> dict[str, str]:
        """The states of a run's tasks, by their names without the namespace."""
        tasks = self.run(id)["tasks"]
        return {each["displayName"].rpartition("-")[0]: each["status"] for each in tasks}

    def children(self, id: str) -> dict[str, str]:
        """The states of the runs that a run's tasks started, by the names of their tasks."""
        rows = [
            row
            for task in self.run(id)["tasks"]
            for row in self._rows(parent_task_external_id=task["metadata"]["id"])
        ]
        names = (row["displayName"].rpartition("-")[0].rpartition("_")[2] for row in rows)
        return dict(zip(names, (row["status"] for row in rows), strict=True))

    def all_of(self, id: str, *, without: str = "") -> str:
        """All that it shows of a run that has ended, with the logs of its tasks."""
        ends = ("COMPLETED", "FAILED")
        until(
            lambda: self.run(id)["run"]["status"] in ends,
            within=PATIENCE,
            otherwise=lambda: "it does not show that the run has ended",
        )
        run = self.run(id)
        for part in (run["run"], *run["tasks"]):
            part.pop(without, None)
        tasks = [each["metadata"]["id"] for each in run["tasks"]]
        return json.dumps([run, *(self.ask(f"tasks/{task}/logs") for task in tasks)])


@pytest.fixture(scope="module")
def dashboard(hatchet: Engine) -> Dashboard:
    return Dashboard(hatchet)


@pytest.fixture(scope="module")
def backend(hatchet: Engine) -> Iterator[HatchetBackend]:
    catalog = Catalog(*CATALOG.tasks.values(), rescued, fails)
    with serving(hatchet, catalog, namespace=fresh()) as backend:
        yield backend


def ended(call: Call[Any, Any], backend: Any) -> str:
    """The id of a call that has ended."""
    ref = submit(call, on=backend).unwrap()
    found = result(ref, on=backend, timeout=PATIENCE)
    assert isinstance(found, Success) or not isinstance(found.failure(), BadPayload)
    return str(ref.id)


def test_what_fails_is_among_the_failed(backend: HatchetBackend, dashboard: Dashboard) -> None:
    flows: list[AnyFlow] = [breaks, refuses, sleeps, fails, inc >> refuses >> inc]
    failed, saved = {ended(flow(1), backend) for flow in flows}, ended(rescued(1), backend)
    until(
        lambda: failed <= dashboard.listed("FAILED") and saved in dashboard.listed("COMPLETED"),
        within=PATIENCE,
        otherwise=lambda: "they are not in the lists",
    )
    assert not failed & dashboard.listed("COMPLETED")


def test_each_step_is_shown_as_what_became_of_it(
    backend: HatchetBackend, dashboard: Dashboard
) -> None:
    """Also one that was rescued, which is a run of its own."""
    dag, saved = ended(fails(1), backend), ended(rescued(1), backend)
    states = {"inc": "COMPLETED", "breaks": "FAILED", "inc-2": "CANCELLED"}
    until(lambda: dashboard.tasks(dag) == states, within=PATIENCE, otherwise=lambda: "other states")
    until(
        lambda: (
            dashboard.children(saved)
            == {"breaks": "FAILED", "mends": "COMPLETED", "inc": "COMPLETED"}
        ),
        within=PATIENCE,
        otherwise=lambda: str(dashboard.children(saved)),
    )


@pytest.fixture(scope="module")
def sealed(hatchet: Engine) -> Iterator[Any]:
    pytest.importorskip("cryptography")
    with closing(backend_on(hatchet, namespace=fresh())) as plain:
        backend: Any = sealing(plain, [b"k" * 32])
        stop = threading.Event()
        options = {"on": backend, "stop": stop}
        worker = threading.Thread(target=work, args=(CATALOG,), kwargs=options)
        worker.start()
        until(
            lambda: isinstance(submit(opened(Secret("")), on=backend), Success),
            within=PATIENCE,
            otherwise=lambda: "no worker serves the catalog",
        )
        yield backend
        stop.set()
        worker.join()


def test_a_sealed_secret_is_nowhere(sealed: Any, dashboard: Dashboard) -> None:
    """Not in inputs and outputs, names, metadata, errors or logs."""
    calls: list[Call[Any, Any]] = [
        login("ann", Secret(MARKER)),
        given(login, password=Secret(MARKER))("ann"),
        (given(login, Secret(MARKER)) >> opened)("ann"),
        locked(SecretStr(MARKER)),
        (locked >> inc)(SecretStr(MARKER)),
    ]
    shown = [dashboard.all_of(ended(call, sealed)) for call in calls]
    assert all("ann" in text or "locked" in text for text in shown)
    assert not [text for text in shown if MARKER in text]


def test_no_name_has_a_value_of_given(sealed: Any, dashboard: Dashboard) -> None:
    """The value itself is in the input."""
    for flow in (given(plainly, MARKER), given(plainly, password=MARKER) >> inc):
        shown = dashboard.all_of(ended(flow("ann"), sealed), without="input")
        assert "plainly" in shown
        assert MARKER not in shown
