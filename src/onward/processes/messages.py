"""What a worker and its child processes send each other.

The envelope is MessagePack, so that a progress of any float travels; what is on the wire of the
engines, such as arguments and outcomes, is its JSON as bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import TypeAlias

import msgspec
from msgspec import Struct

from onward.context import Context, Progress
from onward.plan import Args, StepNode

LogValue: TypeAlias = str | int | float | bool | None


class Load(Struct, frozen=True, tag="load"):
    """Asks a child to import modules.

    Args:
        modules: The modules, in the order in which their tasks are looked up.
        main: The file of the program; None if none of the modules is `__main__`.
        levels: The levels of the worker's loggers, by name; that of the root is under "".
        disabled: The level up to which all logging is disabled.
    """

    modules: tuple[str, ...]
    main: str | None
    levels: Mapping[str, int]
    disabled: int


class Job(Struct, frozen=True, tag="job"):
    """Asks a child to make an attempt at a step.

    Args:
        number: Distinguishes the attempts that a child makes.
        modules: The modules, as in a `Load` before.
        step: The step.
        args: The value of the step before, or the call's own arguments.
        context: What the child's `current()` says, but for its functions.
        weigh: Whether the child says how much memory it has.
    """

    number: int
    modules: tuple[str, ...]
    step: bytes
    args: bytes
    context: Where
    weigh: bool


class Where(Struct, frozen=True, array_like=True):
    """A `Context` without its functions."""

    id: str
    task: str
    step: str
    attempt: int
    key: str | None
    deadline: datetime | None
    trace: Mapping[str, str]


class Loaded(Struct, frozen=True, tag="loaded"):
    """The child has imported the modules.

    Args:
        problem: Why it has not; empty if it has.
    """

    problem: str = ""


class Reported(Struct, frozen=True, tag="reported"):
    """A step reports progress."""

    number: int
    progress: Progress


class Logged(Struct, frozen=True, tag="logged"):
    """The child logs a record, whose attributes these are."""

    record: Mapping[str, LogValue]


class Ended(Struct, frozen=True, tag="ended"):
    """An attempt has ended.

    Args:
        number: The job's.
        outcome: Its outcome.
        memory: How much memory the child has, in bytes; 0 if it was not asked.
    """

    number: int
    outcome: bytes
    memory: int


Asked: TypeAlias = Load | Job
"""What a worker sends."""

Answered: TypeAlias = Loaded | Reported | Logged | Ended
"""What a child sends."""


def where_of(context: Context) -> Where:
    """The part of a context that can travel."""
    return Where(
        context.id,
        context.task,
        context.step,
        context.attempt,
        context.key,
        context.deadline,
        context.trace,
    )


encode: Callable[[object], bytes] = msgspec.msgpack.Encoder().encode

_ASKED: msgspec.msgpack.Decoder[Asked] = msgspec.msgpack.Decoder(Asked)
_ANSWERED: msgspec.msgpack.Decoder[Answered] = msgspec.msgpack.Decoder(Answered)
decode_asked: Callable[[bytes], Asked] = _ASKED.decode
decode_answered: Callable[[bytes], Answered] = _ANSWERED.decode
encode_json: Callable[[object], bytes] = msgspec.json.Encoder().encode
decode_step: Callable[[bytes], StepNode] = msgspec.json.Decoder(StepNode).decode
decode_args: Callable[[bytes], Args] = msgspec.json.Decoder(Args).decode
