"""The leases of a worker's steps, which it renews for as long as they run."""

from __future__ import annotations

import contextlib
import itertools
import secrets
import threading
from collections.abc import Generator
from typing import Protocol


class RenewsLeases(Protocol):
    """The part of a ledger that this needs."""

    def renew(self, id: str, at: str, holder: str) -> None:
        """Notes that a delivery is still being worked at."""
        ...

    def put_off(self, id: str, at: str, holder: str, delay: float) -> None:
        """Ends a delivery's lease; the step is due again after so many seconds."""
        ...


class Leases:
    """Says, for a worker, that it is still at its steps.

    A step is leased to one delivery of its message, and not to the message or the worker: when its
    connection drops, a broker delivers the same message again, maybe to the same worker, while the
    first delivery is still being worked at.

    Args:
        ledger: Where it is said.
        lease: How long a step is a delivery's own without this, in seconds.
    """

    def __init__(self, ledger: RenewsLeases, lease: float) -> None:
        self._ledger = ledger
        self._lease = lease
        self._worker = secrets.token_hex(8)
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self._held: dict[str, tuple[str, str]] = {}
        self._ended = threading.Event()
        threading.Thread(target=self._run, name="onward-leases", daemon=True).start()

    def holder(self) -> str:
        """A name for one delivery, which no other of any worker has."""
        return f"{self._worker}:{next(self._numbers)}"

    @contextlib.contextmanager
    def kept(self, id: str, at: str, holder: str) -> Generator[None]:
        """While this lasts, the lease of a call's step is renewed."""
        with self._lock:
            self._held[holder] = (id, at)
        try:
            yield
        finally:
            with self._lock:
                del self._held[holder]

    def give_back(self) -> None:
        """Ends all leases, so that other workers may take up the steps at once."""
        self.close()
        with self._lock:
            held = list(self._held.items())
        # Where the ledger is away, the leases end by themselves, and nobody waits for each of them.
        with contextlib.suppress(Exception):
            for holder, (id, at) in held:
                self._ledger.put_off(id, at, holder, 0.0)

    def close(self) -> None:
        """Renews no more."""
        self._ended.set()

    def _run(self) -> None:
        while not self._ended.wait(self._lease / 4):
            with self._lock:
                held = list(self._held.items())
            for holder, (id, at) in held:
                with contextlib.suppress(Exception):  # the next one may come through
                    self._ledger.renew(id, at, holder)
