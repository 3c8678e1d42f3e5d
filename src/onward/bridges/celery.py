"""Calls of flows in a Celery canvas: `celery_signature` and `celery_calls`."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Raw
from msgspec.structs import replace
from returns.result import Failure, Result

from onward import plan as plans
from onward.backend import Backend, Cancels, Submission
from onward.backend.guard import call_backend
from onward.coroutines import drive
from onward.fault import BadPayload, Fault
from onward.flows.flow import AnyFlow, Call, as_step
from onward.flows.lower import travelling
from onward.flows.names import tasks_of
from onward.interpret import core
from onward.interpret.callers import BLOCKS
from onward.interpret.prepare import check_backend
from onward.outcome import Outcome
from onward.plan import NO_ARGS, Args, Plan

if TYPE_CHECKING:
    from onward.backends.celery.native import Celery, Signature

__all__ = ["celery_calls", "celery_signature"]

_SPACE = uuid.UUID("5b0b6a2c-6d0e-5d3c-9d7a-9a3f1f1c2e77")
"""The namespace of the ids of calls that belong to Celery's tasks."""


def celery_signature(
    call: Call[Any, Any] | AnyFlow, /, *, app: Celery | None = None
) -> Signature[Any]:
    """Makes a Celery signature of a call, for a canvas of somebody's own Celery app.

    `celery_calls` adds the task that it names to the app.

    Args:
        call: A call; or a flow, which then takes the value of the task before it in the canvas.
        app: The Celery app; None for the current one.

    Returns:
        The signature. Its task's value is the call's value as JSON; an error or a fault raises
        `onward.backends.celery.native.CallFailed`.

    Raises:
        TypeError: If it is neither a call nor a flow, or the flow cannot take one value.
        ValueError: If an argument of the call cannot travel.

    Example:
        ```python
        chain(fetch.s("ann"), celery_signature(clean >> store), notify.s()).delay()
        ```
    """
    from onward.backends.celery.native import signature_of

    flow, args = (call.flow, call.args) if isinstance(call, Call) else (as_step(call), NO_ARGS)
    if isinstance(args, BadPayload):
        raise ValueError(str(args))
    tasks_of(flow)  # raises ValueError if two tasks share a name
    form = travelling(flow)
    if isinstance(form, BadPayload):
        raise ValueError(str(form))
    root, version = form
    plan = Plan(v=version, flow=flow.name, root=root, args=args)
    return signature_of(plans.encode(plan), takes_value=not isinstance(call, Call), app=app)


def celery_calls(app: Celery, /, on: Backend) -> None:
    """Adds the task of `celery_signature` to a Celery app, whose workers then run calls.

    The calls themselves run on the backend, served by Onward's workers. The Celery task submits its
    call once, however often it is delivered, and waits without a slot. Who revokes it cancels the
    call.

    Args:
        app: The Celery app. Its workers need the task, as they need every other one.
        on: The backend that the calls run on.

    Example:
        ```python
        app = Celery("shop", broker=BROKER)
        celery_calls(app, on=connect("temporal://localhost:7233").unwrap())
        ```
    """
    from onward.backends.celery.native import register

    check_backend(on, "submit", "outcome")
    register(app, _Calls(on))


class _Calls:
    """See `onward.backends.celery.native.Runs`."""

    def __init__(self, on: Backend) -> None:
        self._on = on

    def begin(self, task: str, plan: bytes, values: Sequence[object], /) -> Result[str, Fault]:
        decoded = plans.decode(plan)
        if isinstance(decoded, Failure):
            return Failure(decoded.failure())
        found = replace(decoded.unwrap(), id=_id_of(task))
        if values:
            try:
                found = replace(found, args=Args(tuple(map(_raw, values))))
            except (TypeError, ValueError) as problem:
                return Failure(BadPayload(found.flow, f"a value is not JSON: {problem}"))
        return drive(core.submit_plan(BLOCKS, Submission(found), self._on))

    def outcome(self, id: str, timeout: float | None, /) -> Result[Outcome | None, Fault]:
        return drive(core.outcome(BLOCKS, id, self._on, timeout))

    def cancel(self, task: str, /) -> None:
        if isinstance(self._on, Cancels):
            call_backend(self._on.cancel, _id_of(task))


def _id_of(task: str) -> str:
    return uuid.uuid5(_SPACE, task).hex


def _raw(value: object) -> Raw:
    return Raw(msgspec.json.encode(value))
