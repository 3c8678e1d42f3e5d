"""The places of limits, in Redis."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from onward.backend.limiter import margin
from onward.backends.celery import due_scripts
from onward.backends.celery.due import Hold
from onward.backends.celery.limits import Ask, Enter, Place
from onward.backends.celery.scripts import SENT
from onward.limit import StepLimit


class RedisLimits:
    """The places of limits, in the Redis of a ledger.

    Args:
        client: A client of the Redis.
        lease: How long a place is kept for a step that shows no activity, in seconds.
        held: The arguments by which a script holds a message.
    """

    def __init__(
        self, client: Any, lease: float, held: Callable[[Hold], list[str | bytes | float | int]]
    ) -> None:
        self._lease = lease
        self._held = held
        self._ask = client.register_script(due_scripts.ASK)
        self._enter = client.register_script(due_scripts.ENTER)
        self._leave = client.register_script(due_scripts.LEAVE)

    def ask(self, ask: Ask, hold: Hold | None = None) -> Place:
        key, limit = f"onward:{ask.call}", ask.limit
        args: list[str | bytes | float | int] = [ask.call, ask.at, "inf", "", 0, "", ""]
        if hold is not None:
            args = self._held(hold)
        args += [f"{ask.message} {ask.call}", *self._numbers(limit, ask.key)]
        keys = [key, f"{SENT}{ask.route}", f"{key}:at:{ask.at}"]
        return cast(Place, self._ask(keys, args).decode())

    def _numbers(self, limit: StepLimit, key: str) -> list[str | float]:
        return [
            limit.name,
            limit.pool(key),
            key,
            "" if limit.concurrency is None else limit.concurrency,
            "" if limit.rate is None else limit.rate,
            limit.per + margin(limit.per),
            self._lease,
        ]

    def enter(self, enter: Enter) -> bool:
        deadline = "" if enter.deadline is None else enter.deadline
        args = [enter.call, deadline, *self._numbers(enter.limit, enter.key)]
        return bool(self._enter([f"onward:{enter.call}"], args))

    def leave(self, call: str, at: str) -> None:
        self._leave([f"onward:{call}"], [call, at])
