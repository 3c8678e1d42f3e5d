"""What travels to the worker that takes a step over from the one that holds the call."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from onward.context import Progress
from onward.plan import Args, Plan, Runnable


class CallHead(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a step's task can learn of its call.

    Args:
        id: The call's id, or that of the first call that it continues.
        flow: Its flow's name.
        key: The idempotency key.
        deadline: When it expires, in seconds since 1970.
        trace: What observers have travel along.
    """

    id: str
    flow: str
    key: str | None = None
    deadline: float | None = None
    trace: Mapping[str, str] = {}


class StepMessage(msgspec.Struct, frozen=True, omit_defaults=True):
    """A step, and what it takes."""

    call: CallHead
    step: Runnable
    args: Args


def head_of(plan: Plan) -> CallHead:
    """What a plan says of its call."""
    return CallHead(plan.origin, plan.flow, plan.key, plan.deadline, plan.trace)


def write(message: StepMessage) -> bytes:
    """A message as bytes."""
    return _ENCODER.encode(message)


def read(raw: bytes) -> StepMessage:
    """The message that these bytes hold; raises `msgspec.MsgspecError`."""
    return _decoder().decode(raw)


def write_progress(progress: Progress | None) -> str | None:
    """Progress as a text."""
    return None if progress is None else _ENCODER.encode(progress).decode()


def read_progress(text: str | None) -> Progress | None:
    """The progress that a text says; None for a text that somebody else has written."""
    if text is None:
        return None
    try:
        return msgspec.json.decode(text, type=Progress)
    except msgspec.MsgspecError:
        return None


_ENCODER = msgspec.json.Encoder()


def _decoder() -> msgspec.json.Decoder[StepMessage]:
    return msgspec.json.Decoder(StepMessage)
