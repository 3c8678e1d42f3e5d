"""`history`, `resume`, `fork`, `replay` and `move`, for blocking callers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, TypeVar

from returns.result import Result

from onward.backend import Backend, Histories, Moves, Submits
from onward.coroutines import drive
from onward.fault import Fault
from onward.flows.flow import Ref
from onward.interpret.callers import BLOCKS
from onward.interpret.prepare import Deadline

if TYPE_CHECKING:
    from onward.interpret.histories import History, Replay

Value = TypeVar("Value")
Error = TypeVar("Error")


def history(ref: Ref[Value, Error], /, on: Histories) -> Result[History[Value, Error], Fault]:
    """Says what has happened in a call: its steps, the attempts at them, and its waits.

    Args:
        ref: What `submit` gave, or `flow.ref(text)` in another process. Values are read by the
            types of its flow; those of tasks that the flow does not have, as JSON.
        on: The backend that the call was submitted to. `isinstance(backend, Histories)` tells you
            and your type checker whether a backend from `connect` has histories.

    Returns:
        The call as it is now, with each step that has begun; or `Unknown` if the backend does not
        know the id.

    Example:
        >>> from onward import history, local, result, submit, task
        >>> @task
        ... def half(n: int) -> int:
        ...     return n // 2
        >>> @task
        ... def inverse(n: int) -> int:
        ...     return 100 // n
        >>> backend = local()
        >>> ref = submit((half >> inverse)(1), on=backend).unwrap()
        >>> fault = result(ref, on=backend)
        >>> for step in history(ref, on=backend).unwrap().steps:
        ...     print(step.path, step.task, type(step.result).__name__, len(step.attempts))
        0 half Success 1
        1 inverse Failure 1
    """
    from onward.interpret import recorded  # only programs that repair calls pay for it

    return drive(recorded.history(BLOCKS, ref, on))


def resume(
    ref: Ref[Value, Error],
    /,
    on: Histories,
    *,
    to: Submits | None = None,
    args: Sequence[object] | Mapping[str, object] | None = None,
    deadline: Deadline = None,
) -> Result[Ref[Value, Error], Fault]:
    """Submits a call that goes on where a failed, lost, cancelled or expired one stopped.

    The steps and waits that have an outcome are not run again. The one that failed gets all its
    attempts anew. A wait that had begun ends when it would have ended, and the signals that were
    sent to the old call are sent to the new one. The old call stays as it is.

    The new call has an id of its own, which depends on the old one's only. So a call that is
    resumed twice goes on once, and both answers are the same ref. `current().id` and
    `current().key` are those of the first call. Engines know nothing of each other: resume a call
    to one other engine only, or it goes on once on each. To change the engine later, use `move`.

    Args:
        ref: What `submit` gave, or `flow.ref(text)` in another process.
        on: The backend that the call was submitted to.
        to: The backend on which it goes on; None for the same one.
        args: Other arguments for the step that failed, in place of the value of the step before:
            a list of those by position, or a mapping of those by name. Arguments that are bound
            with `given` stay.
        deadline: When the new call expires: seconds from now, a timedelta, or a moment. None keeps
            the old call's deadline, unless it has passed.

    Returns:
        The ref of the new call. `Conflict` if the call is done or has not ended, if its plan is not
        kept, or if it is to go on elsewhere and has been resumed where it was; `Moved` if it has
        gone to another backend, where it can be resumed; `BadPayload` if the arguments do not suit
        the step; `Misconfigured` if there are arguments, and not exactly one step failed; `Unknown`
        if the backend does not know the id.

    Example:
        >>> from onward import local, result, resume, submit, task
        >>> @task
        ... def read(text: str) -> int:
        ...     return int(text)
        >>> @task
        ... def inverse(n: int) -> int:
        ...     return 100 // n
        >>> backend = local()
        >>> ref = submit((read >> inverse)("0"), on=backend).unwrap()
        >>> result(ref, on=backend).failure().error_type
        'ZeroDivisionError'
        >>> again = resume(ref, on=backend, args=[20]).unwrap()
        >>> result(again, on=backend)
        <Success: 5>
    """
    from onward.interpret import continuing

    return drive(continuing.resume(BLOCKS, ref, on, to, args, deadline))


def fork(ref: Ref[Value, Error], /, at: str, on: Histories) -> Result[Ref[Value, Error], Fault]:
    """Submits a call that begins at a step of another one, and takes over what came before.

    It takes over the outcomes on which the step depends: those of the earlier steps of its chains,
    not those of the other branches of its own fan-outs. All else runs, with the plan of the other
    call, which may be in any state and stays as it is.

    The new call stands for itself: each `fork` makes another one, with an id, which is also its
    `current().id`, and without a key, a deadline and the signals of the other call.

    Args:
        ref: What `submit` gave, or `flow.ref(text)` in another process.
        at: The path of the step, which has begun in the call; see `history`.
        on: The backend that the call was submitted to, and on which the new one runs.

    Returns:
        The ref of the new call. `Unknown` if the call has no such step, or the backend does not
        know the id; `Conflict` if the call's plan is not kept.

    Example:
        >>> from onward import fork, local, result, submit, task
        >>> ran = []
        >>> @task
        ... def roll(sides: int) -> int:
        ...     ran.append("roll")
        ...     return sides // 2
        >>> @task
        ... def report(rolled: int) -> str:
        ...     ran.append("report")
        ...     return f"a {rolled}"
        >>> backend = local()
        >>> ref = submit((roll >> report)(6), on=backend).unwrap()
        >>> result(ref, on=backend)
        <Success: a 3>
        >>> result(fork(ref, "1", on=backend).unwrap(), on=backend)
        <Success: a 3>
        >>> ran
        ['roll', 'report', 'report']
    """
    from onward.interpret import continuing

    return drive(continuing.fork(BLOCKS, ref, at, on))


def move(ref: Ref[Value, Error], /, on: Moves, to: Backend) -> Result[Ref[Value, Error], Fault]:
    """Moves a call that is under way to another backend, where it goes on.

    On the old backend the call ends as `moved`: none of its steps begins there any more, and those
    that run are interrupted as by `cancel`. On the new one a call takes over its outcomes, so steps
    that have ended do not run again; one that was interrupted does. A wait that had begun ends when
    it would have ended, and signals, the rest of a delay, the deadline, the tags, `current().key`
    and `current().id` go along. Its key gives the same call on the new backend; `unique=` holds on
    each by itself.

    `result`, `results`, `status`, `send` and `cancel` find the call by its old ref too, if
    `connect` has made both backends of URLs. These are kept without users and passwords. For
    engines that need some, the variable `ONWARD_URLS` holds the whole URLs, separated by spaces.

    If it is interrupted, or its answer is a fault, move the call again to the same backend. That
    goes on where it stopped, and never makes a second call.

    Args:
        ref: What `submit` gave, or `flow.ref(text)` in another process.
        on: The backend that has the call. `isinstance(backend, Moves)` tells whether calls can be
            moved from it.
        to: The backend that gets it, whose workers have the flow's tasks.

    Returns:
        The call's ref on the new backend. `Conflict` if the call has an outcome, is cancelling, or
        was moved elsewhere; what the new backend refuses, before anything is changed; `Unavailable`
        if one of them cannot be reached; `Unknown` if the old one does not know the id.

    Example:
        >>> from onward import Signal, awaits, local, move, result, send, submit, task
        >>> approved = Signal("approved", bool)
        >>> @task
        ... def order(n: int) -> str:
        ...     return f"order {n}"
        >>> old, new = local(), local()
        >>> ref = submit((order >> awaits(approved))(7), on=old).unwrap()
        >>> there = move(ref, on=old, to=new).unwrap()
        >>> send(there, approved, True, on=new)
        <Success: None>
        >>> result(there, on=new)
        <Success: True>
        >>> print(result(ref, on=old).failure().message)
        it was moved to local(workers=...)
    """
    from onward.interpret import moving

    return drive(moving.move(BLOCKS, ref, on, to))


def replay(ref: Ref[Value, Error], /, on: Histories) -> Result[Replay[Value, Error], Fault]:
    """Takes the recorded outcomes of a call through today's code, and touches nothing else.

    No task runs: where one would, its recorded outcome stands in. So you see at which step today's
    flow differs from what happened, and can call a task's function on the arguments that its step
    had, under a debugger.

    Args:
        ref: `flow.ref(text)`, with the flow as it is today.
        on: The backend that the call was submitted to.

    Returns:
        The steps that today's code comes to, each with its arguments and its recorded outcome; or
        `Conflict` if the call's plan is not kept, and `Unknown` if the backend does not know the
        id.

    Example:
        >>> from onward import local, replay, result, submit, task
        >>> @task
        ... def half(n: int) -> int:
        ...     return n // 2
        >>> @task
        ... def inverse(n: int) -> int:
        ...     return 100 // n
        >>> backend = local()
        >>> ref = submit((half >> inverse)(1), on=backend).unwrap()
        >>> failure = result(ref, on=backend)
        >>> [_, failed] = replay(ref, on=backend).unwrap().steps
        >>> failed.args
        (0,)
        >>> inverse.fn(*failed.args)
        Traceback (most recent call last):
        ZeroDivisionError: integer division or modulo by zero
        >>> ref = (half >> half >> inverse).ref(str(ref))
        >>> for step in replay(ref, on=backend).unwrap().differences:
        ...     print(step.path, step.difference, step.why)
        1 task it was step inverse, and is step half
    """
    from onward.interpret import replaying

    return drive(replaying.replay(BLOCKS, ref, on))
