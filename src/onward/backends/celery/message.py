"""The message that one Celery task sends to the next: the call's state, and what to do.

The tags and fields must stay as they are: running systems exchange them.
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec
from msgspec import Raw, Struct
from msgspec.structs import replace

from onward.evaluate import join, split
from onward.outcome import Failed, Faulted, Outcome, Value
from onward.plan import (
    NO_ARGS,
    Args,
    AwaitsNode,
    CaseNode,
    EachNode,
    FinallyNode,
    FusedNode,
    RescueNode,
    SleepNode,
    StepNode,
)
from onward.routing import Route
from onward.secret import has_marks, masked

CLEANUP = "!"
"""How the names of cleanups end, among those of what handles failures."""

SETTLES = "~"
"""What stands for a fan-out that settles, among the paths of fan-outs that cancel."""


class Started(Struct, frozen=True, tag="started", tag_field="now"):
    """The call starts with these arguments."""

    args: Args


class Continuing(Struct, frozen=True, tag="flowing", tag_field="now", omit_defaults=True):
    """The last step gave a value. `past` names a rescue whose handler the value skips."""

    raw: Raw
    past: str = ""


class Failing(Struct, frozen=True, tag="broken", tag_field="now", omit_defaults=True):
    """A step failed. `inside` names the rescues and cleanups around it, the innermost first.

    `is_cancelled` says that it was cancelled, with its call or by another branch of a fan-out.
    """

    outcome: Failed | Faulted
    inside: tuple[str, ...] = ()
    is_cancelled: bool = False


CallState: TypeAlias = Started | Continuing | Failing


class StepMessage(Struct, frozen=True, omit_defaults=True, kw_only=True):
    """What one Celery task has to do.

    Args:
        call: The call's id.
        flow: The flow's name.
        at: The task's path within the call.
        do: The step or the `each`; None for a task that only gathers or passes on values.
        inside: The rescues and cleanups around the task, the innermost first.
        handles: The rescue whose handler, or the cleanup that, begins with the task.
        skips: The rescues whose handlers the task is a part of.
        is_top: Whether the task is outside of all fan-outs.
        is_last: Whether the call ends with the task.
        is_flat: Whether the gathered arrays are joined into one array.
        before: The states after the items that have run already, in an `each` with a limit.
        after: The items that run later, in an `each` with a limit.
        takes: The paths whose values the task accepts, if messages are signed.
        until: When the signature expires, in seconds since 1970-01-01 UTC.
        key: The call's idempotency key.
        deadline: When the call expires, in seconds since 1970-01-01 UTC.
        queue: The call's queue, for steps that name none.
        priority: The call's priority, for steps that have none.
        trace: The plan's trace.
        given: The arguments of the next task, if the step brings its own.
        wait: What the task waits for.
        rescue: The rescue to send on when its input is known, if its handler takes the input too.
        case: The case whose branch to send on when the value is known.
        route: The route of the branch that gave the value, if that gets the name of its type.
        ends: The flow with a cleanup to send on when its input is known, or its cleanup if that has
            the input as `given`.
        fans: The paths of the fan-outs around the task whose first failure cancels their other
            branches, the innermost first; `SETTLES` for one within these that settles.
        is_again: Whether the call was lost and is sent again.
        is_cancelled: Whether the call was cancelling when it was sent. Steps outside of cleanups
            then have no queue of their own, because they only pass on what is known.
        origin: The id that its steps see, if the call continues another one.
    """

    call: str
    flow: str
    at: str
    do: StepNode | FusedNode | EachNode | None = None
    inside: tuple[str, ...] = ()
    handles: str = ""
    skips: tuple[str, ...] = ()
    is_top: bool = True
    is_last: bool = False
    is_flat: bool = False
    before: tuple[CallState, ...] = ()
    after: tuple[Raw, ...] = ()
    takes: tuple[str, ...] = ()
    until: float = 0.0
    key: str | None = None
    deadline: float | None = None
    queue: str | None = None
    priority: int | None = None
    trace: dict[str, str] = {}
    given: Args = NO_ARGS
    wait: SleepNode | AwaitsNode | None = None
    rescue: RescueNode | None = None
    case: CaseNode | None = None
    route: Route | None = None
    ends: FinallyNode | None = None
    fans: tuple[str, ...] = ()
    is_again: bool = False
    is_cancelled: bool = False
    origin: str = ""


def outcome_of(state: CallState) -> Outcome:
    """The call's outcome, if the call ends in this state."""
    if isinstance(state, Failing):
        return state.outcome
    return Value(state.raw if isinstance(state, Continuing) else state.args.positional[0])


def state_after(outcome: Outcome, message: StepMessage) -> CallState:
    """Returns the call's state after a step with this outcome."""
    if isinstance(outcome, Value):
        return Continuing(outcome.raw)
    return Failing(outcome, message.inside)


def state_after_cancel(outcome: Faulted, message: StepMessage) -> CallState:
    """Returns the call's state after a step that was cancelled; only cleanups handle that."""
    inside = tuple(name for name in message.inside if name.endswith(CLEANUP))
    return Failing(outcome, inside, is_cancelled=True)


def state_after_cleanup(state: CallState, name: str) -> CallState:
    """Returns the state after a cleanup: what the flow before it has given.

    Args:
        state: The state after the flow.
        name: The name by which the cleanup handled it.
    """
    if isinstance(state, Continuing):
        return replace(state, past="")
    if isinstance(state, Failing) and name in state.inside:
        return replace(state, inside=state.inside[state.inside.index(name) + 1 :])
    return state


def ends_with(state: CallState, message: StepMessage) -> bool:
    """Whether the call ends here: after its last task, or by a failure without a rescue."""
    is_final = isinstance(state, Failing) and message.is_top and not state.inside
    return message.is_last or is_final


def gathered(states: list[CallState], message: StepMessage) -> CallState:
    """Returns the state after a fan-out: all values, or the first failure."""
    values: list[Raw] = []
    for state in states:
        if isinstance(state, Failing):
            failures = [each for each in states if isinstance(each, Failing)]
            return next((each for each in failures if not each.is_cancelled), state)
        if isinstance(state, Continuing) and state.past in message.skips:
            return state
        raw = outcome_of(state).raw
        parts = split(Args((raw,))) if message.is_flat else [raw]
        if isinstance(parts, Faulted):
            return Failing(parts)
        values.extend(parts)
    return Continuing(join(values))


class Discreet(str):
    """A text with secrets, which Celery's tools and events must not show."""

    __slots__ = ()

    def __repr__(self) -> str:
        at = self.find("{")  # a signature may come first
        return repr(self[:at] + masked(self[at:].encode()).decode())

    def replace(self, *_: object, **__: object) -> str:
        """`celery.utils.saferepr` calls this for a text that it need not cut."""
        return repr(self)[1:-1]

    def __len__(self) -> int:
        return 0  # otherwise saferepr would cut the text itself

    def __bool__(self) -> bool:
        return True


def discreet(text: str) -> str:
    """Wraps a text with secrets, so that its repr shows none."""
    return Discreet(text) if has_marks(text.encode()) else text


def shown_of(message: StepMessage) -> str:
    """Returns what Celery's tools show of a message, instead of all of it."""
    return repr({"call": message.call, "at": message.at})


_ENCODER = msgspec.json.Encoder()
_STATE: msgspec.json.Decoder[CallState] = msgspec.json.Decoder(CallState)
_STEP = msgspec.json.Decoder(StepMessage)


def encode(value: CallState | StepMessage) -> bytes:
    """Encodes a state or a message as JSON."""
    return _ENCODER.encode(value)


def decode_state(raw: bytes) -> CallState:
    """Decodes a state; raises MsgspecError if it is not valid."""
    return _STATE.decode(raw)


def decode_step(raw: bytes) -> StepMessage:
    """Decodes a message; raises MsgspecError if it is not valid."""
    return _STEP.decode(raw)
