"""Handles the messages of calls in a worker: runs their steps and records the outcomes."""

from __future__ import annotations

import contextlib
import logging
import random
from collections.abc import Generator, Sequence
from typing import Any

from celery.app.task import Task as CeleryTask
from celery.canvas import Signature
from celery.exceptions import Ignore, Reject, Retry, WorkerShutdown
from celery.worker import state as running
from kombu.exceptions import OperationalError
from msgspec import MsgspecError, Raw
from msgspec.structs import replace
from redis.exceptions import RedisError

from onward import outcome as outcomes
from onward.attempt import Interrupt, Interrupted
from onward.backend import state_of
from onward.backend.loop import Closed
from onward.backend.support import expired, step_context, step_name
from onward.backends.celery import lower
from onward.backends.celery.app import priority_of
from onward.backends.celery.clock import here
from onward.backends.celery.core import Core
from onward.backends.celery.leases import Leases
from onward.backends.celery.ledger import Message, distrusted
from onward.backends.celery.message import (
    CallState,
    Continuing,
    Failing,
    Started,
    StepMessage,
    discreet,
    outcome_of,
    read_state,
    read_step,
    shown_of,
)
from onward.backends.celery.reports import Reports
from onward.backends.celery.request import NotRun, Request, StepFailed, failed
from onward.backends.celery.signing import SIZE, opened
from onward.backends.celery.states import ends_with, gathered, state_after
from onward.backends.celery.steps import StepRunner
from onward.catalog import Catalog
from onward.evaluate import handler_args, join, split
from onward.execute import is_retried
from onward.fault import Cancelled
from onward.outcome import Faulted, Outcome, faulted
from onward.plan import (
    Args,
    EachNode,
    Runnable,
)

ASKED = "onward_asked"
"""The header that has the name of a task that is unknown here."""

_LOGGER = logging.getLogger("onward.celery")


class Runner:
    """Runs the step of each message that a worker receives."""

    def __init__(self, core: Core, catalog: Catalog) -> None:
        self._core = core
        self._ledger = core.ledger.of_worker()
        self._steps = StepRunner(catalog.tasks)
        self._leases = Leases(self._ledger, core.lease)
        self._reports = Reports(self._ledger)
        self._gives_back = False

    def register(self, catalog: Catalog) -> None:
        """Registers Celery tasks for a catalog's tasks, and for our own."""
        app: Any = self._core.app
        app.finalize()
        options: dict[str, Any] = {
            "bind": True,
            "shared": False,
            "lazy": False,
            "max_retries": None,
            "Request": Request,
            "throws": (StepFailed,),  # which is logged elsewhere, once
            "cancel_call": staticmethod(self._core.cancel),
        }
        names = [*catalog.tasks, *lower.PLUMBING]
        for name in names:
            app.task(name=name, **options)(self._carrying())
        for name in lower.GATHERS:
            app.task(name=name, **options)(self._gathering())

    def _carrying(self) -> Any:
        def carry(task: CeleryTask[Any, Any], state: str, ticket: str) -> str:
            [before], read = self._opened(task, [state], ticket)
            with self._guarded(read):
                return self._reported(task, before, self.carry(task, before, read), read)

        return carry

    def _gathering(self) -> Any:
        def gather(task: CeleryTask[Any, Any], states: list[str], ticket: str) -> str:
            branches, read = self._opened(task, states, ticket)
            with self._guarded(read):
                ends = [*read.before, *branches]
                if isinstance(read.do, EachNode) and read.after:
                    raise task.replace(self._fan(read.after, read, read.do, ends))
                settled = gathered(ends, read)
                if task.name == lower.TEE and isinstance(settled, Continuing):
                    settled = ends[0]
                state = self._passed(task, settled, read)
                return self._reported(task, None, state, read)

        return gather

    @contextlib.contextmanager
    def _guarded(self, message: StepMessage) -> Generator[None]:
        """Catches errors of the worker itself. Failures of a step are outcomes and never get here.

        The call stays open and is in no queue, so the reconciler sends it again.
        """
        try:
            yield
        except (Retry, Ignore, Reject, StepFailed):  # how Celery is told of these
            raise
        except (OperationalError, RedisError):  # Celery tells of it
            raise
        except Exception as problem:
            if self._gives_back and isinstance(problem, Closed):
                raise WorkerShutdown(0) from None  # its message stays unanswered
            where = f"call {message.call!r}, step {message.at!r}"
            _LOGGER.exception("%s: the worker failed; the call will be sent again", where)
            raise Ignore(repr(problem)) from problem

    def _opened(
        self, task: CeleryTask[Any, Any], states: list[str], sent: str
    ) -> tuple[list[CallState], StepMessage]:
        """Reads a message; refuses one that Onward did not write."""
        try:
            return self._read(task, states, sent)
        except (MsgspecError, RecursionError):
            raise self._refused(task, "it is not written as Onward writes calls") from None

    def _read(
        self, task: CeleryTask[Any, Any], states: list[str], sent: str
    ) -> tuple[list[CallState], StepMessage]:
        """Reads a message. Checks its signature before it decodes anything."""
        signer = self._core.signer
        sealed = _bytes(sent)
        raw = opened(signer, sealed, "ticket", self._asked(task))
        if signer is None:
            if raw is None:
                self._end_signed(sealed)
                raise self._refused(task, "it is signed, and this worker has no signing keys")
            return [read_state(_bytes(state)) for state in states], read_step(raw)
        if raw is None:
            raise self._refused(task, "it is not signed for this task with a key of this worker")
        read = read_step(raw)
        call = f"in call {read.call!r}, {read.at!r}"
        if read.until <= self._ledger.now():
            raise self._refused(task, f"{call}: its signature has expired")
        if not isinstance(states, list) or len(states) != len(read.takes):
            raise self._refused(task, f"{call}: it comes with other values than it takes")
        values = [
            opened(signer, _bytes(state), "now", read.call, source)
            for state, source in zip(states, read.takes, strict=True)
        ]
        if None in values:
            raise self._refused(task, f"{call}: a value is not signed as what it takes")
        return [read_state(value) for value in values if value is not None], read

    def _asked(self, task: CeleryTask[Any, Any]) -> str:
        """The name of the task that a message is for, even if this worker does not know it."""
        asked = task.request.get(ASKED)
        if task.name == lower.PASS and isinstance(asked, str) and asked not in task.app.tasks:
            return asked
        return str(task.name)

    def _refused(self, task: CeleryTask[Any, Any], why: str) -> NotRun:
        """Drops a message. If its call is open, the reconciler sends it again."""
        _LOGGER.warning("refused message %r for %r: %s", task.request.id, self._asked(task), why)
        return NotRun(why)

    def _end_signed(self, sent: bytes) -> None:
        """Ends a call that only workers with keys can continue; otherwise it might wait forever."""
        with contextlib.suppress(MsgspecError):
            call = read_step(sent[SIZE:]).call
            self._ledger.settle(call, faulted(distrusted("a message of it")), "failed")

    def _reported(
        self,
        task: CeleryTask[Any, Any],
        before: CallState | None,
        state: CallState,
        message: StepMessage,
    ) -> str:
        """Encodes the state of the call, and shows a failure to Celery's tools.

        Raises:
            StepFailed: If the step has failed. What comes after it has been sent on.
            NotRun: If the call had failed before, or had ended.
        """
        text = self._core.canvas.sealed_state(state, message.call, lower.source_of(message))
        if not isinstance(state, Failing):
            return text
        request: Any = task.request
        if request.chain:
            after: Any = task.app.signature(request.chain[-1])
            rest: Any = request.chain[:-1]
            after.apply_async((text,), chain=rest, parent_id=request.id, root_id=request.root_id)
        task.backend.mark_as_done(request.id, text, request, not task.ignore_result)
        # Celery does more with failures than to show them: it would fail chains and chords.
        request.chain = request.chord = None
        request.ignore_result = True
        fault = state.outcome.fault if isinstance(state.outcome, Faulted) else None
        if state is before or isinstance(fault, Cancelled):
            raise NotRun("the call has failed before, or has ended")
        raise failed(state.outcome)

    def carry(
        self, task: CeleryTask[Any, Any], state: CallState, message: StepMessage
    ) -> CallState:
        """Runs what a message says on the state of the call; returns the new state."""
        if isinstance(state, Continuing):
            if state.past and state.past in message.skips:
                return self._passed(task, state, message)
            state = replace(state, past="")
            if message.handles:
                return self._passed(task, replace(state, past=message.handles), message)
        if isinstance(state, Started) and message.handles:
            return self._passed(
                task, Continuing(state.args.positional[0], message.handles), message
            )
        if isinstance(state, Failing):
            if message.handles not in state.inside or not message.handles:
                return self._passed(task, state, message)
            args = handler_args(state.outcome)
        else:
            args = state.args if isinstance(state, Started) else Args((state.raw,))
        if task.name == lower.SPREAD:
            items = split(args, "spread")
            if isinstance(items, Faulted):
                return self._passed(task, state_after(items, message), message)
            return self._passed(task, Started(Args(tuple(items))), message)
        if task.name == lower.FIXED:
            return self._passed(task, Started(message.given), message)
        if isinstance(message.do, EachNode):
            return self._fanned_out(task, args, message, message.do)
        if message.do is None:
            return self._passed(task, state, message)
        return self._stepped(task, args, message, message.do)

    def _stepped(
        self, task: CeleryTask[Any, Any], args: Args, message: StepMessage, step: Runnable
    ) -> CallState:
        name = step_name(step, message.flow)
        attempt = (task.request.retries or 0) + 1
        holder = self._leases.holder()
        begun = self._ledger.begin(
            self._delivered(task, message),
            message.at,
            holder,
            task=name,
            step=message.at,
            attempt=str(attempt),
            progress="",
        )
        if begun.outcome is not None:
            return self._passed(task, state_after(outcomes.decode(begun.outcome), message), message)
        if not begun.is_open:
            return self._dropped(task, message)
        if begun.is_taken:
            # The other delivery continues the call; if its worker dies, the call is sent again.
            raise Ignore("another delivery of this message is running")
        if self._expires(message):
            return self._dropped(task, message)
        try:
            outcome = self._attempted(step, args, message, attempt, holder)
        except Interrupted:
            self._expires(message)
            return self._dropped(task, message)
        if is_retried(step, outcome, attempt):
            wait = step.backoff.delay(attempt, random.random())
            self._ledger.put_off(message.call, message.at, holder, wait)
            again: dict[str, Any] = {
                "kwargs": self._core.canvas.kwargs(self._asked(task), message, wait),
                # What people see of it.
                "args": tuple(map(discreet, task.request.args or ())),
                "kwargsrepr": shown_of(message),
            }
            problem = failed(outcome)
            request = running.requests.get(str(task.request.id))
            if isinstance(request, Request):
                request.show_retry(problem)
            raise task.retry(countdown=wait, exc=problem, **again)
        state = state_after(outcome, message)
        if not ends_with(state, message):
            raw = outcomes.encode(outcome)
            counts = self._ledger.record(message.call, message.at, holder, raw)
            if counts != raw:  # another worker took over after the lease ran out, and was first
                state = state_after(outcomes.decode(counts), message)
        return self._passed(task, state, message)

    def _attempted(
        self, step: Runnable, args: Args, message: StepMessage, attempt: int, holder: str
    ) -> Outcome:
        """An attempt at a step; raises `Interrupted` if its call ends meanwhile."""
        interrupt = Interrupt()
        with (
            self._leases.kept(message.call, message.at, holder, message.deadline, interrupt.set),
            self._reports.of(message.call) as report,
        ):
            context = step_context(
                step,
                call=message.call,
                flow=message.flow,
                path=message.at,
                attempt=attempt,
                key=message.key,
                deadline=self._deadline_here(message),
                trace=message.trace,
                report=report.say,
                is_cancelled=report.is_cancelled,
            )
            return self._steps.attempt(step, args, context, interrupt)

    def _expires(self, message: StepMessage) -> bool:
        """Ends a call whose deadline has passed; whether it has."""
        if message.deadline is None or message.deadline > self._ledger.now():
            return False
        self._ledger.settle(message.call, faulted(expired(message.flow)), "expired")
        return True

    def _deadline_here(self, message: StepMessage) -> float | None:
        """The deadline by this machine's clock, which tasks look at."""
        if message.deadline is None:
            return None
        return here(message.deadline, self._ledger.now())

    def _delivered(self, task: CeleryTask[Any, Any], message: StepMessage) -> Message:
        """The message that a task came with."""
        sent: Any = task.request.delivery_info or {}
        queue, priority = sent.get("routing_key"), priority_of(sent.get("priority"))
        return Message(message.call, str(task.request.id), str(queue), priority)

    def give_back(self) -> None:
        """Gives running steps back, so that other workers can take them."""
        self._gives_back = True
        self._leases.give_back()
        self._reports.close()
        self._steps.close()

    def close(self) -> None:
        """Ends its threads, and its connections."""
        self.give_back()
        self._ledger.close()

    def _passed(
        self, task: CeleryTask[Any, Any], state: CallState, message: StepMessage
    ) -> CallState:
        """The state after this task; the last task ends the call."""
        if ends_with(state, message):
            is_late = message.deadline is not None and message.deadline <= self._ledger.now()
            outcome = faulted(expired(message.flow)) if is_late else outcome_of(state)
            self._ledger.settle(message.call, outcome, state_of(outcome))
            task.request.chain = None
        return state

    def _dropped(self, task: CeleryTask[Any, Any], message: StepMessage) -> CallState:
        """Stops here: the call has already ended."""
        task.request.chain = None
        return Failing(faulted(Cancelled(message.flow, "it has ended")))

    def _fanned_out(
        self, task: CeleryTask[Any, Any], args: Args, message: StepMessage, each: EachNode
    ) -> CallState:
        items = split(args)
        if isinstance(items, Faulted):
            return self._passed(task, state_after(items, message), message)
        if each.chunk is not None:
            items = [join(items[at : at + each.chunk]) for at in range(0, len(items), each.chunk)]
        if not items:
            return self._passed(task, Continuing(join([])), message)
        raise task.replace(self._fan(items, message, each, []))

    def _fan(
        self,
        items: Sequence[Raw],
        message: StepMessage,
        each: EachNode,
        before: Sequence[CallState],
    ) -> Signature[Any]:
        """Fans out the next items of an `each`, as many as its limit allows."""
        count = min(each.limit or len(items), len(items))
        fan = lower.fan(
            [each.body] * count, message, is_flat=each.chunk is not None, first=len(before)
        )
        rest = replace(
            fan.gather.message,
            at=message.at,
            do=each,
            before=tuple(before),
            after=tuple(items[count:]),
        )
        fan = replace(fan, gather=replace(fan.gather, message=rest))
        return self._core.canvas.fan(fan, map(Continuing, items[:count]))


def _bytes(sent: object) -> bytes:
    """The bytes of a text in a message; empty if it is no text."""
    return sent.encode(errors="replace") if isinstance(sent, str) else b""
