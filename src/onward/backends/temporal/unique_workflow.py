"""The workflow that holds a key while a call of the key is open.

Temporal replays this code, see `onward.backends.temporal.workflow`. It ends a run only by its last
command, which the server refuses if a signal has come meanwhile. So no submission gets lost.
"""

from __future__ import annotations

import contextlib
from datetime import timedelta
from typing import NamedTuple, NoReturn

import msgspec
from msgspec import Raw
from msgspec.structs import replace
from returns.result import Success
from temporalio import workflow
from temporalio.common import RawValue, WorkflowIDReusePolicy
from temporalio.exceptions import ChildWorkflowError, WorkflowAlreadyStartedError

from onward import plan as plans
from onward.backends.temporal import unique_message as messages
from onward.backends.temporal.converter import raw_value
from onward.backends.temporal.message import encode, new_options, tags_memo, workflow_type
from onward.backends.temporal.unique_message import HolderOptions, Place, Submitted, next_id

_SHORTEST = 0.001


class _Next(NamedTuple):
    """A submission that comes after the call that has started."""

    plan: bytes
    due: float


@workflow.defn(name=messages.TYPE, sandboxed=False, failure_exception_types=[Exception])
class UniqueWorkflow:
    """Waits with a call, or starts one, waits for its end, and goes on with the next one."""

    @workflow.init
    def __init__(self, plan: RawValue, options: RawValue) -> None:
        self._plan = plan.payload.data
        self._options = messages.decode(options.payload.data, HolderOptions)
        due = self._options.due
        self._due = workflow.time() + self._options.seconds if due is None else due
        self._is_moved = False
        self._next: _Next | None = None
        self._number = 0

    @workflow.signal(name=messages.SUBMIT)
    def submit(self, plan: RawValue, sent: RawValue) -> None:
        """Takes a further submission: in place of the call that waits, or as the next one."""
        submitted = messages.decode(sent.payload.data, Submitted)
        due = workflow.time() + submitted.seconds
        place = self._options.place
        if place.waits:
            if not submitted.after:
                self._plan, self._due, self._is_moved = plan.payload.data, due, True
        elif not submitted.after or (submitted.after == place.call and self._next is None):
            self._number = max(self._number, submitted.number)
            self._next = _Next(plan.payload.data, due)

    @workflow.signal(name=messages.DROP)
    def drop(self, call: RawValue) -> None:
        """Forgets the call that comes next, because it was cancelled."""
        if self._next is not None and msgspec.json.decode(call.payload.data) == self._next_id:
            self._next = None
            self._number += 1

    @workflow.run
    async def run(self, plan: RawValue, options: RawValue) -> None:
        """Takes the plan of its call, and its `HolderOptions`."""
        place = self._options.place
        if place.waits:
            await self._wait()
            self._go_on(self._plan, replace(place, flow=_flow(self._plan), waits=False))
        await self._run_call()
        if self._next is not None:
            following = Place(self._next_id, _flow(self._next.plan), waits=True)
            self._go_on(self._next.plan, following, self._next.due)

    @property
    def _next_id(self) -> str:
        here = workflow.info()
        return next_id(here.workflow_id, here.run_id, self._number)

    def _go_on(self, plan: bytes, place: Place, due: float | None = None) -> NoReturn:
        options = HolderOptions(place, self._options.beat, due=due)
        workflow.continue_as_new(
            args=[raw_value(plan), raw_value(messages.encode(options))],
            memo={messages.MEMO: messages.encode(place)},
        )

    async def _wait(self) -> None:
        """Waits until the call is due, or its deadline has passed."""
        while True:
            deadline = _deadline(self._plan)
            until = self._due if deadline is None else min(self._due, deadline)
            left = until - workflow.time()
            if left <= 0:
                return
            if workflow.info().is_continue_as_new_suggested():
                self._go_on(self._plan, self._options.place, self._due)
            self._is_moved = False
            with contextlib.suppress(TimeoutError):
                await workflow.wait_condition(lambda: self._is_moved, timeout=left)

    async def _run_call(self) -> None:
        """Starts the call, and waits for its end, however it ends."""
        id = self._options.place.call
        # One that was cancelled while it waited exists already, and has ended.
        with contextlib.suppress(ChildWorkflowError, WorkflowAlreadyStartedError):
            await workflow.execute_child_workflow(
                workflow_type(_flow(self._plan)),
                args=[
                    raw_value(_with_id(self._plan, id)),
                    raw_value(encode(new_options(self._options.beat))),
                ],
                result_type=RawValue,
                id=id,
                memo=tags_memo(_tags(self._plan)),
                id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
                execution_timeout=self._time_left(),
                parent_close_policy=workflow.ParentClosePolicy.ABANDON,
                cancellation_type=workflow.ChildWorkflowCancellationType.ABANDON,
            )

    def _time_left(self) -> timedelta | None:
        """The time until the call's deadline; None if the call has none, or keeps it itself."""
        deadline = _deadline(self._plan)
        decoded = plans.decode(self._plan)
        keeps_time = isinstance(decoded, Success) and plans.has_cleanup(decoded.unwrap())
        if deadline is None or keeps_time:
            return None
        return timedelta(seconds=max(deadline - workflow.time(), _SHORTEST))


# A worker may hold the key of a call that it cannot run, because its plan has a later version. So
# none of these needs the whole plan.


class _Head(msgspec.Struct):
    flow: str
    deadline: float | None = None
    tags: tuple[str, ...] = ()


def _flow(plan: bytes) -> str:
    return msgspec.json.decode(plan, type=_Head).flow


def _deadline(plan: bytes) -> float | None:
    return msgspec.json.decode(plan, type=_Head).deadline


def _tags(plan: bytes) -> tuple[str, ...]:
    return msgspec.json.decode(plan, type=_Head).tags


def _with_id(plan: bytes, id: str) -> bytes:
    fields = msgspec.json.decode(plan, type=dict[str, Raw])
    return msgspec.json.encode({**fields, "id": id})
