"""Fan-outs whose first failure cancels the other branches.

The branch that fails stores its failure in the ledger, under the path of the fan-out. The others
find it when a task of theirs begins, or when the lease of a running step is renewed.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Protocol

from onward import outcome as outcomes
from onward.backends.celery.memory_due import MemoryDue
from onward.backends.celery.message import CLEANUP, SETTLES, Failing, StepMessage
from onward.backends.celery.scripts import COMMON, IN_CLEANUP
from onward.backends.celery.signing import Signer, sign, verify
from onward.outcome import Failed, Faulted
from onward.scope import in_cleanup

# What is held in the other branches, but not in their cleanups, is due at once.
_FAIL = (
    COMMON
    + IN_CLEANUP
    + """
local id, fan, failure = unpack(ARGV)
local known = redis.call('HMGET', KEYS[1], 'end', 'plan')
if known[1] or not known[2] then return failure end
if redis.call('HSETNX', KEYS[1], 'x:' .. fan, failure) == 1 then
    for _, at in ipairs(redis.call('HKEYS', KEYS[1] .. ':held')) do
        if string.sub(at, 1, #fan + 1) == fan .. '['
            and not in_cleanup(string.sub(at, #fan + 1)) then
            add_due(at .. ' ' .. id, clock())
        end
    end
end
return redis.call('HGET', KEYS[1], 'x:' .. fan)
"""
)


class BranchFailure(NamedTuple):
    """The first failure of a fan-out, which cancels its other branches.

    Args:
        fan: The path of the fan-out.
        outcome: The failure.
    """

    fan: str
    outcome: Failed | Faulted


class BranchLedger(Protocol):
    """The part of a ledger that knows which fan-outs have failed."""

    def fail(self, id: str, fan: str, outcome: Failed | Faulted) -> Failed | Faulted:
        """Stores the failure of a branch, unless another one failed before.

        Args:
            id: The call's id.
            fan: The path of the fan-out.
            outcome: The failure.

        Returns:
            The first failure.
        """
        ...

    def failure(self, id: str, fans: Sequence[str]) -> BranchFailure | None:
        """Finds the first of these fan-outs that has failed."""
        ...


def cancelling(message: StepMessage) -> list[str]:
    """The fan-outs, the outermost first, whose failure cancels a task.

    A cleanup is not cancelled with the branch that it belongs to.
    """
    return [
        fan
        for fan in reversed(message.fans)
        if fan != SETTLES and not in_cleanup(message.at[len(fan) :])
    ]


def failed_by(state: Failing, message: StepMessage) -> str | None:
    """The fan-out that a failure in one of its branches cancels.

    None if the failure may be rescued, or is one of several of a fan-out that settles: the task
    that gathers these values has the failure of the branch.
    """
    fans = cancelling(message)
    if not fans or message.fans[0] == SETTLES:
        return None
    within = (name for name in state.inside if name.startswith(f"{fans[-1]}["))
    return fans[-1] if all(name.endswith(CLEANUP) for name in within) else None


def state_of_cancelled(failure: BranchFailure, message: StepMessage) -> Failing:
    """The state after a task that was cancelled: within its branch, only cleanups handle it."""
    branch = f"{failure.fan}["
    inside = [
        name for name in message.inside if name.endswith(CLEANUP) or not name.startswith(branch)
    ]
    return Failing(failure.outcome, tuple(inside), is_cancelled=True)


def fan_outs(at: str) -> Iterator[str]:
    """The paths of all fan-outs around a step whose failure might cancel it."""
    for index, letter in enumerate(at):
        if letter == "[" and not in_cleanup(at[index:]):
            yield at[:index]


class RedisBranches:
    """Fan-outs that failed, in the ledger's Redis.

    Args:
        client: A client of it. (Any: redis-py's types cover two kinds of client at once.)
        signer: Signs the failures; None without keys.
    """

    def __init__(self, client: Any, signer: Signer | None) -> None:
        self._client = client
        self._signer = signer
        self._fail = client.register_script(_FAIL)

    def fail(self, id: str, fan: str, outcome: Failed | Faulted) -> Failed | Faulted:
        raw = sign(self._signer, outcomes.encode(outcome), "branch", id, fan)
        return self._read(id, fan, self._fail([f"onward:{id}"], [id, fan, raw])) or outcome

    def failure(self, id: str, fans: Sequence[str]) -> BranchFailure | None:
        stored = self._client.hmget(f"onward:{id}", [f"x:{fan}" for fan in fans])
        for fan, raw in zip(fans, stored, strict=True):
            outcome = None if raw is None else self._read(id, fan, raw)
            if outcome is not None:
                return BranchFailure(fan, outcome)
        return None

    def _read(self, id: str, fan: str, raw: bytes) -> Failed | Faulted | None:
        verified = verify(self._signer, raw, "branch", id, fan)
        outcome = None if verified is None else outcomes.decode(verified)
        return outcome if isinstance(outcome, Failed | Faulted) else None


class MemoryBranches:
    """Fan-outs that failed, in a ledger in memory.

    Args:
        changed: Guards the ledger.
        calls: The records of all calls.
        due: What is due later.
    """

    def __init__(
        self, changed: threading.Condition, calls: dict[str, dict[str, bytes]], due: MemoryDue
    ) -> None:
        self._changed = changed
        self._calls = calls
        self._due = due

    def fail(self, id: str, fan: str, outcome: Failed | Faulted) -> Failed | Faulted:
        with self._changed:
            call = self._calls.get(id, {})
            call.setdefault(f"x:{fan}", outcomes.encode(outcome))
            self._due.hurry(id, lambda at: fan in fan_outs(at))
            first = outcomes.decode(call[f"x:{fan}"])
            return first if isinstance(first, Failed | Faulted) else outcome

    def failure(self, id: str, fans: Sequence[str]) -> BranchFailure | None:
        with self._changed:
            call = self._calls.get(id, {})
            for fan in fans:
                if f"x:{fan}" in call:
                    outcome = outcomes.decode(call[f"x:{fan}"])
                    if isinstance(outcome, Failed | Faulted):
                        return BranchFailure(fan, outcome)
            return None
