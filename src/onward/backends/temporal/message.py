"""The messages between clients, workflows and workers, besides the values themselves."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from msgspec import Raw, Struct
from msgspec.structs import replace
from temporalio.common import RawValue

from onward import outcome as outcomes
from onward.backend.support import text_of_wait
from onward.context import Progress
from onward.fault import BadPayload, TooLarge
from onward.outcome import Faulted, Outcome, Value, faulted, unreadable
from onward.plan import Args, Plan, Runnable, Waiting
from onward.scope import in_cleanup

LIMIT = 2_000_000
"""The largest payload, in bytes. Temporal's own limit is 2 MiB, headers included."""

CRASHES = 50
"""How often a step's worker may die before the step fails as `Lost`."""

CANCELLED = "cancelled by onward.cancel"
"""The reason that the server stores for a cancelled call."""

EXPIRED = "expired before any worker began it"
"""The reason that the server stores for a call with cleanups that nobody began in time."""

MOVED = "moved by onward.move: "
"""What the reason that the server stores for a call that was moved begins with."""

SINGLE = "task-"
"""The prefix of the ids of calls that run as a single activity."""

WAITING = "onward.waiting"
"""The key of a workflow's memo that says what the workflow waits for."""

BEGUN = "onward.begun"
"""The key of a memo whose values, in the history, are the waits that began without a timer."""

TAGS = "onward.tags"
"""The key of a workflow's memo with the tags of its call."""

_AT_STEP = ", step "
_SUMMARY = 200
"""The largest summary of a timer, in bytes. Temporal takes 400, with what a codec adds."""

OMITTED = "onward-omitted"
"""The metadata key of a payload that replaces one that was too large to be sent."""


class FlowOptions(Struct, frozen=True, omit_defaults=True):
    """How a workflow runs its plan.

    Args:
        heartbeat: How long a worker that runs a step may send no heartbeat, in seconds.
        at: The plan's path within its call, if it is a part of the call.
        crashes: How often a step's worker may die before the step fails as `Lost`.
        place: The same path without parts; None if an earlier release wrote it.
        delay: How long the call waits before it begins, in seconds, if a signal may cut that short.
        records: Whether the history records also the waits that need no timer.
    """

    heartbeat: float
    at: str = ""
    crashes: int = CRASHES
    place: str | None = None
    delay: float = 0.0
    records: bool = False


def new_options(heartbeat: float) -> FlowOptions:
    """The options of a call of this release."""
    return FlowOptions(heartbeat, records=True)


def tags_memo(tags: Sequence[str]) -> dict[str, object] | None:
    """The memo of a workflow whose call has these tags."""
    return {TAGS: list(tags)} if tags else None


class WaitNote(Struct, frozen=True, omit_defaults=True):
    """What a workflow waits for, as its memo has it.

    Args:
        signal: The signal's name; empty for a sleep.
        until: When the wait ends at the latest, in seconds since 1970; None without a timeout.
        path: The wait's path.
        limit: The name of the limit, for a step that waits for its place.
        attempt: The number of that step's attempt.
    """

    signal: str = ""
    until: float | None = None
    path: str = ""
    limit: str = ""
    attempt: int = 0


class StepMessage(Struct, frozen=True, omit_defaults=True):
    """What a worker needs to run a step, besides the step's arguments.

    Args:
        call: The call's id; that of the first one, if the call continues others.
        flow: The call's flow.
        at: The step's path.
        step: The step itself, with its policy.
        key: The call's idempotency key.
        deadline: When the call expires, in seconds since 1970.
        keyword: The names of the keyword arguments, whose values come last.
        trace: The plan's trace.
        attempt: The number of the attempt, of a step with a limit: its workflow counts them.
    """

    call: str
    flow: str
    at: str
    step: Runnable
    key: str | None = None
    deadline: float | None = None
    keyword: tuple[str, ...] = ()
    trace: dict[str, str] = {}
    attempt: int = 1

    @property
    def name(self) -> str:
        """The task's name; for a fused step, the flow's."""
        return name_of(self.step, self.flow)


class Heartbeat(Struct, frozen=True, omit_defaults=True):
    """What a worker reports about a step while the step runs.

    The attempt is counted here, because Temporal also counts attempts whose worker died, and the
    step's policy does not.

    Args:
        attempt: The number of the attempt, or of the next one, by the step's policy, from 1.
        task: The task; in a fused step, the one that is running.
        step: The step's path.
        progress: The progress that the task last reported.
    """

    attempt: int = 1
    task: str = ""
    step: str = ""
    progress: Progress | None = None


def step_message(step: Runnable, args: Args, at: str, plan: Plan, call: str) -> StepMessage:
    """Makes the message for a step."""
    keyword = tuple(args.keyword)
    deadline = None if in_cleanup(at) else plan.deadline
    return StepMessage(call, plan.flow, at, step, plan.key, deadline, keyword, plan.trace)


def encode(message: FlowOptions | StepMessage | Heartbeat) -> bytes:
    """Encodes a message as JSON."""
    return _ENCODER.encode(message)


def decode_options(raw: bytes) -> FlowOptions:
    """Decodes a workflow's options; raises msgspec.MsgspecError."""
    return _OPTIONS.decode(raw)


def decode_step(raw: bytes) -> StepMessage:
    """Decodes a step's message; raises msgspec.MsgspecError."""
    return _STEP.decode(raw)


def value_of_signal(sent: Sequence[bytes]) -> Raw | None:
    """Returns the value of a signal; None if it has none in JSON, as Onward never sends one."""
    try:
        msgspec.json.decode(sent[0])
    except (IndexError, msgspec.MsgspecError, ValueError):
        return None
    return Raw(sent[0])


def summary_of(node: Waiting, path: str) -> str:
    """What Temporal shows of a wait's timer. It ends with the path, unless that is long."""
    at = f"{_AT_STEP}{path}"
    if len(at) > _SUMMARY // 2:
        at = ""
    text = text_of_wait(node).encode()[: _SUMMARY - len(at)].decode(errors="ignore")
    return f"{text}{at}"


def path_of_summary(summary: str) -> str | None:
    """The path of the wait that a timer is for; None for another timer."""
    _text, at, path = summary.rpartition(_AT_STEP)
    return path if at else None


def decode_text(raw: bytes) -> str:
    """Decodes a text; an empty one if it is not valid."""
    try:
        return msgspec.json.decode(raw, type=str)
    except (msgspec.MsgspecError, ValueError):
        return ""


def decode_wait(raw: bytes) -> WaitNote | None:
    """Decodes what a workflow waits for; None if it is not valid."""
    try:
        return _WAIT.decode(raw)
    except (msgspec.MsgspecError, ValueError):
        return None


def decode_heartbeat(raw: bytes) -> Heartbeat:
    """Decodes a heartbeat; returns an empty one if it is not valid."""
    try:
        return _HEARTBEAT.decode(raw)
    except (msgspec.MsgspecError, ValueError):
        return Heartbeat()


def name_of(step: Runnable, flow: str) -> str:
    """Returns a step's name in Temporal's UI."""
    return getattr(step, "task", "") or workflow_type(flow)


def workflow_type(flow: str) -> str:
    """Returns a flow's name, cut to the length that Temporal accepts as a workflow type."""
    return flow if len(flow) <= 200 else f"{flow[:197]}..."


def values(args: Args) -> list[Raw]:
    """Returns the values of arguments in the order in which they are sent, by keyword last."""
    return [*args.positional, *args.keyword.values()]


def args_of(values: Sequence[bytes], keyword: Sequence[str]) -> Args:
    """Turns sent values back into arguments."""
    count = len(values) - len(keyword)
    by_name = dict(zip(keyword, map(Raw, values[count:]), strict=True))
    return Args(tuple(map(Raw, values[:count])), by_name)


def size_of(args: Args) -> int:
    """Returns the size of arguments, in bytes."""
    return sum(memoryview(raw).nbytes for raw in values(args))


def too_large(name: str, size: int) -> Faulted:
    """The outcome for something that is too large to be sent."""
    message = f"it has {size} bytes, and Temporal carries at most {LIMIT}"
    return faulted(TooLarge(name, message, size, LIMIT))


def omitted(sent: Sequence[RawValue], name: str) -> Outcome | None:
    """Returns the fault if one of these payloads was too large to be sent, or None.

    Args:
        sent: The received payloads.
        name: The task or flow that they belong to.
    """
    for each in sent:
        if OMITTED in each.payload.metadata:
            return named(outcomes.decode(each.payload.data), name)
    return None


def outcome_of_value(value: RawValue, name: str) -> Outcome:
    """Returns the outcome of a step or call that returned a value."""
    return omitted([value], name) or Value(Raw(value.payload.data))


def named(outcome: Outcome, name: str) -> Outcome:
    """Adds the task to a `TooLarge` that has none, as the one for an omitted payload."""
    if isinstance(outcome, Faulted):
        fault = outcome.fault
        if isinstance(fault, TooLarge) and not fault.task:
            return faulted(replace(fault, task=name))
    return outcome


def checked(outcome: Outcome, name: str) -> Outcome:
    """Returns an outcome, or `TooLarge` if it is too large to be sent."""
    size = memoryview(outcome.raw).nbytes
    return outcome if size <= LIMIT else too_large(name, size)


def foreign(name: str, problem: Exception) -> Faulted:
    """The outcome of a task that Onward did not send."""
    return unreadable(name, "its message", BadPayload(name, f"Onward did not send this: {problem}"))


_ENCODER = msgspec.json.Encoder()
_OPTIONS = msgspec.json.Decoder(FlowOptions)
_STEP = msgspec.json.Decoder(StepMessage)
_WAIT = msgspec.json.Decoder(WaitNote)
_HEARTBEAT = msgspec.json.Decoder(Heartbeat)
