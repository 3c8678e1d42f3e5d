"""Calls with a key, of which one runs on one of two engines, also while a dial moves.

The record of a key on the first engine decides. A call that goes to the second one is submitted to
the first as well, with a delay, so that it cannot begin: the claim. Of many submissions of a key,
the engine takes one. Who finds that it was his, ends the claim there as moved to the second engine,
and submits the call there. All others find the call of the key, or where it moved.
"""

from __future__ import annotations

import time
from typing import cast

from msgspec.structs import replace
from returns.result import Failure, Result, Success

from onward.backend import Histories, Moves, Submission
from onward.backend.additions import additions_of
from onward.bridges.asking import ask, find
from onward.bridges.core import Bridge
from onward.bridges.placing import CLAIM, Place, arrive
from onward.fault import Conflict, Fault, Moved, Unavailable, Unsupported
from onward.interpret.keys import new_id
from onward.outcome import moved_by
from onward.plan import NO_ARGS, VERSION, Plan, StepNode, fits_trace

GRACE = 600.0
"""The delay of a claim, in seconds. If its client dies, the call begins on the first engine."""

_FLOW = "onward.claim"
_FOREVER = 3650 * 86400.0
"""The delay of a claim that is never to begin, in seconds."""

_SOON = 60.0
"""How long after its submission a claim may be ended, in seconds."""


async def submit_keyed(
    bridge: Bridge, submission: Submission, *, to_second: bool, asks_second: bool
) -> Result[str, Fault]:
    """Submits a call with a key to one of a bridge's backends, unless one of them has it.

    Args:
        bridge: The bridge.
        submission: The call.
        to_second: Whether it goes to the second one, if neither has it.
        asks_second: Whether the second one is asked, which may know a key longer than the first.

    Returns:
        The text of the ref of the call of that key.
    """
    pair, plan = bridge.pair, submission.plan
    known = await find(pair.first, plan.id)
    if isinstance(known, Failure):
        return Failure(known.failure())
    id = known.unwrap()
    if id is None and asks_second:
        there = await find(pair.second, pair.marked(plan.id))
        if isinstance(there, Failure):
            return Failure(there.failure())
        other = there.unwrap()
        if other is not None:
            return Success(pair.ref_of(pair.second, other))
    if id is None and to_second:
        claimed = await _claimed(bridge, submission)
        if isinstance(claimed, Failure):
            return Failure(claimed.failure())
        id, is_mine = claimed.unwrap()
        if is_mine:
            return await _moved(bridge, Place(pair.first, id), submission)
    if id is None:
        submitted = await ask(pair.first.submit, submission)
        if isinstance(submitted, Failure):
            return Failure(submitted.failure())
        id = submitted.unwrap()
    located = await pair.locate(id)  # another client may have claimed the key for the second one
    return located.map(lambda found: pair.ref_of(found[0].backend, found[0].id))


async def _claimed(bridge: Bridge, submission: Submission) -> Result[tuple[str, bool], Fault]:
    """Submits a claim; gives the id of the key's call on the first backend, and whose it is."""
    first, plan = bridge.pair.first, submission.plan
    if not isinstance(first, Moves):
        message = f"{first!r} cannot tell where a key has gone, so its calls with keys stay"
        return Failure(Unsupported(plan.flow, message))
    mine, began = new_id(), time.monotonic()
    trace = plan.trace | {CLAIM: mine}
    if not fits_trace(trace):
        trace = {CLAIM: mine}
    claim = replace(submission, plan=replace(plan, trace=trace), delay=submission.delay + GRACE)
    submitted = await ask(first.submit, claim)
    if isinstance(submitted, Failure):
        return Failure(submitted.failure())
    id = submitted.unwrap()
    history: Histories = first
    answer = await ask(history.history, id, "", 1)
    if isinstance(answer, Failure):
        return Failure(answer.failure())
    found = answer.unwrap().plan
    is_mine = found is not None and found.trace.get(CLAIM) == mine
    return Success((id, is_mine and time.monotonic() - began < _SOON))


async def _moved(bridge: Bridge, claim: Place, submission: Submission) -> Result[str, Fault]:
    """Ends a claim of this client's, and submits its call to the second backend."""
    pair, plan = bridge.pair, submission.plan
    starts = time.time() + submission.delay if submission.delay else None
    said = Moved(
        plan.flow,
        f"its key went to {pair.second!r}",
        additions_of(pair.second).address,
        pair.marked(plan.id),
        starts,
    )
    given_up = await ask(cast(Moves, claim.backend).give_up, claim.id, said)
    if isinstance(given_up, Failure):
        return Failure(_to_repeat(plan.flow, given_up.failure()))
    arrived = await arrive(claim, said, pair.second, submission)
    if isinstance(arrived, Failure):
        return Failure(_to_repeat(plan.flow, arrived.failure()))
    there = arrived.unwrap()
    if there is None:  # somebody has cancelled it meanwhile
        return Success(pair.ref_of(pair.first, claim.id))
    return Success(pair.ref_of(pair.second, there))


def _to_repeat(flow: str, fault: Fault) -> Fault:
    message = f"its key is claimed, and whether the call was submitted is not known: {fault}"
    return Unavailable(flow, message, "Submit it again with the same key.")


async def decide_key(keeper: Moves, plan: Plan, wanted: str) -> Result[str, Fault]:
    """Has a third backend decide which plan's id a key has, for all clients alike.

    Args:
        keeper: The backend that remembers it.
        plan: The plan, with its key.
        wanted: The id that it gets if nobody has decided before.

    Returns:
        The id that counts: this one, or the one of whoever came first.
    """
    claim = Plan(v=VERSION, id=plan.id, flow=_FLOW, root=StepNode(_FLOW), args=NO_ARGS)
    submitted = await ask(keeper.submit, Submission(claim, _FOREVER))
    if isinstance(submitted, Failure):
        return Failure(submitted.failure())
    id = submitted.unwrap()
    moved = Moved(plan.flow, f"its key went to the call {wanted}", "", wanted)
    given_up = await ask(keeper.give_up, id, moved)  # the first one counts
    if isinstance(given_up, Failure):
        return Failure(given_up.failure())
    outcome = await ask(keeper.outcome, id, 0.0)
    if isinstance(outcome, Failure):
        return Failure(outcome.failure())
    first = moved_by(outcome.unwrap())
    if first is None:
        return Failure(Conflict(plan.flow, "somebody has ended the claim of its key", ""))
    return Success(first.id)
