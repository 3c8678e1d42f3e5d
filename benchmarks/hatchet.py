"""Onward on Hatchet beside Hatchet's own SDK: the same work, on the same engine, in the same run.

Each contender has a worker process. They go in turn, round after round, forth and back. `python -m
benchmarks.hatchet NAME` is what such a process runs, on the engine that the environment names.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

from returns.result import Success

from benchmarks.report import bar
from benchmarks.rounds import Work, measured, medians, shown, timed
from onward import Call, Catalog, fused, results, run, submit, submit_all, task, unwrap, work
from onward.backend.loop import LoopThread
from onward.backends.hatchet import HatchetBackend, hatchet, sdk
from tests.engines.hatchet import Hatchet
from tests.engines.process import until
from tests.engines.worker import WorkerProcess

PACKAGES = ("onward", "hatchet-sdk", "grpcio")
ONWARD, RAW = "Onward", "hatchet-sdk"
SLOTS = 100
PATIENCE = 120
REST = 3
"""How long the engine is left alone between two rows, in seconds: it goes on to write down what it
did for the one, and the other would wait for that.
"""


@task
async def step(n: int) -> int:
    return n


flow = (step >> step >> step).named("onward-flow")
fused_flow = fused(step >> step >> step)

ONE = "One task, submitted and waited for"
DAG = "Three steps, one after the other, submitted and waited for"
MANY = "One task, of many side by side, submitted and waited for"
SUBMITS = "Submitting one task, of many"

TABLES: Mapping[str, tuple[bool, int]] = {
    ONE: (True, 100),
    DAG: (True, 50),
    MANY: (False, 300),
    SUBMITS: (False, 500),
}
"""Whether each is timed by itself or all of them together, and how many there are in a round."""


class Row(NamedTuple):
    """A row of a table: a contender and its method."""

    table: str
    name: str
    work: Work
    after: Callable[[], object] = lambda: None

    def time(self, share: int) -> list[float]:
        """The seconds that a share of the work takes."""
        is_alone, times = TABLES[self.table]
        count = max(times // share, 1)
        if is_alone:
            return [timed(self.work, 1) for _ in range(count)]
        seconds = timed(self.work, count) / count
        self.after()
        return [seconds]


def _onward(backend: HatchetBackend) -> Iterator[Row]:
    """What users of Onward write."""
    submitted: list[Any] = []

    def put(n: int) -> object:
        submitted.extend(unwrap(submit_all([step(n)] * n, on=backend)))
        return submitted

    def drain() -> None:
        for _, result in results(submitted, on=backend, timeout=PATIENCE):
            unwrap(result)
        submitted.clear()

    def gathered(n: int) -> object:
        refs = unwrap(submit_all([step(n)] * n, on=backend))
        return [unwrap(result) for _, result in results(refs, on=backend, timeout=PATIENCE)]

    def one(call: Callable[[int], Call[int]]) -> Work:
        return lambda n: unwrap(run(call(n), on=backend, timeout=PATIENCE))

    yield Row(ONE, ONWARD, one(step))
    yield Row(DAG, f"{ONWARD}: a named flow, a DAG", one(flow))
    yield Row(DAG, f"{ONWARD}: a flow without a name", one(step >> step >> step))
    yield Row(DAG, f"{ONWARD}: fused", one(fused_flow))
    yield Row(MANY, f"{ONWARD}: submit_all, results", gathered)
    yield Row(SUBMITS, f"{ONWARD}: submit_all", put, drain)


def _raw(thread: LoopThread, flows: _RawFlows) -> Iterator[Row]:
    """What users of the SDK write, on one loop, because its blocking calls poll once a second."""
    submitted: list[Any] = []

    async def gathered(n: int) -> object:
        items = [flows.step.create_bulk_run_item({"n": n}) for _ in range(n)]
        refs = await flows.step.aio_run_many(items, wait_for_result=False)
        return await asyncio.gather(*(ref.aio_result() for ref in refs))

    async def put(n: int) -> object:
        items = [flows.step.create_bulk_run_item({"n": n}) for _ in range(n)]
        submitted.extend(await flows.step.aio_run_many(items, wait_for_result=False))
        return submitted

    async def drain() -> None:
        await asyncio.gather(*(ref.aio_result() for ref in submitted))
        submitted.clear()

    yield Row(ONE, RAW, lambda n: thread.call(lambda: flows.step.aio_run({"n": n})))
    yield Row(DAG, f"{RAW}: a DAG", lambda n: thread.call(lambda: flows.dag.aio_run({"n": n})))
    yield Row(MANY, f"{RAW}: aio_run_many, aio_result", lambda n: thread.call(lambda: gathered(n)))
    yield Row(
        SUBMITS,
        f"{RAW}: aio_run_many",
        lambda n: thread.call(lambda: put(n)),
        lambda: thread.call(drain),
    )


class _RawFlows(NamedTuple):
    client: Any
    step: Any
    dag: Any


def _raw_flows() -> _RawFlows:
    sdk.load()
    import hatchet_sdk

    client = hatchet_sdk.Hatchet()
    logging.getLogger("hatchet").setLevel(logging.ERROR)

    @client.task(name="raw-step", input_validator=dict)
    async def one(given: dict[str, Any], context: Any) -> dict[str, Any]:
        return {"n": given["n"]}

    dag = client.workflow(name="raw-dag", input_validator=dict)

    @dag.task(name="first")
    async def first(given: dict[str, Any], context: Any) -> dict[str, Any]:
        return {"n": given["n"]}

    @dag.task(name="second", parents=[first])
    async def second(given: dict[str, Any], context: Any) -> dict[str, Any]:
        return {"n": context.task_output(first)["n"]}

    @dag.task(name="third", parents=[second])
    async def third(given: dict[str, Any], context: Any) -> dict[str, Any]:
        return {"n": context.task_output(second)["n"]}

    return _RawFlows(client, one, dag)


def environment_backend() -> HatchetBackend:
    """The backend on the engine that the environment names."""
    return hatchet(
        host_port=os.environ["HATCHET_CLIENT_HOST_PORT"],
        server_url=os.environ["HATCHET_CLIENT_SERVER_URL"],
    )


def measure(*, fast: bool) -> Any:
    """Measures, prints the tables and the bars, and gives all values."""
    rounds, share = (1, 5) if fast else (7, 1)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server = stack.enter_context(Hatchet.start(folder / "hatchet"))
        os.environ.update(server.client_environment)
        for name in (ONWARD, RAW):
            log = folder / f"{name}.log"
            stack.enter_context(WorkerProcess.module("benchmarks.hatchet", name, log=log))
        thread = LoopThread("raw")
        stack.callback(thread.close)
        flows, backend = _raw_flows(), environment_backend()
        stack.callback(backend.close)
        until(
            lambda: _is_served(backend, thread, flows), within=60, otherwise=lambda: "nobody serves"
        )
        rows = sorted(
            [*_raw(thread, flows), *_onward(backend)], key=lambda row: list(TABLES).index(row.table)
        )
        values = measured(rows, rounds, share, REST)

    about = f"medians of {rounds} rounds; each worker has {SLOTS} slots."
    suite = shown(values, PACKAGES, about)
    print(*_bars(medians(values)), sep="\n")
    return suite


def _is_served(backend: HatchetBackend, thread: LoopThread, flows: _RawFlows) -> bool:
    """Whether both workers have declared what they serve."""
    listed = thread.call(lambda: flows.client.workflows.aio_list(workflow_name="raw-dag"))
    return bool(listed.rows) and isinstance(submit(flow(1), on=backend), Success)


def _bars(took: Mapping[tuple[str, str], float]) -> Iterator[str]:
    """Whether the bars hold in this run."""
    for table, ours, theirs, least in (
        (ONE, "", "", 0.95),
        (MANY, ": submit_all, results", ": aio_run_many, aio_result", 0.95),
        (DAG, ": a named flow, a DAG", ": a DAG", 0.95),
        (DAG, ": fused", ": a DAG", 2),
        (SUBMITS, ": submit_all", ": aio_run_many", 1),
    ):
        ratio = took[table, f"{RAW}{theirs}"] / took[table, f"{ONWARD}{ours}"]
        text = f"{ONWARD}{ours} is {ratio:.2f} times as fast as {RAW}{theirs}; at least {least}"
        yield bar(ratio >= least, f"{table}: {text}")


def main(name: str) -> None:
    """Works until it is stopped."""
    if name == RAW:
        flows = _raw_flows()
        workflows = [flows.step, flows.dag]
        flows.client.worker("raw", slots=SLOTS, workflows=workflows).start()
    else:
        unwrap(work(Catalog(step, flow), on=environment_backend(), concurrency=SLOTS))


if __name__ == "__main__":
    main(*sys.argv[1:])
