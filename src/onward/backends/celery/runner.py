"""Does what a call's messages say, in a worker: runs its steps, and notes what comes of them."""

from __future__ import annotations

import contextlib
import logging
import random
from collections.abc import Generator, Sequence
from typing import Any

from celery.app.task import Task as CeleryTask
from celery.canvas import Signature
from celery.exceptions import Ignore, Reject, Retry, WorkerShutdown
from kombu.exceptions import OperationalError
from msgspec import MsgspecError, Raw
from msgspec.structs import replace
from redis.exceptions import RedisError

from onward import outcome as outcomes
from onward.backend import state_of
from onward.backend.loop import Closed
from onward.backends.celery import native
from onward.backends.celery.app import priority_of
from onward.backends.celery.backend import CeleryBackend, expired
from onward.backends.celery.clock import here
from onward.backends.celery.leases import Leases
from onward.backends.celery.ledger import Message, distrusted
from onward.backends.celery.message import (
    Broken,
    Flowing,
    Now,
    Started,
    Ticket,
    outcome_of,
    read_now,
    read_ticket,
)
from onward.backends.celery.reports import Report, Reports
from onward.backends.celery.request import NotRun, Request, StepFailed, failed
from onward.backends.celery.signing import SIZE, opened
from onward.backends.celery.steps import StepRunner
from onward.catalog import Catalog
from onward.context import Context, moment
from onward.evaluate import failed_with, join, split
from onward.execute import is_retried
from onward.fault import Cancelled
from onward.outcome import Faulted, Outcome, Value, faulted
from onward.plan import (
    Args,
    EachNode,
    Runnable,
    StepNode,
)

ASKED = "onward_asked"
"""The header that has the name of a task that is unknown here."""

_LOGGER = logging.getLogger("onward.celery")


class Carrier:
    """Does what tickets say, in a Celery worker."""

    def __init__(self, backend: CeleryBackend, catalog: Catalog) -> None:
        self._backend = backend
        self._ledger = backend.ledger.of_worker()
        self._steps = StepRunner(catalog.tasks)
        self._leases = Leases(self._ledger, backend.lease)
        self._reports = Reports(self._ledger)
        self._gives_back = False

    def register(self, catalog: Catalog) -> None:
        """Makes Celery tasks of a catalog's tasks, and of the plumbing."""
        app: Any = self._backend.app
        app.finalize()
        options: dict[str, Any] = {
            "bind": True,
            "shared": False,
            "lazy": False,
            "max_retries": None,
            "Request": Request,
            "throws": (StepFailed,),  # which is logged elsewhere, once
            "cancel_call": staticmethod(self._backend.cancel),
        }
        names = [*catalog.tasks, native.FUSED, native.EACH, native.PASS]
        for name in names:
            app.task(name=name, **options)(self._carrying())
        for name in (native.GATHER, native.TEE):
            app.task(name=name, **options)(self._gathering())

    def _carrying(self) -> Any:
        def carry(task: CeleryTask[Any, Any], now: str, ticket: str) -> str:
            [came], read = self._opened(task, [now], ticket)
            with self._guarded(read):
                return self._told(task, came, self.carry(task, came, read), read)

        return carry

    def _gathering(self) -> Any:
        def gather(task: CeleryTask[Any, Any], nows: list[str], ticket: str) -> str:
            came, read = self._opened(task, nows, ticket)
            with self._guarded(read):
                ends = [*read.before, *came]
                if isinstance(read.do, EachNode) and read.after:
                    raise task.replace(self._fan(read.after, read, read.do, ends))
                settled = gathered(ends, read)
                if task.name == native.TEE and isinstance(settled, Flowing):
                    settled = ends[0]
                now = self._passed(task, settled, read)
                return self._told(task, None, now, read)

        return gather

    @contextlib.contextmanager
    def _guarded(self, ticket: Ticket) -> Generator[None]:
        """Where what goes wrong is ours, and not the step's, whose failures are outcomes.

        The call goes on then: it is open, and in no queue, so the reconciler sends it again.
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
            where = f"call {ticket.call!r}, step {ticket.at!r}"
            _LOGGER.exception("%s: the worker failed; the call will be sent again", where)
            raise Ignore(repr(problem)) from problem

    def _opened(
        self, task: CeleryTask[Any, Any], nows: list[str], ticket: str
    ) -> tuple[list[Now], Ticket]:
        """What a message says; refuses one that no client or worker of ours has written."""
        try:
            return self._read(task, nows, ticket)
        except (MsgspecError, RecursionError):
            raise self._refused(task, "it is not written as Onward writes calls") from None

    def _read(
        self, task: CeleryTask[Any, Any], nows: list[str], ticket: str
    ) -> tuple[list[Now], Ticket]:
        """What a message says, none of which is decoded before its signature is known to hold."""
        signer = self._backend.signer
        sent = _bytes(ticket)
        raw = opened(signer, sent, "ticket", self._asked(task))
        if signer is None:
            if raw is None:
                self._end_signed(sent)
                raise self._refused(task, "it is signed, and this worker has no signing keys")
            return [read_now(_bytes(now)) for now in nows], read_ticket(raw)
        if raw is None:
            raise self._refused(task, "it is not signed for this task with a key of this worker")
        read = read_ticket(raw)
        call = f"in call {read.call!r}, {read.at!r}"
        if read.until <= self._ledger.now():
            raise self._refused(task, f"{call}: its signature has expired")
        if not isinstance(nows, list) or len(nows) != len(read.takes):
            raise self._refused(task, f"{call}: it comes with other values than it takes")
        values = [
            opened(signer, _bytes(now), "now", read.call, source)
            for now, source in zip(nows, read.takes, strict=True)
        ]
        if None in values:
            raise self._refused(task, f"{call}: a value is not signed as what it takes")
        return [read_now(value) for value in values if value is not None], read

    def _asked(self, task: CeleryTask[Any, Any]) -> str:
        """The name of the task that a message is for, also where it is unknown here."""
        asked = task.request.get(ASKED)
        if task.name == native.PASS and isinstance(asked, str) and asked not in task.app.tasks:
            return asked
        return str(task.name)

    def _refused(self, task: CeleryTask[Any, Any], why: str) -> NotRun:
        """What drops a message. If its call is open, the reconciler sends it again, as it was."""
        _LOGGER.warning("refused message %r for %r: %s", task.request.id, self._asked(task), why)
        return NotRun(why)

    def _end_signed(self, sent: bytes) -> None:
        """Ends a call that only workers with keys can go on with, or it might wait for ever."""
        with contextlib.suppress(MsgspecError):
            call = read_ticket(sent[SIZE:]).call
            self._ledger.settle(call, faulted(distrusted("a message of it")), "failed")

    def _told(self, task: CeleryTask[Any, Any], came: Now | None, now: Now, ticket: Ticket) -> str:
        """Where the call stands, as it travels; of a failure, Celery's tools are told as well.

        Raises:
            StepFailed: If the step has failed. What comes after it has been sent on.
            NotRun: If the call had failed before, or had ended.
        """
        text = self._backend.canvas.now(now, ticket.call, native.source_of(ticket))
        if not isinstance(now, Broken):
            return text
        request: Any = task.request
        if request.chain:
            after: Any = task.app.signature(request.chain[-1])
            before: Any = request.chain[:-1]
            after.apply_async((text,), chain=before, parent_id=request.id, root_id=request.root_id)
        task.backend.mark_as_done(request.id, text, request, not task.ignore_result)
        # Celery does more with failures than to show them: it would fail chains and chords.
        request.chain = request.chord = None
        request.ignore_result = True
        fault = now.outcome.fault if isinstance(now.outcome, Faulted) else None
        if now is came or isinstance(fault, Cancelled):
            raise NotRun("the call has failed before, or has ended")
        raise failed(now.outcome)

    def carry(self, task: CeleryTask[Any, Any], now: Now, ticket: Ticket) -> Now:
        """Does what a ticket says to where the call stands; gives where it stands then."""
        if isinstance(now, Flowing):
            if now.past and now.past in ticket.skips:
                return self._passed(task, now, ticket)
            now = replace(now, past="")
            if ticket.handles:
                return self._passed(task, replace(now, past=ticket.handles), ticket)
        if isinstance(now, Started) and ticket.handles:
            return self._passed(task, Flowing(now.args.positional[0], ticket.handles), ticket)
        if isinstance(now, Broken):
            if ticket.handles not in now.inside or not ticket.handles:
                return self._passed(task, now, ticket)
            args = failed_with(now.outcome)
        else:
            args = now.args if isinstance(now, Started) else Args((now.raw,))
        if isinstance(ticket.do, EachNode):
            return self._spread(task, args, ticket, ticket.do)
        if ticket.do is None:
            return self._passed(task, now, ticket)
        return self._stepped(task, args, ticket, ticket.do)

    def _stepped(
        self, task: CeleryTask[Any, Any], args: Args, ticket: Ticket, step: Runnable
    ) -> Now:
        name = step.task if isinstance(step, StepNode) else ticket.flow
        attempt = (task.request.retries or 0) + 1
        holder = self._leases.holder()
        begun = self._ledger.begin(
            self._message(task, ticket),
            ticket.at,
            holder,
            task=name,
            step=ticket.at,
            attempt=str(attempt),
            progress="",
        )
        if begun.outcome is not None:
            return self._passed(task, _after(outcomes.decode(begun.outcome), ticket), ticket)
        if not begun.is_open:
            return self._dropped(task, ticket)
        if begun.is_taken:
            # Who is at it goes on with the call; and if he dies, the call is found and sent again.
            raise Ignore("another delivery of this message is being worked at")
        if ticket.deadline is not None and ticket.deadline <= self._ledger.now():
            self._ledger.settle(ticket.call, faulted(expired(ticket.flow)), "expired")
            return self._dropped(task, ticket)
        with (
            self._leases.kept(ticket.call, ticket.at, holder),
            self._reports.of(ticket.call) as report,
        ):
            context = self._context(ticket, name, attempt, report)
            outcome = self._steps.attempt(step, args, context)
        if is_retried(step, outcome, attempt):
            wait = step.backoff.delay(attempt, random.random())
            self._ledger.put_off(ticket.call, ticket.at, holder, wait)
            kwargs = self._backend.canvas.kwargs(self._asked(task), ticket, wait)
            raise task.retry(countdown=wait, kwargs=kwargs, exc=failed(outcome))
        now = _after(outcome, ticket)
        if not _ends(now, ticket):
            raw = outcomes.encode(outcome)
            counts = self._ledger.record(ticket.call, ticket.at, holder, raw)
            if counts != raw:  # whoever was at it when the lease had run out was first
                now = _after(outcomes.decode(counts), ticket)
        return self._passed(task, now, ticket)

    def _message(self, task: CeleryTask[Any, Any], ticket: Ticket) -> Message:
        """The message that a task came with."""
        sent: Any = task.request.delivery_info or {}
        queue, priority = sent.get("routing_key"), priority_of(sent.get("priority"))
        return Message(ticket.call, str(task.request.id), str(queue), priority)

    def give_back(self) -> None:
        """Lets other workers have the steps that are running."""
        self._gives_back = True
        self._leases.give_back()
        self._reports.close()
        self._steps.close()

    def close(self) -> None:
        """Ends its threads, and its connections."""
        self.give_back()
        self._ledger.close()

    def _passed(self, task: CeleryTask[Any, Any], now: Now, ticket: Ticket) -> Now:
        """Where the call stands after this task; ends the call with the last one."""
        if _ends(now, ticket):
            is_late = ticket.deadline is not None and ticket.deadline <= self._ledger.now()
            outcome = faulted(expired(ticket.flow)) if is_late else outcome_of(now)
            self._ledger.settle(ticket.call, outcome, state_of(outcome))
            task.request.chain = None
        return now

    def _dropped(self, task: CeleryTask[Any, Any], ticket: Ticket) -> Now:
        """The call has ended meanwhile: nothing more is to be done for it."""
        task.request.chain = None
        return Broken(faulted(Cancelled(ticket.flow, "it has ended")))

    def _spread(
        self, task: CeleryTask[Any, Any], args: Args, ticket: Ticket, each: EachNode
    ) -> Now:
        items = split(args)
        if isinstance(items, Faulted):
            return self._passed(task, _after(items, ticket), ticket)
        if each.chunk is not None:
            items = [join(items[at : at + each.chunk]) for at in range(0, len(items), each.chunk)]
        if not items:
            return self._passed(task, Flowing(join([])), ticket)
        raise task.replace(self._fan(items, ticket, each, []))

    def _fan(
        self, items: Sequence[Raw], ticket: Ticket, each: EachNode, before: Sequence[Now]
    ) -> Signature[Any]:
        """The next items of an `each` side by side, as many as its limit allows."""
        count = min(each.limit or len(items), len(items))
        fan = native.fan(
            [each.body] * count, ticket, is_flat=each.chunk is not None, first=len(before)
        )
        rest = replace(
            fan.gather.ticket,
            at=ticket.at,
            do=each,
            before=tuple(before),
            after=tuple(items[count:]),
        )
        fan = replace(fan, gather=replace(fan.gather, ticket=rest))
        return self._backend.canvas.fan(fan, map(Flowing, items[:count]))

    def _context(self, ticket: Ticket, name: str, attempt: int, report: Report) -> Context:
        deadline = ticket.deadline
        if deadline is not None:
            deadline = here(deadline, self._ledger.now())  # tasks look at this machine's clock
        return Context(
            id=ticket.call,
            task=name,
            step=ticket.at,
            attempt=attempt,
            key=ticket.key,
            deadline=moment(deadline),
            report=report.say,
            is_cancelled=report.is_cancelled,
            trace=ticket.trace,
        )


def _after(outcome: Outcome, ticket: Ticket) -> Now:
    """Where the call stands after a step with this outcome."""
    if isinstance(outcome, Value):
        return Flowing(outcome.raw)
    return Broken(outcome, ticket.inside)


def _ends(now: Now, ticket: Ticket) -> bool:
    """Whether the call ends here: with its last task, or with a failure that no rescue is for."""
    is_lost = isinstance(now, Broken) and ticket.is_top and not now.inside
    return ticket.is_last or is_lost


def _bytes(sent: object) -> bytes:
    """What a message has for a text, be it one or not."""
    return sent.encode(errors="replace") if isinstance(sent, str) else b""


def gathered(nows: list[Now], ticket: Ticket) -> Now:
    """Where a call stands after a fan-out: all the values, or the first failure."""
    values: list[Raw] = []
    for now in nows:
        if isinstance(now, Broken) or (isinstance(now, Flowing) and now.past in ticket.skips):
            return now
        raw = outcome_of(now).raw
        parts = split(Args((raw,))) if ticket.is_flat else [raw]
        if isinstance(parts, Faulted):
            return Broken(parts)
        values.extend(parts)
    return Flowing(join(values))
