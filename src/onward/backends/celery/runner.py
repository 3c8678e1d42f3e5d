"""Handles a worker's messages: runs the steps and stores the outcomes."""

from __future__ import annotations

import contextlib
import logging
import random
from collections.abc import Generator, Sequence
from typing import Any

from celery.app.task import Task as CeleryTask
from celery.exceptions import Ignore, Reject, Retry, WorkerShutdown
from kombu.exceptions import OperationalError
from msgspec.structs import replace
from redis.exceptions import RedisError

from onward import outcome as outcomes
from onward.backend.loop import Closed
from onward.backend.support import step_context, step_name
from onward.backends.celery import branches, lower
from onward.backends.celery.app import priority_of
from onward.backends.celery.clock import to_local
from onward.backends.celery.core import Core
from onward.backends.celery.dead_letters import RefusalLog
from onward.backends.celery.ends import Ends
from onward.backends.celery.holding import Holding
from onward.backends.celery.leases import Leases
from onward.backends.celery.ledger import Message
from onward.backends.celery.message import (
    CallState,
    Continuing,
    Failing,
    Started,
    StepMessage,
    gathered,
    state_after,
)
from onward.backends.celery.outage import Outage
from onward.backends.celery.places import Place, Places
from onward.backends.celery.plumbing import Plumbing
from onward.backends.celery.progress import ProgressWriter
from onward.backends.celery.reader import Reader
from onward.backends.celery.request import NotRun, Request, StepFailed, step_failed
from onward.backends.celery.steps import StepRunner
from onward.catalog import Catalog
from onward.evaluate import handler_args
from onward.execute import is_retried, report_outcome
from onward.fault import Cancelled, Expired
from onward.interrupt import Interrupt, Interrupted
from onward.outcome import Faulted, Outcome
from onward.plan import (
    Args,
    EachNode,
    Runnable,
)
from onward.scope import in_cleanup

_LOGGER = logging.getLogger("onward.celery")


class Runner:
    """Runs the steps of the messages that a worker receives.

    Args:
        core: The worker's backend.
        catalog: What it serves.
        worker: Its name.
        refusals: Keeps why messages are refused.
    """

    def __init__(self, core: Core, catalog: Catalog, worker: str, refusals: RefusalLog) -> None:
        self._core = core
        self._ledger = core.ledger.for_worker()
        self.outage: Outage = self._ledger.outage
        """Logs when the ledger is not reached."""
        self._steps = StepRunner(catalog.tasks)
        self._leases = Leases(self._ledger, core.lease, worker)
        self._progress = ProgressWriter(self._ledger)
        self._holding = Holding(core, self._ledger)
        self._ends = Ends(core, self._ledger)
        self._places = Places(self._ledger, self._holding, catalog.tasks)
        self._plumbing = Plumbing(core.canvas, self._ledger, self._ends, self._holding)
        self._reader = Reader(self._ledger, core.signer, refusals)
        self._is_giving_up = False

    def register(self, catalog: Catalog) -> None:
        """Registers Celery tasks for a catalog's tasks, and Onward's own Celery tasks."""
        app: Any = self._core.app
        app.finalize()
        options: dict[str, Any] = {
            "bind": True,
            "shared": False,
            "lazy": False,
            "max_retries": None,
            "Request": Request,
            "throws": (StepFailed,),  # Celery logs these at INFO; Onward has logged the failure
            "cancel_call": staticmethod(self._core.cancel),
        }
        names = [*catalog.tasks, *lower.PLUMBING]
        for name in names:
            app.task(name=name, **options)(self._step_task())
        for name in lower.GATHERS:
            app.task(name=name, **options)(self._gather_task())

    def _step_task(self) -> Any:
        def run_step_task(task: CeleryTask[Any, Any], state: str, ticket: str) -> str:
            [before], message = self._reader.decode(task, [state], ticket)
            with self._guarded(message):
                after = self.handle(task, before, message)
                return self._finish_task(task, before, after, message)

        return run_step_task

    def _gather_task(self) -> Any:
        def gather(task: CeleryTask[Any, Any], states: list[str], ticket: str) -> str:
            ended, message = self._reader.decode(task, states, ticket)
            with self._guarded(message):
                ends = [*message.before, *ended]
                if isinstance(message.do, EachNode) and self._goes_on(message, message.do, ends):
                    raise task.replace(
                        self._plumbing.items(message.after, message, message.do, ends)
                    )
                state = gathered(ends, message)
                if task.name == lower.TEE and isinstance(state, Continuing):
                    state = ends[0]
                self._ends.end_if_last(task, state, message)
                return self._finish_task(task, None, state, message)

        return gather

    @contextlib.contextmanager
    def _guarded(self, message: StepMessage) -> Generator[None]:
        """Catches errors of the worker itself. Failures of a step are outcomes and never get here.

        The call stays open and is in no queue, so the reconciler sends it again.
        """
        try:
            yield
        except (Retry, Ignore, Reject, StepFailed):  # instructions to Celery
            raise
        except (OperationalError, RedisError):  # Celery handles and logs these
            raise
        except Exception as problem:
            if self._is_giving_up and isinstance(problem, Closed):
                raise WorkerShutdown(0) from None  # the message stays unacknowledged
            where = f"call {message.call!r}, step {message.at!r}"
            _LOGGER.exception("%s: the worker failed; the call will be sent again", where)
            raise Ignore(repr(problem)) from problem

    def _finish_task(
        self,
        task: CeleryTask[Any, Any],
        before: CallState | None,
        state: CallState,
        message: StepMessage,
    ) -> str:
        """Encodes the state of the call, and shows a failure to Celery's tools.

        Raises:
            StepFailed: If the step failed. The tasks that follow it have been sent.
            NotRun: If the call had failed or ended before.
        """
        if isinstance(state, Failing) and not (state is before or state.is_cancelled):
            state = self._failed(state, message)
        text = self._core.canvas.signed_state(state, message.call, lower.output_path_of(message))
        if not isinstance(state, Failing):
            return text
        request: Any = task.request
        if request.chain:
            after: Any = task.app.signature(request.chain[-1])
            rest: Any = request.chain[:-1]
            after.apply_async((text,), chain=rest, parent_id=request.id, root_id=request.root_id)
        task.backend.mark_as_done(request.id, text, request, not task.ignore_result)
        # For a failure, Celery would also fail the chain and the chord: so it must not see them.
        request.chain = request.chord = None
        request.ignore_result = True
        fault = state.outcome.fault if isinstance(state.outcome, Faulted) else None
        is_passed_on = state is before or state.is_cancelled or task.name == lower.FINALLY
        if is_passed_on or isinstance(fault, Cancelled | Expired):
            raise NotRun("the call has failed before, or has ended")
        raise step_failed(state.outcome)

    def handle(
        self, task: CeleryTask[Any, Any], state: CallState, message: StepMessage
    ) -> CallState:
        """Does what a message says, and returns the call's new state."""
        if isinstance(state, Continuing) and state.past and state.past in message.skips:
            return self._ends.end_if_last(task, state, message)
        if task.name == lower.FINALLY and message.handles:
            return self._plumbing.clean_up(task, state, message)
        if not isinstance(state, Failing):
            # A flow with a cleanup that is sent again may have begun before.
            may_have_begun = task.name == lower.FINALLY and message.is_again
            cancelled = None if may_have_begun else self._cancelled_branch(message)
            if cancelled is not None:
                if isinstance(message.do, Runnable) and message.do.limit is not None:
                    self._ledger.limits.leave(message.call, message.at)
                return cancelled
        if isinstance(state, Continuing):
            state = replace(state, past="")
            if message.handles:
                return self._ends.end_if_last(task, replace(state, past=message.handles), message)
        if isinstance(state, Started) and message.handles:
            return self._ends.end_if_last(
                task, Continuing(state.args.positional[0], message.handles), message
            )
        if isinstance(state, Failing):
            if message.handles not in state.inside or not message.handles:
                return self._ends.end_if_last(task, state, message)
            args = handler_args(state.outcome)
            state = Continuing(args.positional[0])
        else:
            args = state.args if isinstance(state, Started) else Args((state.raw,))
        received = self._ledger_message(task, message)
        if isinstance(message.do, Runnable) and lower.is_step(task.name, message):
            return self._run_step(task, args, message, message.do, received)
        return self._plumbing.run(task, state, args, message, received)

    def _run_step(
        self,
        task: CeleryTask[Any, Any],
        args: Args,
        message: StepMessage,
        step: Runnable,
        received: Message,
    ) -> CallState:
        name = step_name(step, message.flow)
        place: Place | Faulted | None = None
        if step.limit is not None:
            place = self._places.take(task, message, step, step.limit, args, received)
        attempt = (task.request.retries or 0) + 1
        holder = self._leases.holder()
        begun = self._ledger.begin_step(received, message.at, holder, attempt, name)
        if isinstance(place, Place) and (begun.outcome or not begun.is_open or begun.is_cancelled):
            place.leave()
        if begun.outcome is not None:
            return self._ends.end_if_last(
                task, state_after(outcomes.decode(begun.outcome), message), message
            )
        if not begun.is_open or begun.is_cancelled:
            return self._ends.cancelled(task, message)
        if begun.is_running:
            # The other delivery continues the call. If its worker dies, the call is sent again.
            raise Ignore("another delivery of this message is running")
        args = begun.args or args
        try:
            if self._ends.expires(message):
                return self._ends.cancelled(task, message)
            outcome = self._attempt(step, args, message, attempt, holder, place)
        except Interrupted:
            cancelled = self._cancelled_branch(message)
            if cancelled is not None:
                self._ledger.postpone(message.call, message.at, holder, 0.0)
                return cancelled
            self._ends.expires(message)
            return self._ends.cancelled(task, message)
        finally:
            if isinstance(place, Place):
                place.leave()
        if is_retried(step, outcome, attempt):
            wait = step.backoff.delay(attempt, random.random())
            self._holding.retry(task, message, wait, outcome, holder)
        return self._ends.after_step(task, outcome, message, holder)

    def _attempt(
        self,
        step: Runnable,
        args: Args,
        message: StepMessage,
        attempt: int,
        holder: str,
        place: Place | Faulted | None,
    ) -> Outcome:
        """Makes an attempt at a step; raises `Interrupted` if the call ends meanwhile."""
        interrupt = Interrupt()
        deadline = None if in_cleanup(message.at) else message.deadline
        with (
            self._leases.renewing(message.call, message.at, holder, deadline, interrupt.set),
            self._progress.for_attempt(message.call, message.at) as progress,
        ):
            context = step_context(
                step,
                call=message.origin or message.call,
                flow=message.flow,
                path=message.at,
                attempt=attempt,
                key=message.key,
                deadline=self._deadline_here(message),
                trace=message.trace,
                report=progress.report,
                is_cancelled=progress.is_cancelled,
            )
            if isinstance(place, Faulted):
                report_outcome(self._steps.tasks, context, place)
                return place
            if place is not None:
                place.begin()
            return self._steps.attempt(step, args, context, interrupt)

    def _cancelled_branch(self, message: StepMessage) -> CallState | None:
        """The state after a task whose fan-out another branch has cancelled, if one has."""
        fans = branches.cancelling(message)
        failure = self._ledger.branches.failure(message.call, fans) if fans else None
        return None if failure is None else branches.state_of_cancelled(failure, message)

    def _failed(self, state: Failing, message: StepMessage) -> Failing:
        """Cancels the other branches if a branch has failed; returns the first one's failure."""
        fan = branches.failed_by(state, message)
        if fan is None:
            return state
        first = self._ledger.branches.fail(message.call, fan, state.outcome)
        return replace(state, outcome=first)

    def _goes_on(self, message: StepMessage, each: EachNode, ends: Sequence[CallState]) -> bool:
        """Whether the next items of an `each` with a limit begin."""
        has_failed = any(isinstance(end, Failing) for end in ends)
        if not message.after or (has_failed and each.on_failure == "cancel"):
            return False
        return self._cancelled_branch(message) is None

    def _deadline_here(self, message: StepMessage) -> float | None:
        """The deadline by this machine's clock, for the task's context."""
        if message.deadline is None:
            return None
        return to_local(message.deadline, self._ledger.now())

    def _ledger_message(self, task: CeleryTask[Any, Any], message: StepMessage) -> Message:
        """Describes a task's message for the ledger."""
        sent: Any = task.request.delivery_info or {}
        queue, priority = sent.get("routing_key"), priority_of(sent.get("priority"))
        return Message(message.call, str(task.request.id), str(queue), priority)

    def give_up(self) -> None:
        """Gives up running steps, so that other workers can take them."""
        self._is_giving_up = True
        self._leases.release_all()
        self._progress.close()
        self._steps.close()

    def close(self) -> None:
        """Ends the threads and closes the connections."""
        self.give_up()
        self._ledger.close()
