"""The ledger: a record of each submitted call, because Celery's own results do not have enough."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple, Protocol

from msgspec import Struct

from onward import outcome as outcomes
from onward.backends.celery.branches import BranchLedger
from onward.backends.celery.cells import Cells
from onward.backends.celery.cleanups import CleanupLedger
from onward.backends.celery.due import DueLedger
from onward.backends.celery.unique import UniqueLedger
from onward.fault import Misconfigured
from onward.outcome import Outcome

IN_CLEANUP = "finally"
"""The path of a step in a cleanup."""


class Entry(Struct, frozen=True):
    """The ledger's record of a call."""

    plan: bytes
    end: str
    outcome: Outcome | None
    fields: dict[str, str]


class Message(NamedTuple):
    """A message of a call, and the queue that it was sent to."""

    call: str
    id: str
    queue: str
    priority: int

    @property
    def route(self) -> str:
        """A queue at one priority: its messages are received in the order they were sent."""
        return f"{self.priority}:{self.queue}"


class BeginResult(Struct, frozen=True):
    """The ledger's answer when a worker begins a step.

    Args:
        is_open: Whether the call is known and has no outcome.
        outcome: The step's outcome, if the step has run before.
        is_running: Whether another delivery of the step's message is running now, or the message of
            a later attempt is held.
        is_cancelled: Whether the call is cancelling, and the step belongs to no cleanup.
    """

    is_open: bool
    outcome: bytes | None
    is_running: bool
    is_cancelled: bool = False


class Ledger(Protocol):
    """Keeps a record of each call, and the schedules."""

    @property
    def cells(self) -> Cells:
        """Where the schedules are."""
        ...

    @property
    def branches(self) -> BranchLedger:
        """Which fan-outs have failed."""
        ...

    @property
    def due(self) -> DueLedger:
        """What is due later."""
        ...

    @property
    def unique(self) -> UniqueLedger:
        """Which call of a key is open."""
        ...

    @property
    def cleanups(self) -> CleanupLedger:
        """What it knows of cleanups."""
        ...

    def for_worker(self) -> Ledger:
        """The same ledger for a worker, which retries during any outage.

        A client gets a fault instead. A worker's records must not be lost.
        """
        ...

    def add(self, calls: Sequence[tuple[str, bytes, float]]) -> list[bool]:
        """Stores new calls.

        Args:
            calls: The id, the plan, and the delay in seconds of each call. A worker sends a delayed
                call when it is due.

        Returns:
            Whether each call is new; False for an id that the ledger has already.
        """
        ...

    def delete(self, ids: Collection[str]) -> None:
        """Deletes calls, as if they had never been submitted."""
        ...

    def note_sent(self, messages: Iterable[Message]) -> None:
        """Stores that messages are being sent. Their calls are not lost until a step begins."""
        ...

    def read(self, id: str) -> Entry | None:
        """Returns the record of a call."""
        ...

    def begin_step(
        self, message: Message, at: str, holder: str, attempt: int = 1, **fields: str
    ) -> BeginResult:
        """Stores that a step begins, and leases it to a delivery of its message.

        Messages that were sent to the same route earlier must have been received already.

        Args:
            message: The step's message.
            at: The step's path within the call.
            holder: The name of the delivery that gets the lease.
            attempt: The number of the attempt.
            fields: Fields of the call's record to set.
        """
        ...

    def record_outcome(self, id: str, at: str, holder: str, outcome: bytes) -> bytes:
        """Stores a step's outcome, unless it has one; returns the one that is stored."""
        ...

    def postpone(self, id: str, at: str, holder: str, delay: float) -> None:
        """Ends the lease of a step that is retried after `delay` seconds."""
        ...

    def update(self, id: str, **fields: str) -> None:
        """Sets fields of a call's record."""
        ...

    def renew_lease(self, id: str, at: str, holder: str) -> bool:
        """Renews the lease of a step, unless another delivery holds it by now.

        Returns:
            Whether the step may go on, because its call is open and not cancelling, and its branch
            is not cancelled.
        """
        ...

    def take_turn(self) -> bool:
        """Whether it is this worker's turn to look for lost calls."""
        ...

    def waiting_routes(self, seconds: float) -> list[str]:
        """Returns the routes with messages that were sent so long ago and have not begun."""
        ...

    def note_empty(self, route: str, seconds: float) -> None:
        """Stores that a route is empty: messages sent so long ago must have been received."""
        ...

    def find_lost(self, seconds: float) -> list[str]:
        """Returns open calls without activity for so many seconds that wait in no queue."""
        ...

    def claim_lost(self, id: str, seconds: float) -> int:
        """Claims a lost call, to send it again.

        Args:
            id: The call's id.
            seconds: How long the call had no activity.

        Returns:
            How often the call has been claimed; 0 if it has had activity meanwhile, for example
            because another worker claimed it.
        """
        ...

    def exclude(self, id: str) -> None:
        """Excludes a call whose record cannot be read from the search for lost calls."""
        ...

    def settle(self, id: str, outcome: Outcome, end: str, *, is_last: bool = False) -> bool:
        """Stores a call's outcome.

        Args:
            id: The call's id.
            outcome: Its outcome.
            end: Its state.
            is_last: Whether it is the outcome of the call's last step. A call that is cancelling
                ends as was decided then, and not with this outcome.

        Returns:
            False if the call has ended before.
        """
        ...

    def is_open(self, id: str, at: str = IN_CLEANUP) -> bool:
        """Whether the call is known and has no outcome.

        Args:
            id: The call's id.
            at: The path of a step. Outside of cleanups, a call that is cancelling is not open. In a
                branch that another one has cancelled, no call is.
        """
        ...

    def now(self) -> float:
        """The ledger's time, in seconds since 1970-01-01 UTC. All due times use this clock."""
        ...

    def wait(self, ids: Collection[str], timeout: float) -> Mapping[str, Outcome | None]:
        """Waiters until at least one call has ended.

        Returns:
            The outcomes by id; None for an id that the ledger does not know.
        """
        ...

    def close(self) -> None:
        """Closes the connections."""
        ...


def distrusted(what: str) -> Misconfigured:
    """The fault for a call with a part whose signature is missing, wrong or expired."""
    message = (
        f"{what} has no valid signature, or its signature has expired: give clients and workers "
        "the same keys; if they have them, find out who else writes to the broker or the ledger"
    )
    return Misconfigured("signing_keys", message)


def entry(found: Mapping[bytes, bytes]) -> Entry | None:
    """Makes the record of a call from its fields."""
    if b"plan" not in found:
        return None
    raw = found.get(b"outcome")
    return Entry(
        found[b"plan"],
        found.get(b"end", b"").decode(errors="replace"),
        None if raw is None else outcomes.decode(raw),
        {
            key.decode(errors="replace"): value.decode(errors="replace")
            for key, value in found.items()
            if not key.startswith((b"o:", b"x:")) and key not in (b"plan", b"outcome")
        },
    )
