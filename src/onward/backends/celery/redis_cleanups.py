"""What a ledger in Redis knows of cleanups."""

from __future__ import annotations

from typing import Any, cast

from onward import outcome as outcomes
from onward.backends.celery import cleanup_scripts
from onward.backends.celery.cleanups import Begun
from onward.backends.celery.ledger import distrusted, kind_of_fault
from onward.backends.celery.scripts import OPEN_CALLS
from onward.backends.celery.signing import Signer, sign, verify
from onward.outcome import Faulted, faulted


class RedisCleanups:
    """Cleanups, in the Redis of a ledger.

    Args:
        client: A client of the Redis.
        signer: Signs outcomes; None without keys.
        keep: How long the outcome of a call is kept, in seconds.
    """

    def __init__(self, client: Any, signer: Signer | None, keep: int) -> None:
        self._client = client
        self._signer = signer
        self._keep = keep
        self._begin = client.register_script(cleanup_scripts.BEGIN)
        self._end_early = client.register_script(cleanup_scripts.END_EARLY)

    def begin(self, id: str, at: str) -> Begun:
        return cast(Begun, self._begin([f"onward:{id}"], [id, at]).decode())

    def end_early(self, id: str, outcome: Faulted, end: str, *, at_once: bool = False) -> bool:
        raw = sign(self._signer, outcomes.encode(outcome), "outcome", id)
        keys = [f"onward:{id}", OPEN_CALLS]
        args = [id, end, raw, self._keep, kind_of_fault(outcome), int(at_once)]
        return bool(self._end_early(keys, args))

    def cancelled(self, id: str) -> Faulted | None:
        end, raw = self._client.hmget(f"onward:{id}", ["end", "cancelling"])
        if raw is None or end is not None:
            return None
        read = verify(self._signer, raw, "outcome", id)
        outcome = None if read is None else outcomes.decode(read)
        return outcome if isinstance(outcome, Faulted) else faulted(distrusted("its outcome"))
