"""What travels between clients, workflows and workers beside the values."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from msgspec import Raw, Struct
from msgspec.structs import replace
from temporalio.common import RawValue

from onward import outcome as outcomes
from onward.context import Progress
from onward.fault import ONLY_ONWARD, BadPayload, TooLarge
from onward.outcome import Faulted, Outcome, Value, faulted
from onward.plan import Args, Plan, Runnable

LIMIT = 2_000_000
"""How many bytes a payload may have; Temporal's own limit is 2 MiB, envelope included."""

CRASHES = 50
"""How often a step's worker may die before the step is lost."""

CANCELLED = "cancelled by onward.cancel"
"""The reason that the server keeps for a call that was cancelled."""

SINGLE = "task-"
"""The prefix of the id of a call that is a single activity."""

OMITTED = "onward-omitted"
"""The metadata of a payload that stands in for one that was too large to be sent."""


class FlowOptions(Struct, frozen=True, omit_defaults=True):
    """How a workflow runs its plan.

    Args:
        heartbeat: How long a worker may be silent while it runs a step, in seconds.
        at: The plan's path within its call, if it is a part of one.
        crashes: How often a step's worker may die before the step is lost.
        place: The same path without parts; None where a release before this one wrote it.
    """

    heartbeat: float
    at: str = ""
    crashes: int = CRASHES
    place: str | None = None


class StepMessage(Struct, frozen=True, omit_defaults=True):
    """What a worker needs to run a step, beside the values that the step takes.

    Args:
        call: The call's id.
        flow: The call's flow.
        at: The step's path.
        step: The step itself, with its policy.
        key: The call's idempotency key.
        deadline: When the call expires, in seconds since 1970.
        keyword: The names of the keyword arguments, which are the last of the values.
        trace: The plan's trace.
    """

    call: str
    flow: str
    at: str
    step: Runnable
    key: str | None = None
    deadline: float | None = None
    keyword: tuple[str, ...] = ()
    trace: dict[str, str] = {}

    @property
    def name(self) -> str:
        """The task's name; the flow's, where it is fused."""
        return name_of(self.step, self.flow)


class Heartbeat(Struct, frozen=True, omit_defaults=True):
    """What a worker reports about a step while it runs it.

    Temporal counts every attempt; an attempt whose worker died does not count for the
    step's policy.

    Args:
        attempt: Which attempt it is by the step's policy, or which is next, from 1.
        task: The task; in a fused step, the one that runs.
        step: The step's path.
        progress: What the task reported last.
    """

    attempt: int = 1
    task: str = ""
    step: str = ""
    progress: Progress | None = None


def step_message(step: Runnable, args: Args, at: str, plan: Plan, call: str) -> StepMessage:
    """A step as a worker receives it."""
    keyword = tuple(args.keyword)
    return StepMessage(call, plan.flow, at, step, plan.key, plan.deadline, keyword, plan.trace)


def write(message: FlowOptions | StepMessage | Heartbeat) -> bytes:
    """A message as bytes."""
    return _ENCODER.encode(message)


def read_options(raw: bytes) -> FlowOptions:
    """The `FlowOptions` that these bytes hold; raises msgspec.MsgspecError."""
    return _OPTIONS.decode(raw)


def read_step(raw: bytes) -> StepMessage:
    """The step that these bytes hold; raises msgspec.MsgspecError."""
    return _STEP.decode(raw)


def read_heartbeat(raw: bytes) -> Heartbeat:
    """What a worker reported last; an empty report if it cannot be read."""
    try:
        return _HEARTBEAT.decode(raw)
    except (msgspec.MsgspecError, ValueError):
        return Heartbeat()


def name_of(step: Runnable, flow: str) -> str:
    """A step's name in Temporal's UI."""
    return getattr(step, "task", "") or shortened(flow)


def shortened(flow: str) -> str:
    """A flow's name, cut to what Temporal accepts as a workflow type."""
    return flow if len(flow) <= 200 else f"{flow[:197]}..."


def values(args: Args) -> list[Raw]:
    """Arguments as the values that are sent, keyword arguments last."""
    return [*args.positional, *args.keyword.values()]


def args_of(values: Sequence[bytes], keyword: Sequence[str]) -> Args:
    """Sent values as the arguments that they were."""
    count = len(values) - len(keyword)
    named = dict(zip(keyword, map(Raw, values[count:]), strict=True))
    return Args(tuple(map(Raw, values[:count])), named)


def size_of(args: Args) -> int:
    """The size of arguments, in bytes."""
    return sum(memoryview(raw).nbytes for raw in values(args))


def too_large(name: str, size: int) -> Faulted:
    """The outcome of something that is too large to be sent."""
    message = f"{size} bytes, and Temporal carries {LIMIT} at a time"
    return faulted(TooLarge(name, message, size, LIMIT))


def omitted(sent: Sequence[RawValue], name: str) -> Outcome | None:
    """The outcome if one of these was too large to be sent, or None.

    Args:
        sent: What arrived.
        name: The task or flow that it belongs to.
    """
    for each in sent:
        if OMITTED in each.payload.metadata:
            return named(outcomes.decode(each.payload.data), name)
    return None


def taken(given: RawValue, name: str) -> Outcome:
    """The outcome of a step or call that returned a value."""
    return omitted([given], name) or Value(Raw(given.payload.data))


def named(outcome: Outcome, name: str) -> Outcome:
    """An outcome with its task: the stand-in for a payload that is too large has none."""
    if isinstance(outcome, Faulted):
        fault = outcome.fault
        if isinstance(fault, TooLarge) and not fault.task:
            return faulted(replace(fault, task=name))
    return outcome


def checked(outcome: Outcome, name: str) -> Outcome:
    """An outcome, or the fault that it is too large to be sent."""
    size = memoryview(outcome.raw).nbytes
    return outcome if size <= LIMIT else too_large(name, size)


def unreadable(name: str, problem: Exception) -> Faulted:
    """The outcome of a task that Onward did not put into the task queue."""
    return faulted(BadPayload(name, f"Onward did not send this: {problem}", advice=ONLY_ONWARD))


_ENCODER = msgspec.json.Encoder()
_OPTIONS = msgspec.json.Decoder(FlowOptions)
_STEP = msgspec.json.Decoder(StepMessage)
_HEARTBEAT = msgspec.json.Decoder(Heartbeat)
