"""The ids and messages of calls that share a key.

Each key has a workflow that holds it while a call of the key is open: the holder. A run of the
holder either waits, and may be given another plan meanwhile, or has started its call, which is a
workflow of its own. Which of the two it is, and which call it is about, stands in the run's memo.
So a client knows from the run that got its signal which call stands for its submission, without any
worker.
"""

from __future__ import annotations

import hashlib
from typing import TypeVar

import msgspec
from msgspec import Struct

TYPE = "onward.unique"
"""The holder's workflow type."""

SUBMIT = "submit"
DROP = "drop"
"""The holder's signals: a further submission, and that the call that comes next is cancelled."""

MEMO = "onward"
"""The memo with the `Place` of a run, or of a call that was cancelled before it began."""

PREFIX = "unique-"
_SLOT = 32

T = TypeVar("T")


class Place(Struct, frozen=True, omit_defaults=True):
    """What a run of a holder is about.

    Args:
        call: The id of its call.
        flow: The call's flow.
        waits: Whether the call has not started, so that it can be replaced.
    """

    call: str
    flow: str = ""
    waits: bool = False


class HolderOptions(Struct, frozen=True, omit_defaults=True):
    """The options of a run of a holder, beside the plan of its call.

    Args:
        place: What it is about.
        beat: How long a worker that runs a step may send no heartbeat, in seconds.
        seconds: How long it waits from its start on, in seconds.
        due: Until when it waits instead, in seconds since 1970.
    """

    place: Place
    beat: float
    seconds: float = 0.0
    due: float | None = None


class Submitted(Struct, frozen=True, omit_defaults=True):
    """A further submission, beside its plan.

    Args:
        seconds: How long it waits, in seconds.
        after: The call that must be the one that has started, for a submission that replaces
            nothing; it comes next unless another one does.
        number: How many of the calls that would have come next have been cancelled.
    """

    seconds: float
    after: str = ""
    number: int = 0


def holder_id(slot: str) -> str:
    """The workflow id of a key's holder."""
    return f"{PREFIX}{slot}"


def call_id(holder: str, id: str) -> str:
    """The id of a call of a holder's key."""
    return f"{holder}-{id}"


def next_id(holder: str, run: str, number: int) -> str:
    """The id of the call that follows a run. Every client and worker computes the same one."""
    return call_id(holder, hashlib.sha256(f"{run} {number}".encode()).hexdigest()[:32])


def holder_of(id: str) -> str | None:
    """The holder of a call's key; None for a call without one."""
    size = len(PREFIX) + _SLOT
    is_one = id.startswith(PREFIX) and id[size : size + 1] == "-"
    return id[:size] if is_one else None


def encode(message: Place | HolderOptions | Submitted) -> bytes:
    """Encodes a message as JSON."""
    return msgspec.json.encode(message)


def decode(raw: bytes, kind: type[T]) -> T:
    """Decodes a message; raises msgspec.MsgspecError."""
    return msgspec.json.decode(raw, type=kind)
