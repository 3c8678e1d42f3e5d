"""What a ledger has recorded of calls: what lists show of them, and what happened in them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Literal, NamedTuple, Protocol

import msgspec
from msgspec import Struct

from onward.outcome import Outcome

IN_WAIT = "~"
"""What stands for the delivery in the log of a wait."""


class FailedAttempt(NamedTuple):
    """An attempt at a step that another one may follow.

    Args:
        number: Its number.
        outcome: How it failed, encoded.
    """

    number: int
    outcome: bytes


class About(Struct, frozen=True, array_like=True):
    """What lists show of a call, besides its state.

    Args:
        flow: The name of its flow.
        tags: Its tags.
    """

    flow: str = ""
    tags: tuple[str, ...] = ()


def encode_about(about: About) -> bytes:
    """Encodes what lists show of a call."""
    return msgspec.json.encode(about)


def decode_about(raw: bytes) -> About:
    """Decodes what lists show of a call; what cannot be read is empty."""
    try:
        return msgspec.json.decode(raw, type=About)
    except msgspec.MsgspecError:
        return About()


class AttemptLog(NamedTuple):
    """A line in the log of a call: an attempt at a step, or a wait.

    Args:
        holder: The name of the delivery that made the attempt; `IN_WAIT` for a wait.
        number: The number of the attempt; for a wait, when it ends at the latest, or `inf`.
        began: When it began, by the ledger's clock; None if that is not known.
        ended: When it ended; None if it has not.
        is_end: Whether its outcome is that of the call.
    """

    holder: str
    number: str
    began: float | None
    ended: float | None
    is_end: bool = False


class StepLog(NamedTuple):
    """All lines in the log of a call about one path."""

    path: str
    lines: tuple[AttemptLog, ...]


class RecordedStep(NamedTuple):
    """What is recorded of a step, or of a wait.

    Args:
        log: When it ran, and on which workers.
        outcome: Its outcome, if it is stored by itself.
        wait: How a wait stands: `got`, `over`, or what it waits for.
        failures: How attempts failed that others followed, by their number.
    """

    log: StepLog
    outcome: Outcome | None = None
    wait: str = ""
    failures: Mapping[int, Outcome] = {}


class ListedCall(NamedTuple):
    """A call as lists show it.

    Args:
        id: Its id.
        about: Its flow and tags.
        state: Its state.
        submitted: When it was submitted, by the ledger's clock; None if that is not known.
        ended: When it ended; None if it has not.
        fault: The kind of the fault that ended it; empty if none has.
    """

    id: str
    about: About
    state: str
    submitted: float | None = None
    ended: float | None = None
    fault: str = ""


class RecordedPage(NamedTuple):
    """A part of what is recorded of a call.

    Args:
        call: The call.
        plan: Its plan, encoded; None if its signature is not valid.
        steps: Some of its steps and waits, in the order in which they began.
        outcome: Its outcome; None if it has none.
        signals: The signals that it has got. A value is None if its signature is not valid.
        next: What to ask for the next part with; empty if this is the last one.
        starts: When a delayed call starts, by the ledger's clock; None if it has no delay.
    """

    call: ListedCall
    plan: bytes | None
    steps: list[RecordedStep]
    outcome: Outcome | None
    signals: Mapping[str, bytes | None]
    next: str
    starts: float | None = None


class ListedPage(NamedTuple):
    """A part of a list of calls.

    Args:
        calls: The calls, the newest first, each with where a part begins that comes after it.
        next: Where the next part begins; empty if this is the last one.
    """

    calls: list[tuple[ListedCall, str]]
    next: str


class Query(NamedTuple):
    """Which calls to list. Times are in seconds, by the ledger's clock.

    Args:
        state: A state that the ledger has a list of; empty for all calls.
        since: The earliest time of submission.
        until: The time before which they were submitted.
    """

    state: str
    since: float
    until: float


INDEXED = ("failed", "cancelled", "expired", "moved", "lost")
"""The states that a ledger has a list of."""

Forgotten = Literal["forgotten", "open", "unknown"]
"""What became of a call that is to be deleted."""


class Records(Protocol):
    """The part of a ledger that reads and deletes what is recorded of calls."""

    def page(self, id: str, after: str, limit: int) -> RecordedPage | None:
        """Reads a part of what is recorded of a call; None for an unknown id.

        Args:
            id: The call's id.
            after: The `next` of the part before; empty for the first one.
            limit: The largest number of steps.

        Raises:
            ValueError: If no part has this `next`.
        """
        ...

    def known(self, id: str, paths: Sequence[str]) -> set[str]:
        """Which of these steps of a call have an outcome of their own."""
        ...

    def calls(self, query: Query, after: str, limit: int) -> ListedPage:
        """Lists calls.

        Args:
            query: Which ones.
            after: The `next` of the part before; empty for the first one.
            limit: The largest number of calls.

        Raises:
            ValueError: If no part has this `next`.
        """
        ...

    def forget(self, id: str) -> Forgotten:
        """Deletes all of a call that has ended."""
        ...

    def sweep(self) -> None:
        """Removes calls from the lists whose records have expired."""
        ...


def parse_log(text: str, ended_at: float | None) -> list[StepLog]:
    """Reads a part of a call's log, which has all lines about its paths.

    Args:
        text: The part.
        ended_at: When the call ended; None if it has not.
    """
    found: dict[str, list[AttemptLog]] = {}
    for line in text.split("\n"):
        path, *parts = line.split(" ")
        if len(parts) >= 3:
            holder, number, began, *ended = parts
            last = ended[-1] if ended else ""
            is_end = last.endswith("=")  # an earlier release also writes the time before it
            end = ended_at if last == "=" else _time(last.rstrip("="))
            log = AttemptLog(holder, number, _time(began), end, is_end)
            found.setdefault(path, []).append(log)
    return [StepLog(path, tuple(lines)) for path, lines in found.items()]


def fields_of(log: StepLog) -> list[str]:
    """The fields of a call's record about a step: `step_of` reads their values."""
    numbers = dict.fromkeys(line.number for line in log.lines if line.number.isdigit())
    return [f"o:{log.path}", f"w:{log.path}", *(f"e:{log.path}:{each}" for each in numbers)]


def step_of(
    log: StepLog,
    values: Iterable[bytes | None],
    read: Callable[..., Outcome],
) -> RecordedStep:
    """Makes the record of a step of the values of its fields.

    Args:
        log: Its log.
        values: The values of its `fields_of`.
        read: Reads an outcome, given its bytes and the role in which it was signed.
    """
    outcome, wait, *failed = values
    numbers = [field.rpartition(":")[2] for field in fields_of(log)[2:]]
    return RecordedStep(
        log,
        None if outcome is None else read(outcome, "step", log.path),
        (wait or b"").decode(errors="replace"),
        {
            int(number): read(raw, "attempt", log.path, number)
            for number, raw in zip(numbers, failed, strict=True)
            if raw is not None
        },
    )


def listed(id: str, state: str, about: bytes | None, ended: bytes | None) -> ListedCall:
    """Makes the entry of a list from the fields of a call's record."""
    submitted, _, rest = (about or b"").partition(b" ")
    at, _, fault = (ended or b"").partition(b" ")
    return ListedCall(
        id,
        decode_about(rest),
        state,
        _time(submitted.decode(errors="replace")),
        _time(at.decode(errors="replace"), unit=1 if b"." in at else 1e-6),
        fault.decode(errors="replace"),
    )


def _time(text: str, unit: float = 1) -> float | None:
    try:
        return float(text) * unit
    except ValueError:  # there is none, or the ledger is damaged
        return None
