"""The runs that a flow starts for its steps: each runs once, however often it is started."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from msgspec import Raw, json
from returns.result import Success

from onward import Catalog, result, submit
from onward.backends.hatchet import HatchetBackend, sdk
from onward.plan import VERSION, Args, Plan, StepNode
from tests.hatchet.served import PATIENCE, Engine, fresh, serving
from tests.hatchet.test_worker import begun, hold, note, until


def start_together(
    backend: HatchetBackend, parent: str, *notes: Sequence[str]
) -> dict[str, set[str]]:
    """Starts steps of a flow, each batch with one request, and waits for their outcomes.

    Returns:
        The ids of their runs, by step.
    """
    sdk.load()
    from onward.backends.hatchet.connection import Connection
    from onward.backends.hatchet.message import input_of

    def plan(text: str, file: str) -> Plan:
        args = Args((Raw(json.encode(text)), Raw(json.encode(file))))
        return Plan(v=VERSION, flow="note", root=StepNode("note"), args=args)

    found: dict[str, set[str]] = {}

    async def start() -> None:
        connection = Connection(backend.settings)

        async def started(text: str, file: str) -> str:
            step = plan(text, file)
            run = await connection.submitter.start(
                step,
                input_of(step, at=text, call=parent),
                f"{parent} {text}",
                parent=parent,
                patience=60.0,
            )
            return run.unwrap()

        try:
            async with asyncio.timeout(60):
                for *texts, file in notes:
                    runs = await asyncio.gather(*(started(text, file) for text in texts))
                    for text, run in zip(texts, runs, strict=True):
                        found.setdefault(text, set()).add(run)
                        await connection.waiter.step(run)
        finally:
            await connection.close()

    asyncio.run(start())
    return found


def test_steps_started_again_together_with_new_ones_run_once(
    engine: Engine, tmp_path: Path
) -> None:
    """As after the death of a worker, whose flows another one takes over.

    An engine of 0.104 may start such a step twice, and hand out one of both for ever.
    """
    gate, file = tmp_path / "gate", str(tmp_path / "notes")
    catalog = Catalog(hold, note)
    with serving(engine, catalog, namespace=fresh(), concurrency=2) as backend:
        flow = submit(hold(str(gate)), on=backend).unwrap()
        until(lambda: begun(tmp_path) == 1)
        runs = start_together(
            backend, flow.id, ["a", file], ["a", "b", file], ["a", "b", file], ["a", "b", "c", file]
        )
        assert [len(ids) for ids in runs.values()] == [1, 1, 1]
        gate.touch()
        assert result(flow, on=backend, timeout=PATIENCE) == Success(str(gate))
    assert Path(file).read_text().split() == ["a", "b", "c"]
