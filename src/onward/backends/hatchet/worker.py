"""A Hatchet worker: receives the steps and flows that the engine assigns, and stops."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import os
import platform
import random
import threading
import time
from collections.abc import Collection, Coroutine
from typing import Any

from hatchet_sdk.contracts.dispatcher_pb2 import ActionType, AssignedAction
from msgspec.structs import replace

from onward.backend import Hearing
from onward.backend.support import loop_echo, queues_served, stop_on
from onward.backends.hatchet import declare, diagnose, submit
from onward.backends.hatchet.assignment import Assignment
from onward.backends.hatchet.connection import Connection
from onward.backends.hatchet.declare import FLOWS, STEPS, Job, Workflow
from onward.backends.hatchet.errors import RpcError, is_temporary
from onward.backends.hatchet.lower import Dag
from onward.backends.hatchet.message import result_of
from onward.backends.hatchet.rate_reminder import remind
from onward.backends.hatchet.registration import Registration
from onward.backends.hatchet.results import Results
from onward.backends.hatchet.runner import AssignmentRunner
from onward.backends.hatchet.start_events import StartedEvents
from onward.backends.hatchet.steps import StepRunner
from onward.backends.hatchet.unserved_tasks import UnservedTasks
from onward.catalog import Catalog
from onward.execute import raised
from onward.outcome import faulted

_SLOTS = 100
_FLOW_SLOTS = 1_000
"""How many steps, and how many flows, a worker runs at the same time."""

_PAUSE = 0.5
_AT_ONCE = 16
_TRIES = 4
_PATIENCE = 30.0
_LINGERS = 1.2
"""How long the engine may still assign steps to a paused worker, in seconds."""

_DEAF = 20.0
"""How long heartbeats may go unanswered, in seconds: one is late, and another one follows."""

_UNSERVED = 10.0
"""How long a worker takes unserved steps, in seconds."""

_GOODBYE = 2.0
_PARTING = 10.0
"""How long one request, and all of them, may take when the worker stops, in seconds."""

_LOGGER = logging.getLogger("onward.hatchet")


class HatchetWorker:
    """A worker on the event loop of its backend's connection, with its steps on another one.

    Args:
        connection: The connections to the engine.
        catalog: The catalog that it serves.
        concurrency: How many steps it runs at the same time; None for the default.
        queues: The queues that it serves; None for the default queue and the catalog's.
    """

    def __init__(
        self,
        connection: Connection,
        catalog: Catalog,
        concurrency: int | None,
        queues: Collection[str] | None,
    ) -> None:
        self._connection = connection
        self._catalog = catalog
        settings = self._settings = connection.settings
        self._name = f"onward-{platform.node()}-{os.getpid()}"
        self._queues = queues_served(settings.queue, catalog, queues)
        self._slots = {STEPS: concurrency or _SLOTS, FLOWS: _FLOW_SLOTS}
        self._steps = StepRunner(catalog.tasks)
        self._jobs: dict[str, Job] = {}
        self._dags: dict[str, Dag] = {}
        self._assignments: dict[tuple[str, int], Assignment] = {}
        self._loop = asyncio.get_running_loop()
        self._registrations: list[Registration] = []
        self._service: list[asyncio.Task[None]] = []
        self._background: set[asyncio.Task[None]] = set()
        self._started = StartedEvents(connection.client, self._spawn)
        self._results = Results(connection)
        self._work = AssignmentRunner(connection, self._steps, self._dags, self._spawn)
        self._problem = ""
        self._until = math.inf
        self._is_leaving = False
        self._is_giving_back = False
        self._ended = threading.Event()
        self._echo = loop_echo(self._loop)

    async def start(self) -> None:
        """Declares its workflows, and starts to receive actions.

        Raises:
            RpcError: If the engine refuses the worker, or is away.
            TimeoutError: If the engine stops answering meanwhile.
        """
        declared = list(declare.workflows(self._catalog, self._settings))
        single = [workflow for workflow in declared if workflow.dag is None]
        for at in range(0, len(single), _AT_ONCE):
            some = single[at : at + _AT_ONCE]
            await asyncio.gather(*map(self._declare, some))
        # DAGs share the actions of their tasks, and the engine fails if two of them come at once.
        for workflow in declared:
            if workflow.dag is not None:
                self._dags[await self._declare(workflow)] = workflow.dag
            self._jobs |= workflow.jobs
        # Two registrations, because the engine takes the free slots of one kind for a reserve of
        # the other: it would assign a hundred steps at once, and then none for a second.
        self._registrations = [self._registration(kind) for kind in (STEPS, FLOWS)]
        try:
            for registration in self._registrations:
                (await registration.open()).add_done_callback(self._lost)
            ready = asyncio.gather(*(each.ready.wait() for each in self._registrations))
            await asyncio.wait_for(ready, _PATIENCE)
        except BaseException:
            self._end()
            raise
        unserved = UnservedTasks(self._settings.unserved, self._find_unserved, self._take_unserved)
        self._service = [
            self._loop.create_task(each)
            for each in (self._extend(), unserved.watch(), self._connection.undelivered.watch())
        ]
        self._spawn(remind(self._connection, self._catalog))

    async def _declare(self, workflow: Workflow) -> str:
        """Declares a workflow, and returns the id of its version."""
        tries = 0
        while True:
            try:
                return await self._connection.client.put_workflow(workflow.request)
            except RpcError as problem:
                # The engine fails if two workers declare a new workflow at once.
                tries += 1
                if not is_temporary(problem) or tries == _TRIES:
                    raise
            await asyncio.sleep(_PAUSE * random.random())

    def _registration(self, slots: str) -> Registration:
        actions = [action for action, job in self._jobs.items() if job.slots == slots]
        return self._registered("-flows" if slots == FLOWS else "", actions, slots)

    def _registered(self, suffix: str, actions: list[str], slots: str) -> Registration:
        return Registration(
            self._connection.client,
            self._name + suffix,
            actions,
            {slots: self._slots[slots]},
            [
                *(submit.label(queue) for queue in self._queues),
                *(submit.task_label(task) for task in self._catalog.tasks if slots == STEPS),
            ],
            take=self._take,
            note=self._note,
        )

    async def _find_unserved(self) -> set[str] | None:
        return await diagnose.unserved(self._connection.http, self._settings)

    async def _take_unserved(self, actions: list[str]) -> None:
        """Takes the steps of tasks that no worker serves. They end as `Unknown` here."""
        self._jobs = dict.fromkeys(actions, Job()) | self._jobs
        registration = self._registered("-unserved", actions, STEPS)
        try:
            await registration.open()
            await asyncio.sleep(_UNSERVED)
            await self._connection.client.unsubscribe(registration.id)
        except RpcError:
            pass  # it is tried again later
        finally:
            registration.close()

    def _take(self, action: AssignedAction, worker: Registration) -> None:
        key = (action.task_run_external_id, action.retry_count)
        if action.action_type == ActionType.CANCEL_STEP_RUN:
            assignment = self._assignments.get(key)
            if assignment is not None:
                self._give_up(assignment)
            return
        job = self._jobs.get(action.action_id)
        if action.action_type != ActionType.START_STEP_RUN or job is None:
            return
        if key in self._assignments:
            if self._assignments[key].is_evicting:
                self._assignments[key].again = action
            return
        assignment = self._assignments[key] = Assignment(action, job, worker)
        assignment.task = self._loop.create_task(self._answer(assignment))
        assignment.task.add_done_callback(lambda _: self._done(key))
        if self._is_giving_back or (self._is_leaving and job.is_flow):
            self._give_back(assignment)

    def _done(self, key: tuple[str, int]) -> None:
        assignment = self._assignments.pop(key)
        if assignment.again is not None:
            self._take(assignment.again, assignment.worker)

    async def _extend(self) -> None:
        """Renews the lease of what takes long."""
        while True:
            await asyncio.sleep(self._settings.lease / 6)
            at = time.monotonic()
            for assignment in self._assignments.values():
                passed = at - assignment.extended_at
                if passed >= self._settings.lease / 3:
                    assignment.extended_at = at
                    self._spawn(self._extend_one(assignment, passed))

    async def _extend_one(self, assignment: Assignment, seconds: float) -> None:
        try:
            if not await self._connection.client.extend(
                assignment.action.task_run_external_id, seconds
            ):
                self._give_up(assignment)  # another worker has it now
        except RpcError:
            assignment.extended_at -= seconds  # so that it is retried before the lease ends

    def _note(self, problem: RpcError | None) -> None:
        text = "" if problem is None else self._connection.client.fault(problem).message
        if text and text != self._problem:
            _LOGGER.warning("the worker cannot reach the engine: %s", text)
        if self._problem and not text:
            _LOGGER.warning("the worker reaches the engine again")
            self._service.append(self._loop.create_task(remind(self._connection, self._catalog)))
        self._problem = text

    def _lost(self, _: object) -> None:
        if not self._is_leaving:  # the backend was closed, and with it the stream
            self._ended.set()

    async def _answer(self, assignment: Assignment) -> None:
        """Runs an assignment, and reports its result."""
        self._started.add(assignment.action, assignment.worker.id)
        try:
            done = await self._work.run(assignment)
        except asyncio.CancelledError:
            if assignment.is_returned:
                self._spawn(self._results.returned(assignment.action, assignment.worker.id))
            return
        except Exception as problem:  # a bug: what a step raises is an outcome
            _LOGGER.exception("%s could not be run", assignment.action.action_id)
            done = result_of(
                faulted(raised(assignment.action.task_name, problem)), at="", ends=True
            )
        if assignment.last is not None and assignment.last.step:
            by = assignment.last.worker or self._name
            done = replace(done, last=replace(assignment.last, worker=by))
        if assignment.evaluation is not None:
            done = replace(done, runs=str(assignment.evaluation.runs))
        action, worker = assignment.action, assignment.worker.id
        telling = self._results.send(
            action, worker, done, name=assignment.name, plan=assignment.plan, share=assignment.share
        )
        await asyncio.shield(self._spawn(telling))

    def _give_up(self, assignment: Assignment) -> None:
        """Ends an assignment that is cancelled."""
        assignment.is_cancelled.set()
        assignment.task.cancel()

    def _give_back(self, assignment: Assignment) -> None:
        """Returns an assignment to the engine, so that another worker gets it."""
        assignment.is_returned = True
        self._give_up(assignment)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = self._loop.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)
        return task

    def stop(self, grace: float = 30.0) -> None:
        """See `Worker.stop`."""
        self._until = min(self._until, time.monotonic() + grace)
        if self._is_leaving:
            self._ended.wait(grace + _PARTING)
            return
        self._is_leaving = True
        if not stop_on(self._loop, lambda: self._leave(grace)):
            self._ended.set()

    def wait(self, timeout: float | None = None) -> bool:
        """See `Worker.wait`."""
        return self._ended.wait(timeout)

    def hearing(self) -> Hearing:
        """See `Hears.hearing`. The engine refuses heartbeats of a worker that does not listen."""
        silent = max(self._echo.silent(), *(each.silent() for each in self._registrations))
        return Hearing(silent, _DEAF, self._slots[STEPS])

    async def _leave(self, grace: float) -> None:
        workers = self._registrations
        pauses = (self._connection.http.pause(worker.id) for worker in workers)
        if all(await asyncio.gather(*pauses)):
            await asyncio.sleep(min(_LINGERS, grace))
        else:
            for worker in workers:
                worker.take_no_more()
        for assignment in list(self._assignments.values()):
            if assignment.job.is_flow:
                self._give_back(assignment)
        while self._assignments and time.monotonic() < self._until:
            tasks = [assignment.task for assignment in self._assignments.values()]
            left = self._until - time.monotonic()
            await asyncio.wait(tasks, timeout=min(left, _PAUSE))  # a second stop may shorten it
        self._is_giving_back = True  # from now on, new assignments are returned at once
        for assignment in list(self._assignments.values()):
            self._give_back(assignment)
        await self._settle()
        for worker in workers:
            with contextlib.suppress(RpcError, TimeoutError):
                await asyncio.wait_for(self._connection.client.unsubscribe(worker.id), _GOODBYE)
        await self._settle()
        self._end()

    async def _settle(self) -> None:
        """Waits until all results are reported."""
        await asyncio.sleep(0)
        if self._background:
            await asyncio.wait(self._background, timeout=_GOODBYE)

    def _end(self) -> None:
        for registration in self._registrations:
            registration.close()
        for task in self._service:
            task.cancel()
        self._steps.close()
        self._ended.set()
