"""Renews the leases of a worker's running steps."""

from __future__ import annotations

import contextlib
import itertools
import threading
from collections.abc import Callable, Generator
from typing import NamedTuple, Protocol


class LeaseLedger(Protocol):
    """The part of a ledger that renews leases."""

    def renew_lease(self, id: str, at: str, holder: str) -> bool:
        """Renews the lease of a step; False if the step may not go on."""
        ...

    def now(self) -> float:
        """The ledger's time, in seconds since 1970."""
        ...

    def postpone(self, id: str, at: str, holder: str, delay: float) -> None:
        """Ends the lease of a step; the step is due again after `delay` seconds."""
        ...


def worker_of(holder: str) -> str:
    """The name of the worker whose delivery has this name."""
    return holder.rpartition(":")[0]


class _Held(NamedTuple):
    id: str
    at: str
    deadline: float | None
    on_end: Callable[[], object]


class Leases:
    """Renews the leases of a worker's running steps, on a thread.

    The holder of a lease is one delivery of the step's message, rather than the message or the
    worker: when a connection drops, the broker redelivers the message, perhaps to the same worker,
    while the step of the first delivery still runs.

    Args:
        ledger: The ledger that has the leases.
        lease: How long a lease lasts without renewal, in seconds.
        worker: The worker's name, which no other process has or had.
    """

    def __init__(self, ledger: LeaseLedger, lease: float, worker: str) -> None:
        self._ledger = ledger
        self._lease = lease
        self._worker = worker.replace(" ", "_")  # a space ends it in the log of a call
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self._held: dict[str, _Held] = {}
        self._ended = threading.Event()
        threading.Thread(target=self._run, name="onward-leases", daemon=True).start()

    def holder(self) -> str:
        """Makes a unique name for one delivery; `worker_of` says which worker it is of."""
        return f"{self._worker}:{next(self._numbers)}"

    @contextlib.contextmanager
    def renewing(
        self, id: str, at: str, holder: str, deadline: float | None, on_end: Callable[[], object]
    ) -> Generator[None]:
        """Renews the lease of a step while this is entered.

        Args:
            id: The call's id.
            at: The step's path.
            holder: The name of the delivery that holds the lease.
            deadline: When the call expires, by the ledger's clock.
            on_end: Called soon after the call has ended or expired.
        """
        with self._lock:
            self._held[holder] = _Held(id, at, deadline, on_end)
        try:
            yield
        finally:
            with self._lock:
                del self._held[holder]

    def release_all(self) -> None:
        """Ends all leases, so that other workers can take the steps at once."""
        self.close()
        with self._lock:
            held = list(self._held.items())
        # If the ledger does not answer, the leases run out by themselves.
        with contextlib.suppress(Exception):
            for holder, each in held:
                self._ledger.postpone(each.id, each.at, holder, 0.0)

    def close(self) -> None:
        """Stops renewing."""
        self._ended.set()

    def _run(self) -> None:
        while not self._ended.wait(self._lease / 4):
            with self._lock:
                held = list(self._held.items())
            for holder, each in held:
                with contextlib.suppress(Exception):  # the next renewal may succeed
                    is_open = self._ledger.renew_lease(each.id, each.at, holder)
                    is_late = each.deadline is not None and each.deadline <= self._ledger.now()
                    if is_late or not is_open:
                        each.on_end()
