"""What `history` and `replay` give: a call, its steps and the attempts at them, as values."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Generic, Literal, Never, TypeAlias

from msgspec import Struct
from returns.result import Result
from typing_extensions import TypeVar

from onward.backend import Kind, State
from onward.fault import Fault
from onward.plan import Plan

Value_co = TypeVar("Value_co", covariant=True, default=object)
Error_co = TypeVar("Error_co", covariant=True, default=Never)


class AttemptHistory(Struct, frozen=True):
    """One attempt at a step.

    Args:
        number: Its number, from 1.
        began: When it began; None if the engine does not know.
        ended: When it ended; None if it has not, or the engine does not know.
        worker: The worker that made it; empty if the engine does not know.
        result: How it ended. None if it runs, or if its worker died.
    """

    number: int
    began: datetime | None = None
    ended: datetime | None = None
    worker: str = ""
    result: Result[object, object] | None = None


class StepHistory(Struct, frozen=True):
    """A step of a call, or a wait, that has begun or was taken over from another call.

    Args:
        path: Where it stands within the call, such as `1[0].2`.
        task: Its task. For a fused step, this is the flow; for a wait, the signal, or nothing.
        kind: `step`, `sleep` or `awaits`.
        result: Its value, its error or its fault; None if it has not ended.
        attempts: The attempts at it, in order, as far as the engine keeps them.
        began: When it began first.
        ended: When it ended.
        until: When a wait ends at the latest.
        taken_over: Whether the call took its outcome over from the one that it continues, and did
            not run it.
    """

    path: str
    task: str = ""
    kind: Kind = "step"
    result: Result[object, object] | None = None
    attempts: tuple[AttemptHistory, ...] = ()
    began: datetime | None = None
    ended: datetime | None = None
    until: datetime | None = None
    taken_over: bool = False


class History(Struct, Generic[Value_co, Error_co], frozen=True):
    """What happened in a call, up to the moment when it was asked for.

    Args:
        id: The call's id, which is its ref's text.
        flow: The name of its flow.
        state: Its state.
        steps: Its steps and waits in the order in which they began; first those that it took over
            from another call.
        result: Its value, its error or its fault; None if it has not ended.
        signals: The values of the signals that were sent to it, by name.
        submitted: When it was submitted.
        ended: When it ended.
        tags: The tags that it was submitted with.
        origin: The id of the first of the calls that it continues; its own if it continues none.
            It is `current().id` in all of them.
        plan: Its plan, with `"***"` in place of each secret; None if the engine does not keep it.
    """

    id: str
    flow: str
    state: State
    steps: tuple[StepHistory, ...]
    result: Result[Value_co, Error_co | Fault] | None = None
    signals: Mapping[str, object] = {}
    submitted: datetime | None = None
    ended: datetime | None = None
    tags: tuple[str, ...] = ()
    origin: str = ""
    plan: Plan | None = None


Difference: TypeAlias = Literal["task", "args", "value", "branch", "added", "gone"]
"""How a step of today's code differs from what is recorded of a call.

- `task`: another task, signal or kind of step stands at its path.
- `args`: it gets other arguments.
- `value`: today's types refuse its arguments, or what it gave.
- `branch`: it belongs to another branch of a `case` than the one that ran.
- `added`: the call had no such step.
- `gone`: today's code does not come to this step of the call.
"""


class ReplayedStep(Struct, frozen=True):
    """A step of a call as today's code sees it.

    Args:
        path: Where it stands within the call.
        task: Its task in today's code, or the recorded one if it is gone. For a fused step, this is
            the flow; for a wait, the signal, or nothing.
        kind: `step`, `sleep` or `awaits`.
        args: Its arguments by position, as its function gets them.
        kwargs: Its arguments by name.
        result: What is recorded of it, read by today's types; None if it has no outcome.
        difference: How it differs from what is recorded; None if it does not.
        why: The difference in words; empty if there is none.
    """

    path: str
    task: str
    kind: Kind = "step"
    args: tuple[object, ...] = ()
    kwargs: Mapping[str, object] = {}
    result: Result[object, object] | None = None
    difference: Difference | None = None
    why: str = ""


class Replay(Struct, Generic[Value_co, Error_co], frozen=True):
    """What today's code makes of the recorded outcomes of a call.

    Args:
        id: The call's id.
        flow: The name of its flow.
        steps: The steps and waits that today's code comes to, in order, and those of the call that
            it does not come to.
        result: The outcome that today's code gives; None if it needs one that is not recorded.
    """

    id: str
    flow: str
    steps: tuple[ReplayedStep, ...]
    result: Result[Value_co, Error_co | Fault] | None = None

    @property
    def differences(self) -> tuple[ReplayedStep, ...]:
        """The steps at which today's code differs from what is recorded."""
        return tuple(step for step in self.steps if step.difference is not None)
