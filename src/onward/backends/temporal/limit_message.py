"""What the workflow that hands out the places of a limit is called, and what it is sent."""

from __future__ import annotations

from typing import TypeVar

import msgspec
from msgspec import Struct

from onward.backend.limiter import Saved
from onward.limit import StepLimit

TYPE = "onward.limit"
"""The type of the workflow, and the name of the activities that ask for places."""

ASK = "ask"
BEGIN = "begin"
LEAVE = "leave"
"""The workflow's signals."""

PLACE = "onward.place"
"""The signal that gives a place to a workflow whose step waits for one."""

ASKING = "#limit"
"""What stands between the id of a step and the number of the attempt, in an activity that asks."""

T = TypeVar("T")


class Asked(Struct, frozen=True):
    """A step that asks for a place.

    Args:
        holder: The step's attempt; see `holder_of`.
        limit: Its limit.
        key: The limit's key.
    """

    holder: str
    limit: StepLimit
    key: str


def limiter_id(pool: str) -> str:
    """The id of the workflow that hands out the places of a pool."""
    return f"{TYPE} {pool}"


def token_of(at: str, attempt: int) -> str:
    """What names an attempt at a step within its workflow."""
    return f"{at}#{attempt}"


def holder_of(token: str, workflow: str) -> str:
    """What names an attempt at a step of a workflow."""
    return f"{token} {workflow}"


def workflow_of(holder: str) -> str:
    """The id of the workflow that an attempt belongs to."""
    return holder.partition(" ")[2]


def encode(message: Asked | Saved | str | list[str]) -> bytes:
    """Encodes a message as JSON."""
    return msgspec.json.encode(message)


def decode(raw: bytes, kind: type[T]) -> T:
    """Decodes a message; raises msgspec.MsgspecError."""
    return msgspec.json.decode(raw, type=kind)
