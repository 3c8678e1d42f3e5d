"""Replays a call: its recorded outcomes through today's code."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import NamedTuple, TypeVar

import msgspec
from msgspec import Raw
from msgspec.structs import replace
from returns.result import Failure, Result, Success

from onward.backend import Histories, StepRecord
from onward.catalog import errors_of
from onward.codec import Refused
from onward.fault import BadPayload, Fault, Misconfigured
from onward.flows.flow import AnyFlow, Ref
from onward.flows.lower import travelling
from onward.flows.values import decode
from onward.interpret.callers import Caller
from onward.interpret.histories import Difference, Replay, ReplayedStep
from onward.interpret.recorded import (
    Reader,
    Recorded,
    flow_at,
    named,
    named_at,
    recorded,
    without_plan,
)
from onward.past import Asked, Replayed, branch_at, node_at, replayed
from onward.plan import Args, Node, Plan, StepNode

V = TypeVar("V")
E = TypeVar("E")


async def replay(caller: Caller, ref: Ref[V, E], on: Histories) -> Result[Replay[V, E], Fault]:
    """See `onward.replay`."""
    answer = await recorded(caller, ref, on)
    if isinstance(answer, Failure):
        return Failure(answer.failure())
    found = answer.unwrap()
    if found.plan is None:
        return Failure(without_plan(ref, found))
    form = travelling(ref.flow)
    if isinstance(form, BadPayload):
        return Failure(replace(form, task=ref.flow.name))
    if not ref.flow.tasks:
        message = "it has no task: make the ref by the flow that was called, flow.ref(text)"
        return Failure(Misconfigured(ref.flow.name, message))
    today = _Today(ref.flow, form[0], found, found.plan)
    ended = today.now.outcome
    result = None if ended is None else ref.flow.read(ended)
    return Success(Replay(ref.id, ref.flow.name, tuple(today.steps()), result))


class _Arguments(NamedTuple):
    positional: tuple[object, ...] = ()
    keyword: Mapping[str, object] = {}
    refusal: str = ""


class _Today:
    """Today's code beside what is recorded of a call.

    Args:
        flow: The flow as it is today.
        root: It as a plan's node.
        found: What is recorded.
        plan: The call's plan.
    """

    def __init__(self, flow: AnyFlow, root: Node, found: Recorded, plan: Plan) -> None:
        self._flow = flow
        self._root = root
        self._plan = plan
        self._reader = Reader(flow)
        known = found.outcomes
        self.then: Replayed = replayed(plan.root, plan.args, known)
        self.now: Replayed = replayed(root, plan.args, known)
        self._records = {
            path: StepRecord(path, *named_at(plan, path), outcome=outcome)
            for path, outcome in known.items()
        }
        self._records |= found.steps

    def steps(self) -> list[ReplayedStep]:
        """The steps of today's code in order, and those that it does not come to."""
        steps = [self._step(path, asked) for path, asked in self.now.steps.items()]
        return steps + [
            self._gone(record)
            for path, record in self._records.items()
            if path not in self.now.steps and self._is_gone(path)
        ]

    def _step(self, path: str, asked: Asked) -> ReplayedStep:
        task, kind = named(asked.node, self._flow.name)
        record = self._records.get(path, StepRecord(path, task, kind))
        # By the types of the task that is there today.
        seen = replace(record, task=task, kind=kind)
        args = self._arguments(path, asked)
        difference, why = self._difference(path, asked, record, seen, args)
        return ReplayedStep(
            path,
            task,
            kind,
            args.positional,
            args.keyword,
            self._reader.step(seen, seen.outcome),
            difference,
            why,
        )

    def _difference(
        self, path: str, asked: Asked, record: StepRecord, seen: StepRecord, args: _Arguments
    ) -> tuple[Difference | None, str]:
        before = self.then.steps.get(path)
        if before is None and path not in self._records:
            if branch := self._other_branch(path):
                return "branch", f"the value goes to this branch of the case, and went to {branch}"
            return "added", "the call had no step here"
        was, is_now = _text(record), _text(seen)
        if was != is_now:
            return "task", f"it was {was}, and is {is_now}"
        if args.refusal:
            return "value", f"today's types refuse its arguments: {args.refusal}"
        if before is not None and not _same(_whole(before), _whole(asked)):
            return "args", "it got other arguments"
        if refusal := self._reader.refusal(seen):
            return "value", f"today's types refuse what it gave: {refusal}"
        return None, ""

    def _arguments(self, path: str, asked: Asked) -> _Arguments:
        past = self._plan.past
        args = asked.args if past is None else past.args.get(path, asked.args)
        node, tasks = asked.node, self._flow.tasks
        try:
            if isinstance(node, StepNode):
                find = partial(errors_of, tasks)
                signature = tasks[node.task].signature
                positional, keyword = signature.decode(_whole(Asked(node, args)), find=find)
            elif (part := flow_at(self._flow, path)) is not None and asked.args.positional:
                positional, keyword = decode(part, args)
            else:
                positional, keyword = [], {}
        except Refused as refused:
            return _Arguments(refusal=f"{refused.reason}, at {refused.path}")
        return _Arguments(tuple(positional), keyword)

    def _gone(self, record: StepRecord) -> ReplayedStep:
        return ReplayedStep(
            record.path,
            record.task,
            record.kind,
            result=self._reader.step(record, record.outcome),
            difference="gone",
            why="today's code does not come to this step",
        )

    def _is_gone(self, path: str) -> bool:
        # An evaluation that stops at a step without an outcome does not come to later ones.
        return self.now.outcome is not None or node_at(self._root, path) is None

    def _other_branch(self, path: str) -> str:
        """The path of the branch of a case that ran, if a path is in another one; else nothing."""
        chosen = branch_at(self._root, path)
        return next(
            (
                other
                for each in self._records
                if (other := branch_at(self._root, each))
                and other != chosen
                and chosen.rpartition("[")[0] == other.rpartition("[")[0]
            ),
            "",
        )


def _text(record: StepRecord) -> str:
    return f"{record.kind} {record.task}".strip()


def _whole(asked: Asked) -> Args:
    """The arguments of a step, with those that are given to it."""
    if not isinstance(asked.node, StepNode):
        return asked.args
    args, given = asked.args, asked.node.given
    return Args(args.positional + given.positional, args.keyword | given.keyword)


def _same(one: Args, other: Args) -> bool:
    return _data(one) == _data(other)


def _data(args: Args) -> object:
    def read(raw: Raw) -> object:
        return msgspec.json.decode(raw)

    return [*map(read, args.positional)], {name: read(raw) for name, raw in args.keyword.items()}
