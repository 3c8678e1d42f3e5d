"""What one Celery task sends the next: the state of the call, and what to do.

The tags and fields on the wire are those of the first release.
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec
from msgspec import Raw, Struct

from onward.outcome import Failed, Faulted, Outcome, Value
from onward.plan import NO_ARGS, Args, EachNode, FusedNode, StepNode
from onward.secret import has_marks, masked


class Started(Struct, frozen=True, tag="started", tag_field="now"):
    """The call begins with these arguments."""

    args: Args


class Continuing(Struct, frozen=True, tag="flowing", tag_field="now", omit_defaults=True):
    """The last step gave a value. With `past`, it skips the handler of that rescue."""

    raw: Raw
    past: str = ""


class Failing(Struct, frozen=True, tag="broken", tag_field="now", omit_defaults=True):
    """A step failed, inside of these rescues, the innermost first."""

    outcome: Failed | Faulted
    inside: tuple[str, ...] = ()


CallState: TypeAlias = Started | Continuing | Failing


class StepMessage(Struct, frozen=True, omit_defaults=True, kw_only=True):
    """What one Celery task is to do, and for whom.

    Args:
        call: The call's id.
        flow: The flow's name.
        at: The step's place within the call.
        do: The step, or the fan-out; None where values are only gathered or passed on.
        inside: The rescues whose body it is in, the innermost first.
        handles: The rescue whose handler begins with it.
        skips: The rescues of whose handlers it is a part.
        is_top: Whether it is in no branch of a fan-out.
        is_last: Whether the call ends with it.
        is_flat: Whether the arrays it gathers become one array.
        before: Where the items ended whose turn came before, in an `each` with a limit.
        after: The items whose turn comes after these.
        takes: The places whose values come in, where these are signed.
        until: When what is signed expires, in seconds since 1970-01-01 UTC.
        key: The call's idempotency key.
        deadline: When the call expires, in seconds since 1970-01-01 UTC.
        queue: The queue of the steps that name none.
        priority: The priority of the steps that have none.
        trace: The plan's trace.
        given: The arguments that the next task takes, of a step that brings its own.
        is_again: Whether the call was lost, and goes before others now.
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
    is_again: bool = False


def outcome_of(state: CallState) -> Outcome:
    """What the call's outcome is, if it ends here."""
    if isinstance(state, Failing):
        return state.outcome
    return Value(state.raw if isinstance(state, Continuing) else state.args.positional[0])


class Discreet(str):
    """A text that holds secrets, and shows none to Celery's own tools and events."""

    __slots__ = ()

    def __repr__(self) -> str:
        at = self.find("{")  # behind its signature, where there is one
        return repr(self[:at] + masked(self[at:].encode()).decode())

    def replace(self, *_: object, **__: object) -> str:
        """What `celery.utils.saferepr` asks for, of a text that it need not cut."""
        return repr(self)[1:-1]

    def __len__(self) -> int:
        return 0  # or it would cut the text itself

    def __bool__(self) -> bool:
        return True


def discreet(text: str) -> str:
    """A text as it is sent, whose repr has no secret in it."""
    return Discreet(text) if has_marks(text.encode()) else text


def shown_of(message: StepMessage) -> str:
    """What Celery's tools show of a message, which would else be all of it."""
    return repr({"call": message.call, "at": message.at})


def write(value: CallState | StepMessage) -> bytes:
    """As it travels."""
    return _ENCODER.encode(value)


def read_state(raw: bytes) -> CallState:
    """What `write` wrote."""
    return _STATE.decode(raw)


def read_step(raw: bytes) -> StepMessage:
    """What `write` wrote."""
    return _STEP.decode(raw)


_ENCODER = msgspec.json.Encoder()
_STATE: msgspec.json.Decoder[CallState] = msgspec.json.Decoder(CallState)
_STEP = msgspec.json.Decoder(StepMessage)
