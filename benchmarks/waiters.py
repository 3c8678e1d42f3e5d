"""Flows that wait, as users of Onward, of Temporal's SDK and of Hatchet's would write them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from itertools import count
from typing import Any, Protocol, TypeAlias
from urllib.parse import urlsplit

from temporalio.client import Client, WorkflowHandle

from benchmarks import hatchet_plain
from benchmarks.rounds import Work
from benchmarks.temporal_plain import LONGEST, Signalled, Sleeping, pass_on
from benchmarks.waits_served import GO, PAUSE, signalled, sleeping, step
from onward import Ref, result, run, send, status, submit_all, unwrap
from onward.backend import Signals
from onward.backend.loop import LoopThread
from tests.engines.process import until

PATIENCE = 300
"""How long an engine may take for anything, in seconds."""

AGAIN = 10
"""After how many seconds an event is sent again: a task that does not wait yet does not get it."""

SAMPLE = 50
"""Of how many calls it is looked up whether they wait."""

Signal: TypeAlias = Work
"""Sends a call the signal that it waits for, and waits for its outcome."""


class Waiter(Protocol):
    """A contender."""

    def one(self, _: int) -> object:
        """Runs one task."""
        ...

    def sleep(self, _: int) -> object:
        """Runs a step, a sleep of `PAUSE` and a step."""
        ...

    def hold(self, calls: int) -> Sequence[Signal]:
        """Starts so many calls that wait for a signal between two steps."""
        ...

    def look(self) -> None:
        """Returns when those calls wait, if that can be seen."""
        ...


class Onward:
    """Onward on one of its backends."""

    def __init__(self, backend: Signals) -> None:
        self._backend = backend
        until(
            lambda: run(step(1), on=backend, timeout=PATIENCE).value_or(0) == 1,
            within=60,
            otherwise=lambda: "nobody serves",
        )
        self._held: list[Ref[int, Any]] = []

    def one(self, _: int) -> object:
        return unwrap(run(step(1), on=self._backend, timeout=PATIENCE))

    def sleep(self, _: int) -> object:
        return unwrap(run(sleeping(1), on=self._backend, timeout=PATIENCE))

    def hold(self, calls: int) -> Sequence[Signal]:
        self._held = list(unwrap(submit_all([signalled(1)] * calls, on=self._backend)))
        return [partial(self._signal, ref) for ref in self._held]

    def look(self) -> None:
        for ref in self._held[:: max(len(self._held) // SAMPLE, 1)]:
            until(
                partial(self._waits, ref),
                within=PATIENCE,
                otherwise=lambda: "a call does not come to wait",
            )

    def _waits(self, ref: Ref[int, Any]) -> bool:
        return unwrap(status(ref, on=self._backend)).state == "waiting"

    def _signal(self, ref: Ref[int, Any], _: int) -> object:
        unwrap(send(ref, GO, 1, on=self._backend))
        return unwrap(result(ref, on=self._backend, timeout=PATIENCE))


class Temporalio:
    """Workflows by hand."""

    def __init__(self, name: str, url: str, thread: LoopThread) -> None:
        self._name = name
        self._thread = thread
        self._numbers = count()
        self._client = thread.call(lambda: Client.connect(urlsplit(url).netloc))

    def one(self, _: int) -> object:
        return self._thread.call(
            lambda: self._client.execute_activity(
                pass_on,
                1,
                id=self._id(),
                task_queue=self._name,
                start_to_close_timeout=LONGEST,
            )
        )

    def sleep(self, _: int) -> object:
        return self._thread.call(
            lambda: self._client.execute_workflow(
                Sleeping.run, args=[1, PAUSE], id=self._id(), task_queue=self._name
            )
        )

    def hold(self, calls: int) -> Sequence[Signal]:
        async def begin() -> list[WorkflowHandle[Signalled, int]]:
            started = (
                self._client.start_workflow(Signalled.run, 1, id=self._id(), task_queue=self._name)
                for _ in range(calls)
            )
            return await asyncio.gather(*started)

        handles = self._thread.call(begin)
        return [self._signal(handle) for handle in handles]

    def look(self) -> None:
        """The SDK has no state for it."""

    def _id(self) -> str:
        return f"{self._name}-{next(self._numbers)}"

    def _signal(self, handle: WorkflowHandle[Signalled, int]) -> Signal:
        async def signal() -> int:
            await handle.signal(Signalled.go, 1)
            return await handle.result()

        return lambda _: self._thread.call(signal)


class HatchetSdk:
    """Durable tasks by hand."""

    def __init__(self, thread: LoopThread) -> None:
        self._thread = thread
        self._numbers = count()
        self._waits = hatchet_plain.waits()
        until(self._is_served, within=60, otherwise=lambda: "nobody serves")

    def one(self, _: int) -> object:
        return self._thread.call(lambda: self._waits.step.aio_run({"n": 1}))

    def sleep(self, _: int) -> object:
        given = {"n": 1, "seconds": PAUSE}
        return self._thread.call(lambda: self._waits.sleeping.aio_run(given))

    def hold(self, calls: int) -> Sequence[Signal]:
        events = [f"go:{next(self._numbers)}" for _ in range(calls)]
        task = self._waits.signalled

        async def begin() -> list[Any]:
            items = [task.create_bulk_run_item({"n": 1, "event": event}) for event in events]
            return list(await task.aio_run_many(items, wait_for_result=False))

        held = zip(self._thread.call(begin), events, strict=True)
        return [self._signal(ref, event) for ref, event in held]

    def look(self) -> None:
        """The SDK has no state for it."""

    def _is_served(self) -> bool:
        """Whether the worker has declared its last task."""
        declared = self._waits.client.workflows
        listed = self._thread.call(lambda: declared.aio_list(workflow_name="raw-waits-signalled"))
        return bool(listed.rows)

    def _signal(self, ref: Any, event: str) -> Signal:
        async def signal() -> object:
            outcome = asyncio.ensure_future(ref.aio_result())
            while not outcome.done():
                await self._waits.client.event.aio_push(event, {})
                await asyncio.wait([outcome], timeout=AGAIN)
            return outcome.result()

        return lambda _: self._thread.call(signal)
