"""`failover`, which submits to a second engine while the first one does not answer."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Literal, TypeAlias, cast

from msgspec import Struct
from returns.result import Failure, Result, Success

from onward.backend import Backend, Moves, Submission, SubmitsUnique
from onward.bridges.asking import ask
from onward.bridges.claiming import decide_key
from onward.bridges.composed import composed
from onward.bridges.core import Bridge
from onward.bridges.health import Health, State
from onward.bridges.placing import Pair
from onward.fault import Fault, Unavailable
from onward.plan import Plan

_LOGGER = logging.getLogger("onward.bridges")


class FailoverEvent(Struct, frozen=True):
    """What a failover did.

    Args:
        what: `failed over` if a call went to the second engine; else the new state of the circuit
            breaker, which is `closed` while the first engine answers.
        flow: The flow of a call that went to the second engine.
        id: The text of its ref.
        fault: Why it did.
    """

    what: State | Literal["failed over"]
    flow: str = ""
    id: str = ""
    fault: Fault | None = None


Notify: TypeAlias = Callable[[FailoverEvent], object]


def failover(
    first: Backend,
    second: Backend,
    /,
    *,
    failures: int = 3,
    reset: float = 30.0,
    fresh: float = 1.0,
    claims: Backend | None = None,
    notify: Notify | None = None,
    name: str = "second",
) -> Backend:
    """Makes a backend of two, which submits to the second one while the first does not answer.

    A call goes to the second engine only if nothing of it was sent to the first: before it submits,
    it asks the first engine something, unless that has just answered. If a submission fails that
    was sent, the answer is `Unavailable`, because the first engine may have the call.

    Calls with a key go to the first engine alone, which may know the key, unless there are
    `claims`. So do those with `unique=`.

    It needs `pip install "onward[failover]"`.

    Args:
        first: The engine that gets the calls.
        second: The engine that gets them meanwhile.
        failures: How many failures in a row open the circuit breaker. Then the first engine is left
            alone.
        reset: After how many seconds it is asked again.
        fresh: For how many seconds an answer counts. With 0, it is asked before each submission.
        claims: A backend that remembers which engine has a key, for all clients: a third engine,
            whose calls can be moved (`Moves`). No worker has to serve it.
        notify: A function that is called with each `FailoverEvent`, such as for metrics.
        name: What stands at the end of a ref whose call went to the second engine.

    Returns:
        A backend with the capabilities that both have.

    Raises:
        ModuleNotFoundError: If the circuit breaker, pybreaker, is not installed.
        TypeError, ValueError: If an argument is invalid.

    Example:
        >>> from onward import local, result, submit, task
        >>> from onward.bridges import failover
        >>> @task
        ... def double(n: int) -> int:
        ...     return 2 * n
        >>> first, second = local(), local()
        >>> backend = failover(first, second)
        >>> first.close()
        >>> ref = submit(double(21), on=backend).unwrap()
        >>> str(ref).endswith(".second")
        True
        >>> result(ref, on=backend)
        <Success: 42>
    """
    if first is second or claims is first:
        raise ValueError("first, second and claims are different backends")
    if claims is not None and not isinstance(claims, Moves):
        raise TypeError(f"{claims!r} cannot keep claims: its calls cannot be moved")
    told = notify or _ignore
    health = Health(
        first, failures, reset, fresh, lambda state: _notify(told, FailoverEvent(state))
    )
    bridge = Failover(Pair(first, second, name), health, claims, told)
    return composed(bridge, f"failover({first!r}, {second!r})")


class Failover(Bridge):
    """Submits to the first backend, or to the second one if nothing was sent to the first.

    Args:
        pair: The two backends.
        health: Says whether the first one answers.
        claims: Remembers which of them has a key.
        notify: Takes what happens.
    """

    is_one_enough = True

    def __init__(self, pair: Pair, health: Health, claims: Moves | None, notify: Notify) -> None:
        super().__init__(pair)
        self._health = health
        self._claims = claims
        self.others: tuple[Backend, ...] = () if claims is None else (claims,)
        self._notify = notify

    async def submit(self, submission: Submission, /) -> Result[str, Fault]:
        plan = submission.plan
        if plan.past is not None and plan.past.origin:  # it goes on where it was
            marked = self.pair.is_marked(plan.past.origin)
            return await self.put(submission, self.pair.sides[marked])
        if plan.key is not None:
            return await self._submit_keyed(submission)
        submitted = await self._submit_all([submission])
        return submitted.map(lambda ids: ids[0])

    async def submit_all(self, submissions: Iterable[Submission], /) -> Result[list[str], Fault]:
        todo = list(submissions)
        if any(each.plan.key is not None or each.plan.past is not None for each in todo):
            return await super().submit_all(todo)
        return await self._submit_all(todo) if todo else Success([])

    async def submit_unique(self, submission: Submission, /) -> Result[str, Fault]:
        """The first engine keeps unique keys, and may have an open call of this one."""
        submitted = await ask(cast(SubmitsUnique, self.pair.first).submit_unique, submission)
        self._health.note(submitted.swap().value_or(None))
        return submitted

    async def _submit_all(self, submissions: list[Submission]) -> Result[list[str], Fault]:
        away = await self._health.fault()
        if away is not None:
            return await self._over(submissions, away)
        submitted = await self.put_all(submissions, self.pair.first)
        fault = submitted.swap().value_or(None)
        self._health.note(fault)
        if isinstance(fault, Unavailable):
            return Failure(_maybe(submissions[0].plan, fault))
        return submitted

    async def _over(self, submissions: list[Submission], away: Fault) -> Result[list[str], Fault]:
        """Submits to the second backend, and notifies of it."""
        submitted = await self.put_all(submissions, self.pair.second)
        if isinstance(submitted, Success):
            for each, id in zip(submissions, submitted.unwrap(), strict=True):
                _LOGGER.warning("call %s went to %r: %s", id, self.pair.second, away.message)
                _notify(self._notify, FailoverEvent("failed over", each.plan.flow, id, away))
        return submitted

    async def _submit_keyed(self, submission: Submission) -> Result[str, Fault]:
        plan = submission.plan
        if self._claims is None:
            submitted = await self.put(submission, self.pair.first)
            fault = submitted.swap().value_or(None)
            self._health.note(fault)
            return Failure(_key_stays(plan, fault)) if isinstance(fault, Unavailable) else submitted
        away = await self._health.fault()
        wanted = plan.id if away is None else self.pair.marked(plan.id)
        decided = await decide_key(self._claims, plan, wanted)
        if isinstance(decided, Failure):
            return Failure(decided.failure())
        is_second = self.pair.is_marked(decided.unwrap())
        if is_second and away is not None:
            return (await self._over([submission], away)).map(lambda ids: ids[0])
        return await self.put(submission, self.pair.sides[is_second])


def _ignore(event: FailoverEvent) -> None:
    pass


def _notify(notify: Notify, event: FailoverEvent) -> None:
    try:
        notify(event)
    except Exception:
        _LOGGER.exception("the function that is notified of a failover raised")


def _maybe(plan: Plan, fault: Unavailable) -> Unavailable:
    message = f"the first engine may have the call or not: {fault.message}"
    advice = "Submit it again: the next one asks first whether the engine answers."
    return Unavailable(plan.flow, message, advice)


def _key_stays(plan: Plan, fault: Unavailable) -> Unavailable:
    message = f"the first engine may know the key, so the call stays with it: {fault.message}"
    return Unavailable(
        plan.flow, message, "Submit it again, or give failover a backend for claims."
    )
