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
from onward.backends.celery.limits import LimitLedger
from onward.backends.celery.outage import Outage
from onward.backends.celery.records import FailedAttempt, Records
from onward.backends.celery.unique import UniqueLedger
from onward.fault import Misconfigured
from onward.outcome import Faulted, Outcome
from onward.plan import Args, Past

IN_CLEANUP = "finally"
"""The path of a step in a cleanup."""

_NOT_STATUS = (b"o:", b"x:", b"a:", b"c:", b"d:", b"e:")
"""How the fields of a record begin that say nothing of the call's status."""


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


class Outgoing(NamedTuple):
    """A message that is sent with what the ledger stores.

    Args:
        message: The message.
        list: The list of its queue, if the ledger's Redis is the broker; empty if it is not.
        raw: The message, as it is in that list.
    """

    message: Message
    list: str = ""
    raw: bytes = b""


class NewCall(NamedTuple):
    """A call to be stored.

    Args:
        id: Its id.
        plan: Its plan, encoded.
        delay: Its delay in seconds. A worker sends a delayed call when it is due.
        about: What lists show of it, encoded; see `records`.
        past: What it takes over from another call, by the ledger's clock.
        first: Its first message, if it is sent now.
    """

    id: str
    plan: bytes
    delay: float = 0.0
    about: bytes = b""
    past: Past | None = None
    first: Outgoing | None = None


class Entry(Struct, frozen=True):
    """The ledger's record of a call."""

    plan: bytes
    end: str
    outcome: Outcome | None
    fields: dict[str, str]


class BeginResult(Struct, frozen=True):
    """The ledger's answer when a worker begins a step.

    Args:
        is_open: Whether the call is known and has no outcome.
        outcome: The step's outcome, if the step has run before.
        is_running: Whether another delivery of the step's message is running now, or the message of
            a later attempt is held.
        is_cancelled: Whether the call is cancelling, and the step belongs to no cleanup.
        args: Other arguments for the step, if the call continues another one and has any.
    """

    is_open: bool
    outcome: bytes | None
    is_running: bool
    is_cancelled: bool = False
    args: Args | None = None


class Recorded(NamedTuple):
    """The ledger's answer when a worker stores the outcome of a step.

    Args:
        outcome: The outcome that is stored.
        is_sent: Whether the next message is sent, and the message of the step acknowledged.
    """

    outcome: bytes
    is_sent: bool = False


class Ledger(Protocol):
    """Keeps a record of each call, and the schedules."""

    @property
    def sends(self) -> bool:
        """Whether it sends and acknowledges messages itself, because its Redis is the broker."""
        ...

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
    def limits(self) -> LimitLedger:
        """The places of limits."""
        ...

    @property
    def unique(self) -> UniqueLedger:
        """Which call of a key is open."""
        ...

    @property
    def cleanups(self) -> CleanupLedger:
        """What it knows of cleanups."""
        ...

    @property
    def records(self) -> Records:
        """What it has recorded of calls."""
        ...

    @property
    def outage(self) -> Outage:
        """Logs when it is not reached."""
        ...

    def for_worker(self) -> Ledger:
        """The same ledger for a worker, which retries during any outage.

        A client gets a fault instead. A worker's records must not be lost.
        """
        ...

    def add(self, calls: Sequence[NewCall]) -> list[bool]:
        """Stores new calls, what they take over from others, and their first messages as sent.

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
        self, message: Message, at: str, holder: str, attempt: int = 1, task: str = ""
    ) -> BeginResult:
        """Stores that a step begins, and leases it to a delivery of its message.

        Messages that were sent to the same route earlier must have been received already.

        Args:
            message: The step's message.
            at: The step's path within the call.
            holder: The name of the delivery that gets the lease.
            attempt: The number of the attempt.
            task: The step's name, for the call's status.
        """
        ...

    def record_outcome(
        self,
        id: str,
        at: str,
        holder: str,
        outcome: bytes,
        following: Outgoing | None = None,
        tag: str = "",
    ) -> Recorded:
        """Stores a step's outcome, unless it has one.

        Args:
            id: The call's id.
            at: The step's path.
            holder: The name of the delivery that has run the step.
            outcome: The outcome.
            following: The message to send if the outcome is stored.
            tag: The broker's name for the delivery, which is acknowledged with that.
        """
        ...

    def postpone(
        self, id: str, at: str, holder: str, delay: float, failed: FailedAttempt | None = None
    ) -> None:
        """Ends the lease of a step that is retried after `delay` seconds.

        Args:
            id: The call's id.
            at: The step's path.
            holder: The name of the delivery that holds the lease.
            delay: The delay, in seconds.
            failed: The attempt, if it failed.
        """
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

    def oldest_sent(self) -> Mapping[str, float]:
        """Returns how long ago the oldest message was sent that has not begun, by queue."""
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

    def settle(
        self,
        id: str,
        outcome: Outcome,
        end: str,
        *,
        is_last: bool = False,
        at: str = "",
        holder: str = "",
        tag: str = "",
    ) -> bool:
        """Stores a call's outcome.

        Args:
            id: The call's id.
            outcome: Its outcome.
            end: Its state.
            is_last: Whether it is the outcome of the call's last step. A call that is cancelling
                ends as was decided then, and not with this outcome.
            at: The path of that step, if it has just run.
            holder: The name of the delivery that holds the step's lease.
            tag: The broker's name for this delivery, which is acknowledged with that.

        Returns:
            Whether it is the call's outcome now. If not, the outcome of the step is not stored.
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
            if not key.startswith(_NOT_STATUS) and key not in (b"plan", b"outcome")
        },
    )


def kind_of_fault(outcome: Outcome) -> str:
    """The kind of the fault of an outcome; empty if it is none."""
    return type(outcome.fault).__name__ if isinstance(outcome, Faulted) else ""
