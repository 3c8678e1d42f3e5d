"""Bridges between the real engines, in one example of each."""

from __future__ import annotations

import os
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest
from returns.result import Success

from onward import (
    Backend,
    Cancels,
    Catalog,
    Histories,
    Signal,
    Signals,
    awaits,
    cancel,
    connect,
    current,
    history,
    result,
    schedule,
    send,
    status,
    submit,
    submit_all,
    task,
    unschedule,
)
from onward.backend import ReadsSchedules
from onward.bridges import routed
from onward.bridges.handing_over import hand_over
from onward.fault import Cancelled, Unknown
from onward.plan import Plan
from tests.engines.process import until
from tests.engines.temporal import Temporal
from tests.engines.valkey import Valkey
from tests.hatchet.double import Double
from tests.hatchet.served import fresh

PATIENCE = 120.0
GO = Signal("go", int)
RAN: Counter[str] = Counter()
LOCK = threading.Lock()


@task
def note(n: int) -> int:
    with LOCK:
        RAN[current().key or ""] += 1
    return n


@task
def double(n: int) -> int:
    return 2 * n


FLOW = note >> double
WAITING = awaits(GO) >> note
CATALOG = Catalog(FLOW, WAITING)

PAIRS = [
    ("sqlite", "celery"),
    ("celery", "temporal"),
    ("temporal", "celery"),
    ("sqlite", "hatchet"),
    ("hatchet", "sqlite"),
]


def turned(dial: list[float], plan: Plan) -> float:
    return dial[0]


def url_of(name: str, tmp_path: Path, request: pytest.FixtureRequest, stack: ExitStack) -> str:
    """The URL of an engine, which is started if it is not running."""
    match name:
        case "celery":
            valkey: Valkey = request.getfixturevalue("valkey")
            return f"celery+{valkey.url}?queue=bridges"
        case "temporal":
            server: Temporal = request.getfixturevalue("temporal")
            return f"temporal://127.0.0.1:{server.port}?task_queue=bridges"
        case "hatchet":
            environment = stack.enter_context(Double()).client_environment
            patch = stack.enter_context(pytest.MonkeyPatch.context())
            patch.setenv("HATCHET_CLIENT_TOKEN", environment["HATCHET_CLIENT_TOKEN"])
            server_url = environment["HATCHET_CLIENT_SERVER_URL"]
            address = f"{environment['HATCHET_CLIENT_HOST_PORT']}/{fresh()}"
            return f"hatchet://{address}?tls=false&server_url={server_url}"
    return f"sqlite:///{tmp_path}/onward.db"


@pytest.fixture(params=PAIRS, ids="-".join)
def pair(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Backend, Backend]]:
    old, new = request.param
    with ExitStack() as stack:
        one = connect(url_of(old, tmp_path, request, stack)).unwrap()
        stack.callback(one.close)
        other = connect(url_of(new, tmp_path, request, stack)).unwrap()
        stack.callback(other.close)
        yield one, other


def test_calls_are_routed(pair: tuple[Backend, Backend]) -> None:
    """Each key runs once while the dial moves, and every call is found."""
    RAN.clear()
    old, new = pair
    dials = [[0.0] for _ in range(8)]
    bridges = [routed(old, new, by=partial(turned, dial)) for dial in dials]
    bridge = bridges[0]
    assert isinstance(bridge, Cancels)
    assert isinstance(bridge, Signals)
    assert isinstance(bridge, Histories)
    worker = bridge.serve(CATALOG).unwrap()
    run = os.urandom(4).hex()  # the servers outlive a test
    keys = [f"{run} {n}" for n in range(4)]

    def submitter(number: int) -> list[str]:
        refs = []
        for at, key in enumerate(keys):
            dials[number][0] = 100.0 * ((number + at) % 2)
            refs.append(str(submit(FLOW(at), on=bridges[number], key=key).unwrap()))
        return refs

    with ThreadPoolExecutor(len(bridges)) as threads:
        for texts in threads.map(submitter, range(len(bridges))):
            for at, text in enumerate(texts):
                assert result(FLOW.ref(text), on=bridge, timeout=PATIENCE) == Success(2 * at)
    assert dict(RAN) == dict.fromkeys(keys, 1)
    dials[0][0] = 50
    refs = submit_all([double(n) for n in range(8)], on=bridge).unwrap()
    assert [result(ref, on=bridge, timeout=PATIENCE) for ref in refs] == [
        Success(2 * n) for n in range(8)
    ]
    for percent in (0.0, 100.0):
        dials[0][0] = percent
        ref = WAITING.ref(str(submit(WAITING(1), on=bridge, key=f"{run} waits {percent}").unwrap()))
        until(
            lambda: status(ref, on=bridge).unwrap().state == "waiting",  # noqa: B023 - at once
            within=PATIENCE,
            otherwise=lambda: "the call never waits",
        )
        assert send(ref, GO, 7, on=bridge) == Success(None)
        assert result(ref, on=bridge, timeout=PATIENCE) == Success(7)
        assert history(ref, on=bridge).unwrap().signals == {"go": 7}
        other = submit(WAITING(1), on=bridge, key=f"{run} ends {percent}").unwrap()
        assert cancel(other, on=bridge) == Success(None)
        fault = result(other, on=bridge, timeout=PATIENCE).failure()
        assert isinstance(fault, Cancelled)
    worker.stop()


@pytest.mark.parametrize("pair", PAIRS[1:3], indirect=True, ids="-".join)
def test_a_schedule_is_handed_over(pair: tuple[Backend, Backend]) -> None:
    """With its arguments; from then on the bridge declares it on the new engine."""
    old, new = pair
    bridge, run = routed(old, new, by=0), f"bridges.{os.urandom(4).hex()}"
    assert isinstance(old, ReadsSchedules)
    assert isinstance(new, ReadsSchedules)
    assert isinstance(bridge, ReadsSchedules)
    schedule(double(1), on=bridge, name=run, cron="0 0 1 1 *", tags=["x"]).unwrap()
    hand_over(run, old, new).unwrap()
    found = new.scheduled(run).unwrap()
    assert (found.schedule.cron, found.plan.tags, found.plan.trace) == ("0 0 1 1 *", ("x",), {})
    assert isinstance(old.scheduled(run).failure(), Unknown)
    schedule(double(2), on=bridge, name=run, cron="0 0 1 1 *").unwrap()
    assert isinstance(old.scheduled(run).failure(), Unknown)
    assert new.scheduled(run).unwrap().plan.args == double(2).args
    assert unschedule(run, on=bridge) == Success(None)
