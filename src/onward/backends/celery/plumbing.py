"""Runs the tasks of Onward's own: waits, fan-outs, cases, cleanups, and what changes arguments."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from celery.app.task import Task as CeleryTask
from celery.canvas import Signature
from msgspec import Raw

from onward.backends.celery import lower
from onward.backends.celery.canvas import Canvas
from onward.backends.celery.ends import Ends
from onward.backends.celery.holding import Holding
from onward.backends.celery.known import passing, paths_of_steps
from onward.backends.celery.ledger import Ledger, Message
from onward.backends.celery.message import (
    CallState,
    Continuing,
    Started,
    StepMessage,
    outcome_of,
    state_after,
)
from onward.evaluate import join, single_value, split
from onward.outcome import Faulted, Value
from onward.plan import Args, AwaitsNode, CaseNode, EachNode, FinallyNode, SleepNode
from onward.routing import as_given, choose


class Plumbing:
    """Runs the tasks that run no step.

    Args:
        canvas: Makes the signatures of what they send on.
        ledger: The worker's ledger.
        ends: Ends calls.
        holding: Has the ledger hold messages.
    """

    def __init__(self, canvas: Canvas, ledger: Ledger, ends: Ends, holding: Holding) -> None:
        self._canvas = canvas
        self._ledger = ledger
        self._ends = ends
        self._holding = holding

    def run(
        self,
        task: CeleryTask[Any, Any],
        state: CallState,
        args: Args,
        message: StepMessage,
        received: Message,
    ) -> CallState:
        """Does what the message of such a task says, and returns the call's new state.

        Args:
            task: The Celery task.
            state: The call's state before it.
            args: Its arguments.
            message: Its message.
            received: The message as the ledger knows it.
        """
        if task.name == lower.SPREAD:
            items = split(args, "spread")
            if isinstance(items, Faulted):
                return self._ends.end_if_last(task, state_after(items, message), message)
            return self._ends.end_if_last(task, Started(Args(tuple(items))), message)
        if task.name == lower.INPUT:
            return self._with_input(task, args, message)
        if message.case is not None:
            return self._case(task, args, message, message.case)
        if message.ends is not None:
            return self._begin(task, args, message, message.ends)
        if task.name == lower.FIXED:
            return self._ends.end_if_last(task, Started(message.given), message)
        if message.wait is not None:
            return self._wait(task, args, message, message.wait, received)
        if isinstance(message.do, EachNode):
            return self._fan_out(task, args, message, message.do)
        if message.route is not None:
            state = state_after(as_given(message.route, outcome_of(state)), message)
        return self._ends.end_if_last(task, state, message)

    def _wait(
        self,
        task: CeleryTask[Any, Any],
        args: Args,
        message: StepMessage,
        node: SleepNode | AwaitsNode,
        received: Message,
    ) -> CallState:
        given = single_value(args) if isinstance(node, SleepNode) else None
        if given is not None and not isinstance(given, Value):
            return self._ends.end_if_last(task, state_after(given, message), message)
        outcome = self._holding.wait(task, message, node, received)
        if outcome is None or self._ends.expires(message):
            return self._ends.cancelled(task, message)
        if given is not None and isinstance(outcome, Value):
            outcome = given  # a sleep passes its input on
        return self._ends.end_if_last(task, state_after(outcome, message), message)

    def _begin(
        self, task: CeleryTask[Any, Any], args: Args, message: StepMessage, node: FinallyNode
    ) -> CallState:
        """Begins a flow with a cleanup, whose input is known now."""
        given = single_value(args)
        if not isinstance(given, Value):
            return self._ends.end_if_last(task, state_after(given, message), message)
        if self._ledger.cleanups.begin(message.call, message.at) != "begun":
            return self._ends.cancelled(task, message)
        line = lower.with_cleanup(node, given.raw, message)
        raise task.replace(self._signature(line, Continuing(given.raw), message))

    def clean_up(
        self, task: CeleryTask[Any, Any], state: CallState, message: StepMessage
    ) -> CallState:
        """Sends a cleanup on after its flow, or gives the flow's state after the cleanup."""
        if message.ends is None:
            return self._ends.end_if_last(task, message.before[0], message)
        line = lower.cleanup(message.ends, state, message)
        raise task.replace(self._signature(line, Started(message.given), message))

    def _with_input(
        self, task: CeleryTask[Any, Any], args: Args, message: StepMessage
    ) -> CallState:
        """Keeps the input of a rescue for its handler, or gives it to the handler."""
        if message.rescue is None:
            pair = join([*message.given.positional, *args.positional])
            return self._ends.end_if_last(task, Continuing(pair), message)
        given = single_value(args)
        if not isinstance(given, Value):
            return self._ends.end_if_last(task, state_after(given, message), message)
        line = lower.with_input(message.rescue, given.raw, message)
        raise task.replace(self._signature(line, Continuing(given.raw), message))

    def _case(
        self, task: CeleryTask[Any, Any], args: Args, message: StepMessage, case: CaseNode
    ) -> CallState:
        """Sends the value of a case to the branch that takes it."""
        value = single_value(args)
        chosen = choose(case.routes, value.raw) if isinstance(value, Value) else value
        if not isinstance(chosen, tuple):
            return self._ends.end_if_last(task, state_after(chosen, message), message)
        index, raw = chosen
        line = lower.branch_of(case, index, message)
        raise task.replace(self._signature(line, Continuing(raw), message))

    def _fan_out(
        self, task: CeleryTask[Any, Any], args: Args, message: StepMessage, each: EachNode
    ) -> CallState:
        items = split(args)
        if isinstance(items, Faulted):
            return self._ends.end_if_last(task, state_after(items, message), message)
        if each.chunk is not None:
            items = [join(items[at : at + each.chunk]) for at in range(0, len(items), each.chunk)]
        if not items:
            return self._ends.end_if_last(task, Continuing(join([])), message)
        raise task.replace(self.items(items, message, each, []))

    def items(
        self,
        items: Sequence[Raw],
        message: StepMessage,
        each: EachNode,
        before: Sequence[CallState],
    ) -> Signature[Any]:
        """Makes a chord of the next items of an `each`; see `lower.items_to_chord`."""
        fan = lower.items_to_chord(items, message, each, before)
        [part] = self._without_known([fan], message)
        assert isinstance(part, lower.Chord)
        return self._canvas.chord(part, map(Continuing, items[: len(part.branches)]))

    def _signature(
        self, parts: list[lower.Part], state: CallState, message: StepMessage
    ) -> Signature[Any]:
        return self._canvas.signature(self._without_known(parts, message), state)

    def _without_known(self, parts: list[lower.Part], message: StepMessage) -> list[lower.Part]:
        """The same parts, of which known steps need no worker of their own queues."""
        if not message.origin:
            return parts
        paths = list(paths_of_steps(parts))
        return passing(parts, self._ledger.records.known(message.call, paths))
