"""Calls that share a key, in Redis."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from onward.backends.celery.client import ConnectionRetry
from onward.backends.celery.due_scripts import LONGEST_OPEN
from onward.backends.celery.scripts import OPEN_CALLS
from onward.backends.celery.unique import Added, UniqueCall
from onward.backends.celery.unique_scripts import ADD_UNIQUE, UNIQUE


class RedisUnique:
    """Calls that share a key, in the Redis of a ledger.

    Args:
        client: A client of the Redis.
        retry: What retries the client's commands.
        sign_plan: Signs the plan of a call, so that it may be sent after so many seconds.
    """

    def __init__(
        self,
        client: Any,
        retry: ConnectionRetry,
        sign_plan: Callable[[str, bytes, float], bytes],
    ) -> None:
        self._retry = retry
        self._sign_plan = sign_plan
        self._add = client.register_script(ADD_UNIQUE)

    def add(self, call: UniqueCall) -> Added:
        # One that comes next waits for as long as the one before it is open.
        lasting = call.delay + (LONGEST_OPEN if call.replaces else 0.0)
        plan = self._sign_plan(call.id, call.plan, lasting)
        other = self._sign_plan(call.other, call.other_plan, lasting) if call.other else b""
        deadline = "" if call.deadline is None else call.deadline
        replaces = int(call.replaces)
        args = [call.id, plan, call.delay, replaces, deadline, call.slot, call.other, other]
        args.append(call.about)
        before = self._retry.failures
        raw, *what = self._add([OPEN_CALLS, f"{UNIQUE}{call.slot}"], args)
        id = raw.decode()
        # After a retry, the first attempt may have stored the call that now is known already.
        is_new = what == [b"new"] or (id == call.id and self._retry.failures > before)
        return Added(id, is_new=is_new, is_other=what == [b"other"])
