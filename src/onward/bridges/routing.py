"""`routed`, which moves the submissions of a running system from one engine to another."""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

from returns.result import Failure, Result, Success

from onward.backend import Backend, Submission, SubmitsUnique
from onward.backend.additions import additions_of
from onward.bridges.asking import ask
from onward.bridges.claiming import submit_keyed
from onward.bridges.composed import composed
from onward.bridges.core import Bridge
from onward.bridges.dial import By, Decide, decider, forced, includes, share_of
from onward.bridges.placing import Pair
from onward.fault import Fault
from onward.plan import VERSION, NamedNode, Plan, walk
from onward.policy import Delivery
from onward.sealing import changed_plan


def routed(old: Backend, new: Backend, /, *, by: By, name: str = "new") -> Backend:
    """Makes a backend of two, which submits a share of the calls to the new one.

    It decides once, when a call is submitted, and the ref says which engine has the call. A call
    runs on one engine as a whole. All other functions find a call on either, also by a ref of
    before. `work` and `onward worker` serve both.

    A call with a key goes where the first submission of its key went, however the dial moves: both
    engines are asked, the old one first. The keys of `unique=` stay with the old engine until
    all of a flow's calls go to the new one. A schedule stays where it is until `drain` hands it
    over; a new one is made on the old engine.

    Calls with a `Limit` stay with the old engine too until all of a flow's calls go to the new one,
    because each engine counts by itself.

    The variable `ONWARD_ROUTE` overrides the dial: `old`, `new`, or a percentage.

    Args:
        old: The engine that has the calls so far.
        new: The engine that gets a share of them.
        by: The share: a percentage; a rule of `share`, or a list of them, of which the first that
            applies decides; a function of the plan that gives a percentage or a bool; or the Path
            of a file with a percentage or rules, which is read again when it changes.
        name: What stands at the end of a ref whose call went to the new engine.

    Returns:
        A backend with the capabilities that both have.

    Raises:
        TypeError, ValueError: If `by` is invalid, or its file is.

    Example:
        >>> from onward import local, result, submit, task
        >>> from onward.bridges import routed
        >>> @task
        ... def double(n: int) -> int:
        ...     return 2 * n
        >>> old, new = local(), local()
        >>> before = submit(double(1), on=old).unwrap()
        >>> backend = routed(old, new, by=100)
        >>> ref = submit(double(21), on=backend).unwrap()
        >>> str(ref).endswith(".new")
        True
        >>> result(ref, on=backend), result(before, on=backend), result(ref, on=new)
        (<Success: 42>, <Success: 2>, <Success: 42>)
    """
    if old is new:
        raise ValueError("old and new are the same backend")
    return composed(
        Routed(Pair(old, new, name), decider(by)), f"routed({old!r}, {new!r}, by={by!r})"
    )


class Routed(Bridge):
    """Submits each call to the backend that a dial says.

    Args:
        pair: The old backend and the new one.
        decide: The dial.
    """

    def __init__(self, pair: Pair, decide: Decide) -> None:
        super().__init__(pair)
        self._decide = decide

    async def submit(self, submission: Submission, /) -> Result[str, Fault]:
        chosen = self._chosen(submission, submission.plan.id)
        if isinstance(chosen, Failure):
            return Failure(chosen.failure())
        is_new, plan = chosen.unwrap(), submission.plan
        if plan.key is None or plan.past is not None:
            return await self.put(submission, self.pair.sides[is_new])
        asks_second = forced().value_or(None) != "old"  # then the operator has decided
        return await submit_keyed(self, submission, to_second=is_new, asks_second=asks_second)

    async def submit_all(self, submissions: Iterable[Submission], /) -> Result[list[str], Fault]:
        todo = list(submissions)
        if any(each.plan.key is not None for each in todo):
            return await super().submit_all(todo)
        sides: list[bool] = []
        for each in todo:
            chosen = self._chosen(each, each.plan.id)
            if isinstance(chosen, Failure):
                return Failure(chosen.failure())
            sides.append(chosen.unwrap())
        ids: dict[int, str] = {}
        for is_new, backend in enumerate(self.pair.sides):
            places = [at for at, side in enumerate(sides) if side == bool(is_new)]
            if places:
                put = await self.put_all([todo[at] for at in places], backend)
                if isinstance(put, Failure):
                    return Failure(put.failure())
                ids |= zip(places, put.unwrap(), strict=True)
        return Success([ids[at] for at in range(len(todo))])

    async def submit_unique(self, submission: Submission, /) -> Result[str, Fault]:
        """Unique keys stay with the old engine until all of a flow's calls go to the new one."""
        whole = self._share(submission)
        if isinstance(whole, Failure):
            return Failure(whole.failure())
        backend = self.pair.sides[whole.unwrap() == 100]
        submit = cast(SubmitsUnique, backend).submit_unique
        put = await ask(submit, self.addressed(submission, backend))
        return put.map(lambda id: self.pair.ref_of(backend, id))

    def _chosen(self, submission: Submission, id: str) -> Result[bool, Fault]:
        """Whether a call goes to the new backend."""
        plan = submission.plan
        if plan.past is not None and plan.past.origin:
            return Success(self.pair.is_marked(plan.past.origin))  # it goes on where it was
        percent = self._share(submission)
        if isinstance(percent, Failure) or percent.unwrap() in (0, 100):
            return percent.map(bool)
        if _is_limited(plan):  # each engine counts by itself
            return Success(False)
        return Success(includes(percent.unwrap(), id))

    def _share(self, submission: Submission) -> Result[float, Fault]:
        """The percentage of calls such as this one that go to the new backend."""
        plan, sealer = submission.plan, additions_of(self.pair.first).sealer
        return share_of(self._decide, plan if sealer is None else changed_plan(plan, sealer.opened))


def _is_limited(plan: Plan) -> bool:
    """Whether a step of a plan, or the whole call, has a limit."""
    return plan.v != VERSION and any(
        node.limit is not None for node in walk(plan.root) if isinstance(node, Delivery | NamedNode)
    )
