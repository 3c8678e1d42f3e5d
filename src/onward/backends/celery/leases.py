"""The leases of a worker's steps, which it renews for as long as they run."""

from __future__ import annotations

import contextlib
import itertools
import secrets
import threading
from collections.abc import Callable, Generator
from typing import NamedTuple, Protocol


class RenewsLeases(Protocol):
    """The part of a ledger that this needs."""

    def renew(self, id: str, at: str, holder: str) -> bool:
        """Notes that a delivery is still being worked at; False if its call has ended."""
        ...

    def now(self) -> float:
        """What time it is there, in seconds since 1970."""
        ...

    def put_off(self, id: str, at: str, holder: str, delay: float) -> None:
        """Ends a delivery's lease; the step is due again after so many seconds."""
        ...


class _Held(NamedTuple):
    id: str
    at: str
    deadline: float | None
    on_end: Callable[[], object]


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
        self._held: dict[str, _Held] = {}
        self._ended = threading.Event()
        threading.Thread(target=self._run, name="onward-leases", daemon=True).start()

    def holder(self) -> str:
        """A name for one delivery, which no other of any worker has."""
        return f"{self._worker}:{next(self._numbers)}"

    @contextlib.contextmanager
    def kept(
        self, id: str, at: str, holder: str, deadline: float | None, on_end: Callable[[], object]
    ) -> Generator[None]:
        """While this lasts, the lease of a call's step is renewed.

        Args:
            id: The call.
            at: The step's place.
            holder: The delivery, by the name that it was given.
            deadline: When the call expires, by the ledger's clock.
            on_end: Is called, soon, if the call has ended or expired meanwhile.
        """
        with self._lock:
            self._held[holder] = _Held(id, at, deadline, on_end)
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
            for holder, each in held:
                self._ledger.put_off(each.id, each.at, holder, 0.0)

    def close(self) -> None:
        """Renews no more."""
        self._ended.set()

    def _run(self) -> None:
        while not self._ended.wait(self._lease / 4):
            with self._lock:
                held = list(self._held.items())
            for holder, each in held:
                with contextlib.suppress(Exception):  # the next one may come through
                    is_open = self._ledger.renew(each.id, each.at, holder)
                    is_late = each.deadline is not None and each.deadline <= self._ledger.now()
                    if is_late or not is_open:
                        each.on_end()
