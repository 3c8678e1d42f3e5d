"""Reads what a backend has recorded of a call, and decodes it for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar, cast

import msgspec
from msgspec import Raw, Struct
from returns.result import Failure, Result, Success

from onward.backend import AttemptRecord, CallRecord, Histories, HistoryPage, Kind, StepRecord
from onward.codec import Refused, read_tag
from onward.fault import BadPayload, Conflict, Fault, Lost, Unavailable
from onward.flows.flow import AnyFlow, AnyTask, Flow, Ref
from onward.flows.node import Node, signals_of
from onward.flows.nodes import (
    Case,
    Chain,
    Each,
    Finally,
    Fixed,
    Given,
    Keep,
    Named,
    Rescue,
    Spread,
    Tee,
    Together,
    kind,
    parts,
)
from onward.flows.values import read
from onward.interpret.callers import Caller
from onward.interpret.histories import AttemptHistory, History, StepHistory
from onward.interpret.prepare import check_ref, unsupported
from onward.outcome import Failed, Faulted, Outcome, Value
from onward.past import node_at, places_of
from onward.plan import AwaitsNode, Plan, Runnable, SleepNode, StepNode, Waiting
from onward.sealing import changed_plan, incoming_history
from onward.secret import masked

V = TypeVar("V")
E = TypeVar("E")


class Recorded(Struct, frozen=True):
    """All that a backend has recorded of a call, with its secrets decrypted.

    Args:
        call: The call.
        plan: Its plan; None if the engine does not keep it.
        steps: What has begun, by path.
        outcome: Its outcome; None if it has none.
        signals: The values of the signals that it has got, by name.
        plan_id: See `HistoryPage.plan_id`.
    """

    call: CallRecord
    plan: Plan | None
    steps: Mapping[str, StepRecord]
    outcome: Outcome | None
    signals: Mapping[str, Raw]
    plan_id: str = ""

    @property
    def outcomes(self) -> dict[str, Outcome]:
        """The outcomes by path, with those that the call took over."""
        past = self.plan.past if self.plan is not None else None
        known = {} if past is None else dict(past.outcomes)
        known |= {
            path: each.outcome for path, each in self.steps.items() if each.outcome is not None
        }
        return known


async def recorded(caller: Caller, ref: Ref[V, E], on: Histories) -> Result[Recorded, Fault]:
    """Reads all pages of what a backend has recorded of a call."""
    missing = unsupported(on, check_ref(ref).flow.name, "history")
    if missing is not None:
        return Failure(missing)
    steps: dict[str, StepRecord] = {}
    after = ""
    while True:
        answer = await caller.ask(on.history, ref.id, after)
        if isinstance(answer, Failure):
            return Failure(answer.failure())
        page: HistoryPage = incoming_history(on, answer.unwrap())
        steps |= {step.path: step for step in page.steps}
        if not page.next:
            return Success(
                Recorded(page.call, page.plan, steps, page.outcome, page.signals, page.plan_id)
            )
        if page.next == after:
            message = f"{on!r} gave the same page of the call's history twice"
            return Failure(Unavailable(ref.flow.name, message))
        after = page.next


def without_plan(ref: Ref[V, E], found: Recorded) -> Fault:
    """The fault of a call whose plan is not kept, or cannot be read."""
    fault = found.outcome.fault if isinstance(found.outcome, Faulted) else None
    if isinstance(fault, Lost):
        return fault  # it says why its plan cannot be read
    return Conflict(
        ref.id,
        "its plan is not kept, because a release before 0.2 submitted it",
        "Submit the call again.",
    )


async def history(caller: Caller, ref: Ref[V, E], on: Histories) -> Result[History[V, E], Fault]:
    """See `onward.history`."""
    answer = await recorded(caller, ref, on)
    return answer.map(lambda found: shown(found, ref.flow))


def shown(found: Recorded, flow: Flow[..., V, E]) -> History[V, E]:
    """Decodes the record of a call.

    Args:
        found: The record.
        flow: The call's flow, whose tasks read the values.
    """
    reader, plan, call = Reader(flow), found.plan, found.call
    past = None if plan is None else plan.past
    steps = [
        _step(_taken_over(plan, path, outcome), reader, taken_over=True)
        for path, outcome in ({} if past is None else past.outcomes).items()
        if plan is not None and path not in found.steps
    ]
    steps += [_step(step, reader) for step in found.steps.values()]
    return History(
        call.id,
        call.flow,
        call.state,
        tuple(steps),
        None if found.outcome is None else reader.whole(flow, found.outcome),
        {name: reader.signal(name, raw) for name, raw in found.signals.items()},
        call.submitted,
        call.ended,
        call.tags,
        call.id if plan is None else plan.origin,
        None if plan is None else changed_plan(plan, _hidden),
    )


def _hidden(raw: Raw) -> Raw:
    return Raw(masked(raw))


def _taken_over(plan: Plan, path: str, outcome: Outcome) -> StepRecord:
    task, what = named_at(plan, path)
    return StepRecord(path, task, what, outcome)


def named_at(plan: Plan, path: str) -> tuple[str, Kind]:
    """What stands at a path of a plan: the task, flow or signal, and the kind."""
    return named(node_at(plan.root, path), plan.flow)


def named(node: Runnable | Waiting | None, flow: str) -> tuple[str, Kind]:
    """The task, flow or signal of a step or a wait, and its kind."""
    match node:
        case StepNode() as step:
            return step.task, "step"
        case AwaitsNode(signal):
            return signal, "awaits"
        case SleepNode():
            return "", "sleep"
        case _:
            return flow, "step"


def _step(record: StepRecord, reader: Reader, *, taken_over: bool = False) -> StepHistory:
    def attempt(each: AttemptRecord) -> AttemptHistory:
        result = reader.step(record, each.outcome)
        return AttemptHistory(each.number, each.began, each.ended, each.worker, result)

    return StepHistory(
        record.path,
        record.task,
        record.kind,
        reader.step(record, record.outcome),
        tuple(map(attempt, record.attempts)),
        record.began,
        record.ended,
        record.until,
        taken_over,
    )


class Refusal(Struct, frozen=True):
    """Why types refuse a value."""

    why: str


class Reader:
    """Reads outcomes of steps by the types of a flow, or as plain JSON where it lacks a task.

    Args:
        flow: The flow.
    """

    def __init__(self, flow: AnyFlow) -> None:
        self._flow = flow
        self._tasks: Mapping[str, AnyTask] = flow.tasks
        self._signals = signals_of(flow)

    def whole(self, flow: Flow[..., V, E], outcome: Outcome) -> Result[V, E | Fault]:
        """The outcome of the call."""
        if not self._tasks:  # such as `identity`, which stands for any flow
            return cast("Result[V, E | Fault]", _plain(outcome))
        return flow.read(outcome)

    def signal(self, name: str, raw: Raw) -> object:
        """The value of a signal."""
        answer = self._read_signal(name, raw)
        return answer.unwrap() if isinstance(answer, Success) else _data(raw)

    def step(self, record: StepRecord, outcome: Outcome | None) -> Result[object, object] | None:
        """The outcome of a step, a wait or an attempt; as JSON where the types refuse it."""
        if outcome is None:
            return None
        answer = self._read(record, outcome)
        return _plain(outcome) if answer is None or isinstance(answer, Refusal) else answer

    def refusal(self, record: StepRecord) -> str:
        """Why the types refuse what a step gave; empty if they do not."""
        if record.outcome is None:
            return ""
        answer = self._read(record, record.outcome)
        return answer.why if isinstance(answer, Refusal) else ""

    def _read(
        self, record: StepRecord, outcome: Outcome
    ) -> Result[object, object] | Refusal | None:
        """The outcome by the flow's types; None if it has none for it."""
        if isinstance(outcome, Faulted):
            return Failure(outcome.fault)
        if isinstance(outcome, Value) and record.kind == "sleep":
            return Success(None)
        if isinstance(outcome, Value) and record.kind == "awaits":
            return self._read_signal(record.task, outcome.raw)
        found: Node | None = self._tasks.get(record.task) or flow_at(self._flow, record.path)
        if found is None or not self._tasks:
            return None
        answer: Result[object, object] = read(found, outcome, record.task, self._tasks)
        if isinstance(answer, Failure) and isinstance(fault := answer.failure(), BadPayload):
            return Refusal(f"{fault.message}, at {fault.path}")
        return answer

    def _read_signal(self, name: str, raw: Raw) -> Result[object, object] | Refusal | None:
        if name not in self._signals:
            return None
        try:
            return Success(self._signals[name].codec.decode(raw))
        except Refused as refused:
            return Refusal(f"{refused.reason}, at {refused.path}")


def _plain(outcome: Outcome) -> Result[object, object]:
    """An outcome as JSON data, without its secrets."""
    match outcome:
        case Value(raw):
            return Success(_data(raw))
        case Faulted():
            return Failure(outcome.fault)
        case Failed(raw):
            try:
                return Failure(_data(read_tag(raw).value))
            except Refused:
                return Failure(_data(raw))


def _data(raw: Raw) -> object:
    try:
        return msgspec.json.decode(masked(raw))
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return "(it cannot be read)"


def flow_at(flow: Node, path: str) -> Node | None:
    """The part of a flow at a path; None if the flow has none there that reads a value.

    Args:
        flow: The flow.
        path: The path of a step of a call of the flow.
    """
    part, places = _inner(flow), list(places_of(path))
    if places == ["0"] and not isinstance(part, Chain):
        places = []  # the only step of a call
    for place in places:
        at = place.strip("[]")
        match kind(part):
            case Chain(steps) if place.isdigit() and int(place) < len(steps):
                part = steps[int(place)]
            case Together(branches) | Case(_, branches) if place != at and int(at) < len(branches):
                part = branches[int(at)]
            case Each(step, _, None) if place != at:
                part = step
            case Keep(step) | Tee(step) if place == "[1]":
                part = step
            case Rescue(body) | Finally(body) if place == "try":
                part = body
            case Rescue(_, second) if place == "rescue":
                part = second
            case Finally(_, second) if place == "finally":
                part = second
            case _:
                return None
        part = _inner(part)
    return part


def _inner(flow: Node) -> Node:
    while isinstance(flow, Given | Named | Spread | Fixed):
        [flow] = parts(flow)
    return flow
