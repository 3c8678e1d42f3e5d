"""Checks the arguments of interpreters, makes submissions, and reads a backend's answers."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeAlias, TypeVar, cast

from msgspec.structs import replace
from returns.result import Failure, Result

from onward.backend import Submission
from onward.checks import check_name
from onward.context import current
from onward.fault import BadPayload, Expired, Fault, Misconfigured, TimedOut, Unsupported
from onward.flows.flow import AnyFlow, Call, Flow, Named, Ref
from onward.flows.lower import travelling
from onward.flows.names import tasks_of
from onward.flows.options import call_options, check_call_options
from onward.flows.render import enclosed
from onward.flows.values import key_of
from onward.interpret.keys import id_of_key, new_id
from onward.isolation import Isolation, check_isolate
from onward.limit import hashed, key_text
from onward.outcome import Outcome
from onward.plan import MAX_TAG, MAX_TAGS, VERSION, Args, Plan
from onward.policy import CallOptions
from onward.secret import has_marks

if TYPE_CHECKING:
    from onward.catalog import Catalog
    from onward.health import Health

Value = TypeVar("Value")
Error = TypeVar("Error")

Timeout: TypeAlias = float | timedelta | None
"""How long to wait, in seconds or as a timedelta; None waits as long as it takes."""

Deadline: TypeAlias = float | timedelta | datetime | None
"""When a call expires: seconds from now, a timedelta, or a moment with a time zone."""

_LONGEST = timedelta(days=3650).total_seconds()


def prepare(
    call: Call[Value, Error],
    key: str | None,
    delay: float | timedelta,
    deadline: Deadline,
    options: CallOptions,
    tags: Collection[str] = (),
) -> Submission | Fault:
    """Makes a submission of a call and its options, or says what is wrong with them."""
    check_call(call)
    if options:
        check_call_options(options)
    flow = call.flow
    if isinstance(call.args, BadPayload):
        return call.args
    form = travelling(flow)
    try:
        tasks_of(flow)  # raises ValueError if two tasks share a name
        steps = call_options(options)
        if tags != ():
            steps["tags"] = check_tags(tags)
        seconds = 0.0 if delay == 0 else _delay(delay)
        expires = None if deadline is None else expiry(deadline)
        id = new_id() if key is None else id_of_key("key", flow, key)
    except (TypeError, ValueError) as problem:
        return Misconfigured(flow.name, str(problem))
    if expires is not None and expires <= time.time():
        return Expired(flow.name, "its deadline had passed before it was submitted")
    name = flow.name
    if isinstance(form, BadPayload):
        return replace(form, task=name)
    root, version = form
    if version != VERSION:
        limit_key = _limit_key(flow, call.args)
        if isinstance(limit_key, Fault):
            return limit_key
        steps["limit_key"] = limit_key
    plan = Plan(
        v=version,
        id=id,
        flow=name,
        root=root,
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
    tags: Collection[str] = (),
) -> tuple[list[AnyFlow], list[Submission]] | Fault:
    """Makes flows and submissions of many calls, or says what is wrong with the first bad one."""
    if isinstance(calls, Call | Flow):
        raise TypeError(f"submit_all takes many calls: write [{calls!r}]")
    flows: list[AnyFlow] = []
    submissions: list[Submission] = []
    first: dict[int, Submission] = {}  # of each flow; `flows` keeps them, so no `id` comes again
    for call in calls:
        check_call(call)
        flow, args = call.flow, call.args
        like = first.get(id(flow))
        if like is None or isinstance(args, BadPayload):
            prepared = prepare(call, None, delay, deadline, options, tags)
            if isinstance(prepared, Fault):
                return prepared
            first[id(flow)] = prepared
        else:
            plan = replace(like.plan, id=new_id(), args=args)
            if plan.call_limit is not None:
                limit_key = _limit_key(flow, args)
                if isinstance(limit_key, Fault):
                    return limit_key
                plan = replace(plan, limit_key=limit_key)
            prepared = Submission(plan, like.delay, flow)
        flows.append(flow)
        submissions.append(prepared)
    return flows, submissions


def _limit_key(flow: AnyFlow, args: Args) -> str | Fault:
    """The key of the limit of a flow's calls; empty if it has none."""
    limit = flow.limit if isinstance(flow, Named) else None
    if limit is None or limit.key is None:
        return ""
    try:
        key = key_text(key_of(flow, limit.key, args))
    except Exception as problem:
        text = " ".join(str(problem).split())[:200]
        why = f"the function in key= raised {type(problem).__qualname__}: {text}"
        return Misconfigured(flow.name, f"the limit has no key: {why}")
    is_secret = any(map(has_marks, (*args.positional, *args.keyword.values())))
    return hashed(key) if is_secret else key  # engines keep keys in the clear


def refs_of(flows: Sequence[AnyFlow], ids: Sequence[str]) -> list[Ref[Any, Any]]:
    """Makes refs of ids and the flows that they belong to."""
    return [Ref(id, flow) for id, flow in zip(ids, flows, strict=True)]


def read(
    ref: Ref[Value, Error], answer: Result[Outcome | None, Fault], timeout: float | None
) -> Result[Value, Error | Fault]:
    """Reads the result of a ref from a backend's answer."""
    if isinstance(answer, Failure):
        return Failure(answer.failure())
    outcome = answer.unwrap()
    return Failure(_still_running(ref, timeout or 0)) if outcome is None else ref.flow.read(outcome)


def check_call(call: object) -> None:
    """Raises TypeError unless it is a call, and says what to write instead."""
    if isinstance(call, Call):
        return
    if isinstance(call, Flow):
        raise TypeError(f"{call.name} is a flow, not a call: write {enclosed(call)}(...)")
    raise TypeError(f"{call!r} is not a call: apply a flow to its arguments")


def check_ref(ref: Ref[Value, Error]) -> Ref[Value, Error]:
    """Gives the ref. Raises TypeError unless it is one, and says what to write instead."""
    if not isinstance(ref, Ref):
        raise TypeError(f"{ref!r} is not a ref: write flow.ref(text), or take what submit gave")
    if not isinstance(ref.id, str):
        raise TypeError(f"a ref's id is a text, not {ref.id!r}")
    return ref


def check_backend(backend: object, *needs: str) -> None:
    """Raises TypeError unless it is a backend that has the needed methods."""
    for method in needs:
        if not callable(getattr(backend, method, None)):
            if isinstance(backend, Result):
                raise TypeError(_not_unwrapped(backend))
            advice = "use a backend that can"
            if not hasattr(backend, "submit"):
                advice = "write on=local(), or another backend"
            elif not hasattr(backend, "outcome"):
                advice = "submit the call, and ask the backend for its outcome after the commit"
            raise TypeError(f"{backend!r} is not a backend that can {method}: {advice}")


def unsupported(backend: object, task: str, *needs: str) -> Unsupported | None:
    """The first needed method that a backend lacks, as a fault. Raises TypeError if it is none."""
    check_backend(backend, "submit")
    missing = [method for method in needs if not callable(getattr(backend, method, None))]
    if not missing:
        return None
    method = missing[0].replace("_", " ")
    return Unsupported(task, f"{backend!r} has no {method}: its engine cannot do that")


def _not_unwrapped(connected: Result[Any, Any]) -> str:
    if isinstance(connected, Failure):
        return f"there is no backend: {connected.failure()}"
    return (
        f"connect gives a Result, which holds the backend {connected.unwrap()!r}: write "
        "on=connect(...).unwrap()"
    )


def timeout_seconds(timeout: Timeout) -> float | Fault | None:
    """A timeout in seconds, or the fault of an invalid one."""
    if timeout is None:
        return None
    try:
        return seconds_of("timeout", timeout)
    except (TypeError, ValueError) as problem:
        return Misconfigured("timeout", str(problem))


def work_fault(
    catalog: Catalog,
    concurrency: int | None,
    queues: Collection[str] | None,
    grace: float,
    isolate: bool | Isolation,
    health: Health | None,
) -> Fault | None:
    """The fault of invalid arguments of `work`.

    Raises TypeError if the catalog or the health is none.
    """
    from onward.catalog import Catalog  # only workers pay for it
    from onward.health import Health

    if not isinstance(catalog, Catalog):
        raise TypeError(f"{catalog!r} is not a Catalog: write Catalog(task, flow, ...)")
    if health is not None and not isinstance(health, Health):
        raise TypeError(f"{health!r} is not a Health: write Health(port=...)")
    try:
        seconds_of("grace", grace)
    except (TypeError, ValueError) as problem:
        return Misconfigured("grace", str(problem))
    try:
        if queues is not None:
            _check_queues(queues)
    except (TypeError, ValueError) as problem:
        return Misconfigured("queues", str(problem))
    try:
        check_isolate(isolate)
    except TypeError as problem:
        return Misconfigured("isolate", str(problem))
    if concurrency is not None and (
        isinstance(concurrency, bool) or not isinstance(concurrency, int) or concurrency < 1
    ):
        message = f"concurrency is a whole number of steps from 1 up, not {concurrency!r}"
        return Misconfigured("concurrency", message)
    is_isolated = isolate is not False
    if not is_isolated and not any(task.policy.isolate for task in catalog.tasks.values()):
        return None
    from onward.processes.places import unreachable  # only who isolates steps pays for it

    return unreachable(catalog.tasks, all_of_them=is_isolated)


def _check_queues(queues: Collection[str]) -> None:
    if isinstance(queues, str) or not isinstance(queues, Collection):
        raise TypeError(f"queues is a list of names, not {queues!r}: write [{queues!r}]")
    if not queues:
        raise ValueError(
            "queues is empty, so the worker would get no steps: name one, or leave it out"
        )
    for queue in queues:
        check_name("queue", queue)


class Stop(Protocol):
    """An event that stops a worker: a `threading.Event`, or an `asyncio.Event` set on its loop."""

    def is_set(self) -> bool:
        """Whether the worker must stop."""
        ...


def check_stop(stop: object) -> None:
    """Raises TypeError unless it is an event, or None."""
    if stop is not None and not callable(getattr(stop, "is_set", None)):
        raise TypeError(f"stop is an Event of threading or asyncio, not {stop!r}")


class Waiting(Generic[Value, Error]):
    """The refs that `results` still waits for.

    Args:
        refs: All refs.
        timeout: How long to wait in all, in seconds or as a timedelta.
        progress: A function that gets the number of completed calls and the number of all calls.
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
        wait = timeout_seconds(timeout)
        self._fault = wait if isinstance(wait, Fault) else None
        self._wait = None if isinstance(wait, Fault) else wait
        self._end = None if self._wait is None else time.monotonic() + self._wait

    @property
    def left(self) -> float | None:
        """The rest of the timeout, in seconds."""
        if self._fault is not None:
            return 0.0
        return None if self._end is None else max(0.0, self._end - time.monotonic())

    def take(
        self, answer: Result[Mapping[str, Outcome], Fault]
    ) -> Iterator[tuple[Ref[Value, Error], Result[Value, Error | Fault]]]:
        """Gives the refs that an answer settles, or all of them if no other answer will come."""
        if self._fault is not None:
            yield from self._give_up(self._fault)
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
    message = f"call {ref} has no outcome after {seconds:g} s of waiting; it goes on"
    waiter = current()
    if waiter.id:
        message += (
            f". The task {waiter.task} waits for it within a step. If such steps take all slots of "
            "the workers, nothing can run the call: compose both with >> in one flow instead, or "
            "serve the inner tasks on a queue with workers of its own"
        )
    return TimedOut(
        ref.flow.name,
        message,
        seconds=seconds,
        attempts=0,
        still_running=True,
    )


def seconds_of(what: str, value: float | timedelta) -> float:
    """A time in seconds; raises TypeError or ValueError for an invalid one."""
    seconds = value.total_seconds() if isinstance(value, timedelta) else value
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        raise TypeError(f"{what} is a number of seconds or a timedelta, not {value!r}")
    if not 0 <= seconds <= _LONGEST:
        raise ValueError(f"{what} is from 0 seconds to ten years, not {value!r}")
    return float(seconds)


def _delay(value: float | timedelta) -> float:
    seconds = value.total_seconds() if isinstance(value, timedelta) else value
    # A call that is already due runs at once, as one does whose delay passes on the way.
    return 0.0 if _is_past(seconds) else seconds_of("delay", value)


def expiry(deadline: float | timedelta | datetime) -> float:
    """When a call expires, in seconds since 1970; raises TypeError or ValueError."""
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
    # A deadline in the past is not a mistake in the program: the call is Expired.
    return time.time() + (seconds if _is_past(seconds) else seconds_of("deadline", seconds))


def check_tags(tags: object) -> tuple[str, ...]:
    """The tags of a call, each one once; raises TypeError or ValueError for an invalid one."""
    if isinstance(tags, str) or not isinstance(tags, Collection):
        raise TypeError(f"tags is a list of short texts, not {tags!r}: write tags=['customer 7']")
    for tag in tags:
        if not isinstance(tag, str):
            raise TypeError(f"a tag is a text, not {tag!r}")
        if not 1 <= len(tag) <= MAX_TAG or not tag.isprintable() or tag != tag.strip():
            raise ValueError(
                f"a tag is 1 to {MAX_TAG} printable characters, without spaces around them, not "
                f"{tag[: MAX_TAG + 1]!r}"
            )
    once = tuple(dict.fromkeys(tags))
    if len(once) > MAX_TAGS:
        raise ValueError(f"a call has at most {MAX_TAGS} tags, not {len(once)}")
    return once


def _is_past(seconds: object) -> bool:
    is_number = isinstance(seconds, int | float) and not isinstance(seconds, bool)
    return is_number and -_LONGEST <= cast(float, seconds) <= 0
