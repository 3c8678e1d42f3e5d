"""What can go wrong outside a task's own domain, as values."""

from __future__ import annotations

from typing import ClassVar

from msgspec import Struct


class Fault:
    """What went wrong outside the task's own domain; every kind of fault is one of its subclasses.

    Interpreters return faults inside `Failure`; they are values, not exceptions.

    Example:
        >>> fault = TimedOut("fetch", "no value after 30 s", seconds=30.0)
        >>> print(fault)
        fetch: no value after 30 s. Raise its timeout, or make the step shorter.
    """

    __slots__ = ()

    _cure: ClassVar[str] = ""

    task: str
    """The task, flow or id that it happened to; empty where there is none."""

    message: str
    """What happened, for a person to read."""

    @property
    def cure(self) -> str:
        """What a person can do about it."""
        return self._cure

    def _what(self) -> str:
        """What happened, and all else that it knows."""
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
        attempts: How many attempts were made.
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
        """What a person can do about it."""
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
    """Nothing came back in the time allowed.

    Args:
        task: The task whose attempt took too long, or the flow that was waited for.
        message: What happened.
        seconds: The time that was allowed, in seconds.
        attempts: How many attempts were made; 0 where only a wait ended.
        still_running: True where only the wait ended: the call itself goes on and can be asked
            for again by its ref.
    """

    task: str
    message: str
    seconds: float = 0.0
    attempts: int = 1
    still_running: bool = False

    @property
    def cure(self) -> str:
        """What a person can do about it."""
        if self.still_running:
            return "Wait longer, or ask again later by its ref: only the wait has ended."
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
    """

    _cure: ClassVar[str] = "Submit it again if it is still wanted."

    task: str
    message: str


class Lost(Fault, Struct, frozen=True):
    """The worker that held the step is gone, and its deliveries are used up.

    Args:
        task: The task that was being run.
        message: What happened.
        deliveries: How many times it was handed to a worker.
    """

    _cure: ClassVar[str] = "Look for why its workers die (memory, signals), then submit it again."

    task: str
    message: str
    deliveries: int = 1

    def _what(self) -> str:
        is_said = self.deliveries == 1 or str(self.deliveries) in self.message
        times = "" if is_said else f", handed to a worker {self.deliveries} times"
        return f"{self.message.rstrip('.')}{times}"


class Expired(Fault, Struct, frozen=True):
    """The call's deadline passed before it had an outcome, or its result was kept no longer.

    Args:
        task: The flow.
        message: What happened.
    """

    _cure: ClassVar[str] = "Give the call a later deadline, or add workers so that it waits less."

    task: str
    message: str


class Unknown(Fault, Struct, frozen=True):
    """A task, flow or id that nobody here knows.

    Args:
        task: The name or id.
        message: Who does not know it.
    """

    _cure: ClassVar[str] = (
        "Check the spelling; a task must be in the worker's Catalog, an id on this backend."
    )

    task: str
    message: str


RETURN_IT = "Return what the annotation says, or change the annotation."
"""The advice about a value that a task returned."""

ONLY_ONWARD = (
    "Let nobody but Onward write there, and upgrade the workers before the clients, if it was "
    "another release."
)
"""The advice about bytes that Onward cannot read and should have written."""

SMALLER = "Make tasks of parts of it, or use each for many values."
"""The advice about a plan with too many steps, or that is nested too deeply."""


class BadPayload(Fault, Struct, frozen=True):
    """A value that its annotation does not allow, or bytes that are no plan.

    Args:
        task: The task that would take or that gave the value.
        message: What was expected, and what was found.
        path: Where in the value, as a JSON path: `$.rows[3].name`.
        advice: What to do about it; empty where that is to send what the annotation says.
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
    """More bytes than this backend carries.

    Args:
        task: The task or flow whose arguments or value are too large.
        message: What happened.
        size: Its size, in bytes.
        limit: The most that is carried, in bytes.
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
"""How the message of an `Unavailable` ends that no engine has to do with."""


class Unavailable(Fault, Struct, frozen=True):
    """The engine was not reached.

    Args:
        task: The flow, where one was being submitted.
        message: What was tried, and what it said.
    """

    task: str
    message: str

    @property
    def cure(self) -> str:
        """What a person can do about it."""
        if self.message.endswith(CLOSED):
            return "Connect again: this one does nothing more."
        return "Check that the engine runs and that its address and credentials hold."


class Unsupported(Fault, Struct, frozen=True):
    """Something that this backend cannot do.

    Args:
        task: The flow or task that asks for it.
        message: What cannot be done here, and why.
    """

    _cure: ClassVar[str] = "Use a backend that can (docs: capability matrix), or do without."

    task: str
    message: str


class Misconfigured(Fault, Struct, frozen=True):
    """A setting or an option that is not valid.

    Args:
        task: The flow or setting concerned.
        message: What is wrong with it, and what to write instead.
    """

    _cure: ClassVar[str] = "Correct the option."

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
        Unknown,
        BadPayload,
        TooLarge,
        Unavailable,
        Unsupported,
        Misconfigured,
    )
}
"""Every kind of fault, by the name it has on the wire."""
