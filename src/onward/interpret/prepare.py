"""What interpreters check and make before they ask a backend, and how they read its answer."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Generic, Protocol, TypeAlias, TypeVar, cast

from msgspec.structs import replace
from returns.result import Failure, Result

from onward.backend import Schedule, Submission
from onward.catalog import Catalog
from onward.context import current
from onward.fault import BadPayload, Expired, Fault, Misconfigured, TimedOut, Unsupported
from onward.flows.flow import AnyFlow, Call, Flow, Ref
from onward.flows.options import call_options, check_call_options
from onward.flows.render import enclosed
from onward.outcome import Outcome
from onward.plan import Plan, too_many_nodes, version_of
from onward.policy import CallOptions, check_name

Value = TypeVar("Value")
Error = TypeVar("Error")

Timeout: TypeAlias = float | timedelta | None
"""How long to wait, in seconds or as a timedelta; None for as long as it takes."""

Deadline: TypeAlias = float | timedelta | datetime | None
"""How many seconds from now a call may take, or the moment (with its time zone) when it expires."""

_LONGEST = timedelta(days=3650).total_seconds()

# The shape that every engine reads alike; what its numbers mean is the engine's to check.
_CRON_PART = r"(\*|\w+(-\w+)?)(/\d+)?"
_CRON_FIELD = f"{_CRON_PART}(,{_CRON_PART})*"


def prepare(
    call: Call[Value, Error],
    key: str | None,
    delay: float | timedelta,
    deadline: Deadline,
    options: CallOptions,
) -> Submission | Fault:
    """A call and its options as a submission, or what is wrong with them."""
    check_call(call)
    check_call_options(options)
    flow = call.flow
    if isinstance(call.args, BadPayload):
        return call.args
    try:
        # Its tasks are looked at for namesakes; a backend that runs them here asks for them again.
        flow.tasks  # noqa: B018
        steps = call_options(options)
        seconds = 0.0 if delay == 0 else _delay(delay)
        expires = None if deadline is None else _moment(deadline)
        id = os.urandom(16).hex() if key is None else _id_of(flow, key)
    except (TypeError, ValueError) as problem:
        return Misconfigured(flow.name, str(problem))
    if expires is not None and expires <= time.time():
        return Expired(flow.name, "its deadline had passed before it was submitted")
    too_large = too_many_nodes(flow.node)
    if too_large is not None:
        return replace(too_large, task=flow.name)
    plan = Plan(
        v=version_of(flow.node),
        id=id,
        flow=flow.name,
        root=flow.node,
        args=call.args,
        key=key,
        deadline=expires,
        **steps,
    )
    return Submission(plan, seconds, flow)


def prepare_all(
    calls: Iterable[Call[Value, Error]],
    delay: float | timedelta,
    deadline: Deadline,
    options: CallOptions,
) -> tuple[list[AnyFlow], list[Submission]] | Fault:
    """Many calls as submissions, beside their flows; or what is wrong with the first bad one."""
    if isinstance(calls, Call | Flow):
        raise TypeError(f"submit_all takes many calls: write [{calls!r}]")
    flows: list[AnyFlow] = []
    submissions: list[Submission] = []
    for call in calls:
        prepared = prepare(call, None, delay, deadline, options)
        if isinstance(prepared, Fault):
            return prepared
        flows.append(call.flow)
        submissions.append(prepared)
    return flows, submissions


def prepare_schedule(
    call: Call[Value, Error],
    name: str,
    cron: str | None,
    every: float | timedelta | None,
    timezone: str,
    options: CallOptions,
) -> tuple[Schedule, Plan] | Fault:
    """A call and when to make it as a schedule and its plan, or what is wrong with them.

    The plan has no id, for each run is a call of its own.
    """
    prepared = prepare(call, None, 0.0, None, options)
    if isinstance(prepared, Fault):
        return prepared
    flow = call.flow.name
    try:
        check_name("schedule", name)
        if cron is not None and every is None:
            schedule = Schedule(name, flow, _cron(cron), timezone=_timezone(timezone))
        elif every is not None and cron is None:
            if timezone != "UTC":
                raise ValueError("a time zone is for a schedule that goes by cron")
            schedule = Schedule(name, flow, every=_whole_seconds(every))
        else:
            raise ValueError("a schedule goes by cron='30 2 * * *' or by every=60: write one")
    except (TypeError, ValueError) as problem:
        return Misconfigured(flow, str(problem))
    return schedule, replace(prepared.plan, id="")


def refs_of(flows: Sequence[AnyFlow], ids: Sequence[str]) -> list[Ref[Any, Any]]:
    """Ids as refs of the flows that they were given for."""
    return [Ref(id, flow) for id, flow in zip(ids, flows, strict=True)]


def read(
    ref: Ref[Value, Error], answer: Result[Outcome | None, Fault], timeout: float | None
) -> Result[Value, Error | Fault]:
    """What a backend answered for a ref, as the result that it holds."""
    if isinstance(answer, Failure):
        return Failure(answer.failure())
    outcome = answer.unwrap()
    return Failure(_still_running(ref, timeout or 0)) if outcome is None else ref.flow.read(outcome)


def check_call(call: object) -> None:
    """Raises TypeError for what is no call, and says what to write instead."""
    if isinstance(call, Flow):
        raise TypeError(f"{call.name} is a flow, not a call: write {enclosed(call)}(...)")
    if not isinstance(call, Call):
        raise TypeError(f"{call!r} is no call: apply a flow to its arguments")


def check_ref(ref: Ref[Value, Error]) -> Ref[Value, Error]:
    """The ref; raises TypeError for what is none, and says what to write instead."""
    if not isinstance(ref, Ref):
        raise TypeError(f"{ref!r} is no ref: write flow.ref(text), or take what submit gave")
    if not isinstance(ref.id, str):
        raise TypeError(f"a ref's id is a text, not {ref.id!r}")
    return ref


def check_backend(backend: object, *needs: str) -> None:
    """Raises TypeError for what is no backend, or lacks what is needed of it."""
    for method in needs:
        if not callable(getattr(backend, method, None)):
            if isinstance(backend, Result):
                raise TypeError(_unopened(backend))
            cure = "take one that can"
            if not hasattr(backend, "submit"):
                cure = "write on=local(), or another one"
            raise TypeError(f"{backend!r} is no backend that can {method}: {cure}")


def unsupported(backend: object, task: str, *needs: str) -> Unsupported | None:
    """What a backend cannot do that is needed of it, if anything; TypeError for no backend."""
    check_backend(backend, "submit")
    missing = [method for method in needs if not callable(getattr(backend, method, None))]
    if not missing:
        return None
    what = missing[0].replace("_", " ")
    return Unsupported(task, f"{backend!r} has no {what}: its engine cannot do that")


def _unopened(connected: Result[Any, Any]) -> str:
    if isinstance(connected, Failure):
        return f"there is no backend: {connected.failure()}"
    return (
        f"connect gives a Result, which holds the backend {connected.unwrap()!r}: write "
        "on=connect(...).unwrap()"
    )


def wrong_name(name: str) -> Fault | None:
    """What is wrong with a schedule's name, if anything."""
    try:
        check_name("schedule", name)
    except (TypeError, ValueError) as problem:
        return Misconfigured("name", str(problem))
    return None


def wait_of(timeout: Timeout) -> float | Fault | None:
    """How long to wait, in seconds; or what is wrong with that."""
    if timeout is None:
        return None
    try:
        return _seconds("timeout", timeout)
    except (TypeError, ValueError) as problem:
        return Misconfigured("timeout", str(problem))


def wrong_work(
    catalog: Catalog, concurrency: int | None, queues: Collection[str] | None, grace: float
) -> Fault | None:
    """What is wrong with how a worker is to serve, if anything; TypeError for no catalog."""
    if not isinstance(catalog, Catalog):
        raise TypeError(f"{catalog!r} is no Catalog: write Catalog(task, flow, ...)")
    try:
        _seconds("grace", grace)
    except (TypeError, ValueError) as problem:
        return Misconfigured("grace", str(problem))
    try:
        if queues is not None:
            _check_queues(queues)
    except (TypeError, ValueError) as problem:
        return Misconfigured("queues", str(problem))
    if concurrency is None:
        return None
    if isinstance(concurrency, bool) or not isinstance(concurrency, int) or concurrency < 1:
        message = f"concurrency is a whole number of steps from 1 up, not {concurrency!r}"
        return Misconfigured("concurrency", message)
    return None


def _check_queues(queues: Collection[str]) -> None:
    if isinstance(queues, str) or not isinstance(queues, Collection):
        raise TypeError(f"queues is a collection of names, not {queues!r}: write [{queues!r}]")
    if not queues:
        raise ValueError("a worker of no queue has nothing to do: name one, or leave queues out")
    for queue in queues:
        check_name("queue", queue)


class Stop(Protocol):
    """What tells a worker to stop: a `threading.Event`, or an `asyncio.Event` set on its loop."""

    def is_set(self) -> bool:
        """Whether it is to stop."""
        ...


def check_stop(stop: object) -> None:
    """Raises TypeError for what cannot tell a worker to stop."""
    if stop is not None and not callable(getattr(stop, "is_set", None)):
        raise TypeError(f"stop is an Event of threading or asyncio, not {stop!r}")


class Waiting(Generic[Value, Error]):
    """The refs whose outcome has not been given yet, while results come in.

    Args:
        refs: All of them.
        timeout: How long to wait in all, in seconds or as a timedelta.
        progress: Is told how many have completed, and how many there are.
    """

    def __init__(
        self,
        refs: Iterable[Ref[Value, Error]],
        timeout: Timeout,
        progress: Callable[[int, int], None] | None,
    ) -> None:
        if isinstance(refs, Ref):
            raise TypeError("results takes many refs: write [ref], or result(ref)")
        if progress is not None and not callable(progress):
            raise TypeError(f"progress is a function of two numbers, not {progress!r}")
        self.pending: dict[str, Ref[Value, Error]] = {check_ref(ref).id: ref for ref in refs}
        self._total = len(self.pending)
        self._progress = progress
        wait = wait_of(timeout)
        self._wrong = wait if isinstance(wait, Fault) else None
        self._wait = None if isinstance(wait, Fault) else wait
        self._end = None if self._wait is None else time.monotonic() + self._wait

    @property
    def left(self) -> float | None:
        """How long there is still to wait, in seconds."""
        if self._wrong is not None:
            return 0.0
        return None if self._end is None else max(0.0, self._end - time.monotonic())

    def take(
        self, answer: Result[Mapping[str, Outcome], Fault]
    ) -> Iterator[tuple[Ref[Value, Error], Result[Value, Error | Fault]]]:
        """Gives the refs that an answer settles; all of them, where there will be no other."""
        if self._wrong is not None:
            yield from self._give_up(self._wrong)
        elif isinstance(answer, Failure):
            yield from self._give_up(answer.failure())
        else:
            for id, outcome in answer.unwrap().items():
                ref = self.pending.pop(id)
                if self._progress is not None:
                    self._progress(self._total - len(self.pending), self._total)
                yield ref, ref.flow.read(outcome)
            if self._end is not None and time.monotonic() >= self._end:
                yield from self._give_up(None)

    def _give_up(
        self, fault: Fault | None
    ) -> Iterator[tuple[Ref[Value, Error], Result[Value, Error | Fault]]]:
        while self.pending:
            _, ref = self.pending.popitem()
            yield ref, Failure(fault or _still_running(ref, self._wait or 0))


def _still_running(ref: Ref[Value, Error], seconds: float) -> TimedOut:
    message = f"no outcome of call {ref} after {seconds:g} s of waiting; it goes on"
    waiter = current()
    if waiter.id:
        message += (
            f". The task {waiter.task} waits for it within a step, so the two wait for each other "
            "if all slots of the workers are taken by such steps: compose them with >> in one flow "
            "instead, or serve the tasks that are waited for on a queue with workers of its own"
        )
    return TimedOut(
        ref.flow.name,
        message,
        seconds=seconds,
        attempts=0,
        still_running=True,
    )


def _seconds(what: str, value: float | timedelta) -> float:
    seconds = value.total_seconds() if isinstance(value, timedelta) else value
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        raise TypeError(f"{what} is a number of seconds or a timedelta, not {value!r}")
    if not 0 <= seconds <= _LONGEST:
        raise ValueError(f"{what} is from 0 seconds to ten years, not {value!r}")
    return float(seconds)


def _delay(value: float | timedelta) -> float:
    seconds = value.total_seconds() if isinstance(value, timedelta) else value
    # What was due already runs at once, as it does where the moment passes on the way.
    return 0.0 if _is_past(seconds) else _seconds("delay", value)


def _whole_seconds(every: float | timedelta) -> int:
    seconds = _seconds("every", every)
    if seconds < 1 or not seconds.is_integer():
        raise ValueError(f"every is a whole number of seconds from 1 up, not {every!r}")
    return int(seconds)


def _cron(text: str) -> str:
    """A cron's five fields, with one space between them."""
    if not isinstance(text, str):
        raise TypeError(f"cron is a text of five fields, not {text!r}")
    fields = text.split()
    if len(fields) != 5 or not all(re.fullmatch(_CRON_FIELD, field, re.ASCII) for field in fields):
        raise ValueError(
            "cron has five fields (minute, hour, day of the month, month, day of the week), each "
            f"like *, 5, 1-5, */15 or MON,FRI, not {text!r}"
        )
    if fields[2] != "*" and fields[4] != "*":
        raise ValueError(
            f"cron {text!r} names days of the month and of the week, which some engines read as "
            "either and some as both: make two schedules, or let the task look at the date"
        )
    return " ".join(fields)


def _timezone(name: str) -> str:
    if not isinstance(name, str):
        raise TypeError(f"timezone is a name, such as 'Europe/Berlin', not {name!r}")
    if name == "UTC":  # known also where there is no time zone database
        return name
    import zoneinfo

    try:
        zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(
            f"no time zone {name!r} is known here: write an IANA name, such as 'Europe/Berlin', "
            "and install the package tzdata where the system has none"
        ) from None
    return name


def _moment(deadline: float | timedelta | datetime) -> float:
    """When a call expires, in seconds since 1970."""
    if isinstance(deadline, datetime):
        if deadline.tzinfo is None:
            raise ValueError(
                f"the deadline {deadline} has no time zone: write datetime.now(UTC) + ..., or a "
                "number of seconds"
            )
        left = deadline.timestamp() - time.time()
        if left > _LONGEST:
            raise ValueError(f"the deadline {deadline} is more than ten years away")
        return deadline.timestamp()
    seconds = deadline.total_seconds() if isinstance(deadline, timedelta) else deadline
    # What is past already is no mistake in the program: it gives Expired, as a late one does.
    return time.time() + (seconds if _is_past(seconds) else _seconds("deadline", seconds))


def _is_past(seconds: object) -> bool:
    is_number = isinstance(seconds, int | float) and not isinstance(seconds, bool)
    return is_number and -_LONGEST <= cast(float, seconds) <= 0


def _id_of(flow: AnyFlow, key: str) -> str:
    """The id of a call with a key; raises ValueError for what is no key."""
    if not isinstance(key, str) or not key:
        raise ValueError(f"key is a text that is not empty, not {key!r}")
    if any("\ud800" <= letter <= "\udfff" for letter in key):
        raise ValueError(f"key {key!r} has lone surrogates, which no text on the wire has")
    if "\0" in key:
        raise ValueError(f"key {key!r} has a NUL, which not every engine can keep: leave it out")
    from onward.interpret.canonical import id_of  # what has no key does not pay for it

    return id_of(flow, key)
