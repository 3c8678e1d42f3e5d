"""Faults: what goes wrong outside a task's own domain, as values."""

from __future__ import annotations

from typing import ClassVar

from msgspec import Struct


class Fault:
    """The base class of all faults: what went wrong outside the task's own domain.

    Interpreters return faults inside `Failure`. They are values, not exceptions. `str(fault)` says
    what happened and what to do.

    Example:
        >>> fault = TimedOut("fetch", "no value after 30 s", seconds=30.0)
        >>> print(fault)
        fetch: no value after 30 s. Raise its timeout, or make the step shorter.
    """

    __slots__ = ()

    _cure: ClassVar[str] = ""

    task: str
    """The task, flow or id concerned; empty if there is none."""

    message: str
    """What happened, for people."""

    @property
    def cure(self) -> str:
        """What to do about it."""
        return self._cure

    def _what(self) -> str:
        """What happened, with all that the fault knows."""
        return self.message

    def __str__(self) -> str:
        where = f"{self.task}: " if self.task else ""
        return f"{where}{self._what().rstrip('.')}. {self.cure}"


class Raised(Fault, Struct, frozen=True):
    """A task's function raised an exception, and its attempts are used up.

    Args:
        task: The task's name.
        error_type: The exception's class, as `module.Name` (builtins without their module).
        message: The exception's own text.
        traceback: The traceback as text, from the worker.
        attempts: The number of attempts.
        kinds: The exception's class and its bases, named like `error_type`.

    Example:
        >>> match Raised("parse", "ValueError", "bad header"):
        ...     case Raised(task, error_type, message):
        ...         print(task, error_type, message, sep=" | ")
        parse | ValueError | bad header
    """

    task: str
    error_type: str
    message: str
    traceback: str = ""
    attempts: int = 1
    kinds: tuple[str, ...] = ()

    @property
    def cure(self) -> str:
        """What to do about it."""
        if self.attempts > 1:
            return (
                f"{self.attempts} attempts did not help: fix the task, or return the error as a "
                "value (Result[R, E])."
            )
        return (
            "Fix the task, return the error as a value (Result[R, E]), or have a Retry cover "
            f"{self.error_type.rpartition('.')[2]}."
        )

    def _what(self) -> str:
        times = "" if self.attempts == 1 else f" in the last of {self.attempts} attempts"
        why = f": {self.message}" if self.message else ""
        return f"raised {self.error_type}{times}{why}"


class TimedOut(Fault, Struct, frozen=True):
    """An attempt took longer than its timeout, or a wait ended before the call.

    Args:
        task: The task whose attempt took too long, or the flow whose result was waited for.
        message: What happened.
        seconds: The timeout, in seconds.
        attempts: The number of attempts; 0 if only a wait ended.
        still_running: True if only the wait ended. The call goes on, and you can ask for its
            result again with its ref.

    Example:
        >>> print(TimedOut("fetch", "no value after 30 s", seconds=30.0))
        fetch: no value after 30 s. Raise its timeout, or make the step shorter.
    """

    task: str
    message: str
    seconds: float = 0.0
    attempts: int = 1
    still_running: bool = False

    @property
    def cure(self) -> str:
        """What to do about it."""
        if self.still_running:
            return "Wait longer, or ask again later with its ref: only the wait has ended."
        return "Raise its timeout, or make the step shorter."

    def _what(self) -> str:
        allowed = f"{self.seconds:g}"
        is_said = not self.seconds or allowed in self.message
        time = "" if is_said else f", {allowed} s were allowed"
        times = "" if self.attempts < 2 else f", in the last of {self.attempts} attempts"
        return f"{self.message.rstrip('.')}{time}{times}"


class Cancelled(Fault, Struct, frozen=True):
    """Somebody cancelled the call before it had an outcome.

    Args:
        task: The task or flow that was cancelled.
        message: What happened.

    Example:
        >>> print(Cancelled("ingest", "it was cancelled"))
        ingest: it was cancelled. Submit it again if it is still wanted.
    """

    _cure: ClassVar[str] = "Submit it again if it is still wanted."

    task: str
    message: str


class Lost(Fault, Struct, frozen=True):
    """Workers died again and again, the process of an isolated step did, or none can read the call.

    Args:
        task: The task that ran.
        message: What happened.
        deliveries: How often the step was delivered to a worker.
        advice: What to do about it; empty if that is to find out why workers die.

    Example:
        >>> print(Lost("store", "its workers died", deliveries=50))
        store: its workers died, delivered to a worker 50 times. Find out why its workers die \
(memory, signals), then submit it again.
    """

    task: str
    message: str
    deliveries: int = 1
    advice: str = ""

    @property
    def cure(self) -> str:
        """What to do about it."""
        return (
            self.advice or "Find out why its workers die (memory, signals), then submit it again."
        )

    def _what(self) -> str:
        is_said = self.deliveries == 1 or str(self.deliveries) in self.message
        times = "" if is_said else f", delivered to a worker {self.deliveries} times"
        return f"{self.message.rstrip('.')}{times}"


class Expired(Fault, Struct, frozen=True):
    """The call's deadline passed before it had an outcome.

    Args:
        task: The flow.
        message: What happened.

    Example:
        >>> print(Expired("ingest", "its deadline passed"))
        ingest: its deadline passed. Give the call a later deadline. If it waited for a worker, \
add workers.
    """

    _cure: ClassVar[str] = "Give the call a later deadline. If it waited for a worker, add workers."

    task: str
    message: str


class Moved(Fault, Struct, frozen=True):
    """The call was moved to another backend, where it goes on.

    Args:
        task: The flow.
        message: Where it went, for people.
        to: The URL of that backend, without credentials; empty if it has none.
        id: The id of its plan there, which on most backends is the call's id.
        starts: When it starts there, in seconds since 1970, if it has a delay and had not begun.

    Example:
        >>> print(Moved("ingest", "it was moved to temporal('engine:7233')", "", "7c1f"))
        ingest: it was moved to temporal('engine:7233'). Ask that backend for the id 7c1f.
    """

    task: str
    message: str
    to: str = ""
    id: str = ""
    starts: float | None = None

    @property
    def cure(self) -> str:
        """What to do about it."""
        return f"Ask that backend for the id {self.id}."


class Unknown(Fault, Struct, frozen=True):
    """The worker does not know a task or flow, or the backend does not know an id.

    Args:
        task: The name or id.
        message: Who does not know it.

    Example:
        >>> print(Unknown("fech", "the worker has no such task"))
        fech: the worker has no such task. Check the spelling; a task must be in the worker's \
Catalog, a call or a schedule on this backend.
    """

    _cure: ClassVar[str] = (
        "Check the spelling; a task must be in the worker's Catalog, "
        "a call or a schedule on this backend."
    )

    task: str
    message: str


RETURN_IT = "Return what the annotation says, or change the annotation."
"""The advice about a value that a task returned."""

ONLY_ONWARD = (
    "Let only Onward write there. If another release wrote it, upgrade the workers before the "
    "clients."
)
"""The advice about bytes that Onward cannot read and should have written."""

SMALLER = "Make tasks of parts of it, or use each for many values."
"""The advice about a plan with too many steps, or that is nested too deeply."""


class BadPayload(Fault, Struct, frozen=True):
    """A value does not fit its annotation, or bytes are not a valid plan.

    Args:
        task: The task that takes or gave the value.
        message: What was expected, and what was found.
        path: The place in the value, as a JSON path: `$.rows[3].name`.
        advice: What to do about it; empty if that is to send what the annotation says.

    Example:
        >>> print(BadPayload("parse", "Expected `int`, got `str`", "$.n"))
        parse: Expected `int`, got `str`, at $.n. Send what the annotation says, or change the \
annotation.
    """

    task: str
    message: str
    path: str = "$"
    advice: str = ""

    @property
    def cure(self) -> str:
        """What a person can do about it."""
        return self.advice or "Send what the annotation says, or change the annotation."

    def _what(self) -> str:
        is_said = self.path == "$" or self.path in self.message
        return self.message if is_said else f"{self.message.rstrip('.')}, at {self.path}"


class TooLarge(Fault, Struct, frozen=True):
    """Arguments or a value have more bytes than the backend carries.

    Args:
        task: The task or flow whose arguments or value are too large.
        message: What happened.
        size: Their size, in bytes.
        limit: The largest allowed size, in bytes.

    Example:
        >>> print(TooLarge("render", "its value is too large", size=3_000_000, limit=2_000_000))
        render: its value is too large, 3000000 bytes, the limit is 2000000. Store the data \
elsewhere and send where it is (a path, a key, a URL).
    """

    _cure: ClassVar[str] = "Store the data elsewhere and send where it is (a path, a key, a URL)."

    task: str
    message: str
    size: int = 0
    limit: int = 0

    def _what(self) -> str:
        known = (f"{self.size} bytes", self.size), (f"the limit is {self.limit}", self.limit)
        more = [text for text, number in known if number and str(number) not in self.message]
        return ", ".join([self.message.rstrip("."), *more])


CLOSED = "the backend was closed"
"""The end of the message of an `Unavailable` whose cause is not the engine."""


class Unavailable(Fault, Struct, frozen=True):
    """The engine could not be reached, or the backend was closed.

    Args:
        task: The flow, if one was submitted.
        message: What was tried, and what the engine or the network answered.
        advice: What to do about it; empty if that is to check the engine and its address.

    Example:
        >>> print(Unavailable("ingest", "connection refused"))
        ingest: connection refused. Check that the engine runs and that its address and \
credentials are right.
    """

    task: str
    message: str
    advice: str = ""

    @property
    def cure(self) -> str:
        """What to do about it."""
        if self.advice:
            return self.advice
        if self.message.endswith(CLOSED):
            return "Connect again: a closed backend does nothing."
        return "Check that the engine runs and that its address and credentials are right."


class Unsupported(Fault, Struct, frozen=True):
    """The backend cannot do what was asked.

    Args:
        task: The flow or task that asks for it.
        message: What cannot be done, and why.

    Example:
        >>> print(Unsupported("nightly", "local() has no schedule"))
        nightly: local() has no schedule. Use a backend that can (docs: capability matrix), or do \
without.
    """

    _cure: ClassVar[str] = "Use a backend that can (docs: capability matrix), or do without."

    task: str
    message: str


class Conflict(Fault, Struct, frozen=True):
    """The state of a call does not allow what was asked.

    Args:
        task: The flow or id concerned.
        message: What state it is in.
        advice: What to do about it; empty if that is to look at the call.

    Example:
        >>> print(Conflict("order", "the call has ended"))
        order: the call has ended. Look at its status and its result.
    """

    task: str
    message: str
    advice: str = ""

    @property
    def cure(self) -> str:
        """What to do about it."""
        return self.advice or "Look at its status and its result."


class Misconfigured(Fault, Struct, frozen=True):
    """A setting or an option is invalid.

    Args:
        task: The flow or setting concerned.
        message: What is wrong with it, and what to write instead.

    Example:
        >>> print(Misconfigured("timeout", "timeout is a number of seconds, not 'soon'"))
        timeout: timeout is a number of seconds, not 'soon'. Retrying will not help \
until this is corrected.
    """

    _cure: ClassVar[str] = "Retrying will not help until this is corrected."

    task: str
    message: str


KINDS: dict[str, type[Fault]] = {
    kind.__name__: kind
    for kind in (
        Raised,
        TimedOut,
        Cancelled,
        Lost,
        Expired,
        Moved,
        Unknown,
        BadPayload,
        TooLarge,
        Unavailable,
        Unsupported,
        Conflict,
        Misconfigured,
    )
}
"""Every kind of fault, by its name on the wire."""
