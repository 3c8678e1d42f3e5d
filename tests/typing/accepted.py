# pyright: strict
"""Right programs with all of the public API: every type checker accepts them, and they run."""

import asyncio
import sqlite3
import sys
import threading
from collections.abc import AsyncGenerator, Callable, Collection, Generator, Iterable, Mapping
from contextlib import asynccontextmanager, closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from tempfile import TemporaryDirectory
from typing import Never, NoReturn, assert_type

from msgspec.structs import replace
from returns.result import Failure, Result, Success

from onward import (
    AttemptHistory,
    Backend,
    Backoff,
    BadPayload,
    Call,
    Cancelled,
    Cancels,
    Cases,
    Catalog,
    Conflict,
    Constant,
    Context,
    Expired,
    Exponential,
    Fault,
    Flow,
    Forgets,
    Health,
    Histories,
    History,
    Isolation,
    Items,
    Limit,
    ListedCall,
    Lists,
    Lost,
    Middleware,
    Misconfigured,
    Moved,
    Moves,
    Policy,
    Progress,
    Raised,
    Ref,
    Replay,
    ReplayedStep,
    Resource,
    Retry,
    Schedule,
    Schedules,
    Secret,
    Signal,
    Signals,
    Status,
    Step,
    StepHistory,
    Task,
    TimedOut,
    TooLarge,
    Unanswered,
    Unavailable,
    Unknown,
    Unsupported,
    aio,
    answer,
    awaits,
    calls,
    cancel,
    cancel_all,
    case,
    check,
    connect,
    current,
    each,
    explain,
    fixed,
    flow,
    forget,
    fork,
    fused,
    given,
    history,
    identity,
    keep,
    limited,
    local,
    move,
    pause_schedule,
    progress,
    replay,
    result,
    results,
    resume,
    resume_all,
    resume_schedule,
    run,
    schedule,
    schedules,
    send,
    sleep,
    spread,
    status,
    submit,
    submit_all,
    task,
    tee,
    together,
    unschedule,
    unwrap,
    uses,
    work,
)
from onward.backend import Submission, Transacts, Worker
from onward.backends.local import Local
from onward.backends.sqlite import sqlite
from onward.middleware import Refused, with_middleware
from onward.outcome import Outcome
from onward.plan import Plan


@dataclass(frozen=True)
class Malformed:
    line: int


@dataclass(frozen=True)
class Missing:
    url: str


# -- tasks: sync and async, with and without domain errors and a policy ---------------------------

patient: Backoff = Exponential(0.01, factor=2, max=1.0, jitter=0.2)
constant: Backoff = Constant(0.01, jitter=0.1)


@task
def start() -> str:
    return "https://example.org/a.csv"


@task
def fetch(url: str, *, encoding: str = "utf-8") -> bytes:
    return url.encode(encoding)


@task(retry=Retry(attempts=3, backoff=patient, on=(OSError,), never=(FileNotFoundError,)))
async def find(url: str) -> Result[bytes, Missing]:
    return Success(b"1,2,3") if url else Failure(Missing(url))


@task(name="rows.parse", timeout=30, queue="rows", priority=9)
def parse(raw: bytes, sep: str, strict: bool = True) -> Result[list[int], Malformed]:
    words = raw.decode().split(sep)
    if strict and not all(word.isdecimal() for word in words):
        return Failure(Malformed(1))
    return Success([int(word) for word in words if word.isdecimal()])


@task
async def double(n: int) -> int:
    return 2 * n


@task(retry=Retry(5, constant))
def store(rows: list[int], table: str = "rows") -> int:
    context: Context = current()
    progress(len(rows), total=len(rows), note=f"{table}, attempt {context.attempt}")
    return len(rows)


@task
def nothing(error: Malformed | Fault) -> list[int]:
    return []


@task
def report(error: Missing | Malformed | Fault) -> Result[int, str]:
    return Failure(str(error))


@task
def zero(error: Missing | Malformed | Fault | str) -> int:
    return 0


@task
def is_even(n: int) -> bool:
    return n % 2 == 0


@task
def half(n: float) -> float:
    return n / 2


@task
def text(n: int) -> str:
    return str(n)


@task
def maybe(n: int | None) -> int | None:
    return n


@task
def drop(n: int) -> None: ...


@task
def remember(nothing: None) -> list[list[int]]:
    return [[1, 2], [3]]


@task
def add(n: int, /, other: int, *more: int, scale: int = 1) -> int:
    return scale * (n + other + sum(more))


@task
def sizes(pair: tuple[bytes, list[int]]) -> int:
    raw, rows = pair
    return len(raw) + len(rows)


def show(n: int) -> str:
    return f"<{n}>"


shown = task(show)
shown_elsewhere = task(name="show.elsewhere", queue="elsewhere")(show)
shown_late = task(show, name="show.late", timeout=60, retry=Retry(3))


@task
def give_up(n: int) -> NoReturn:
    raise ValueError(n)


@task
def give_up_on(error: Missing | Malformed | Fault) -> NoReturn:
    raise ValueError(error)


slow = task(timeout=60, queue="slow")


@slow
def sum_up(rows: list[int]) -> int:
    return sum(rows)


@slow
async def average(rows: list[int]) -> Result[float, Malformed]:
    return Success(sum(rows) / len(rows)) if rows else Failure(Malformed(0))


# -- flows ----------------------------------------------------------------------------------------

read = find >> given(parse, ",", strict=False)
ingest = (read >> each(double, limit=8, chunk=2) >> given(store, table="rows")).named("ingest")


def a_call_has_the_value_and_the_errors_of_its_flow() -> None:
    assert_type(start(), Call[str])
    assert_type(fetch("u", encoding="ascii"), Call[bytes])
    assert_type(find("u"), Call[bytes, Missing])
    assert_type(parse(b"", ";"), Call[list[int], Malformed])
    assert_type(parse(b"", sep=";", strict=False), Call[list[int], Malformed])
    assert_type(double(1), Call[int])
    assert_type(average([1]), Call[float, Malformed])
    assert_type(shown(1), Call[str])
    assert_type(shown_elsewhere(1), Call[str])
    assert_type(shown_late(1), Call[str])
    assert_type(add(1, 2, 3, scale=2), Call[int])


async def the_function_of_a_task_is_the_plain_one() -> None:
    assert_type(fetch.fn("u", encoding="ascii"), bytes)
    assert_type(parse.fn(b"1", ","), Result[list[int], Malformed])
    assert_type(await double.fn(1), int)
    assert_type(await find.with_(timeout=1).fn("u"), Result[bytes, Missing])
    assert_type(shown.fn(1), str)
    assert_type(sum_up.fn([1]), int)
    assert_type(await average.fn([1]), Result[float, Malformed])


def a_chain_has_the_last_value_and_all_errors() -> None:
    assert_type(read("u"), Call[list[int], Missing | Malformed])
    assert_type(ingest("u"), Call[int, Missing | Malformed])
    assert_type((start >> fetch)(), Call[bytes])
    assert_type((start >> read)(), Call[list[int], Missing | Malformed])
    assert_type((read >> average)("u"), Call[float, Missing | Malformed])
    assert_type((start >> (fetch >> given(parse, ";")) >> sum_up)(), Call[int, Malformed])
    assert_type((double >> half)(1), Call[float])
    assert_type((double >> maybe)(1), Call[int | None])
    assert_type((double >> drop >> remember)(1), Call[list[list[int]]])


def given_takes_all_arguments_but_the_first() -> None:
    assert_type(given(parse, ","), Flow[[bytes], list[int], Malformed])
    assert_type(given(parse, sep=",", strict=False), Flow[[bytes], list[int], Malformed])
    assert_type(given(store), Flow[[list[int]], int])
    assert_type(given(fetch, encoding="ascii"), Flow[[str], bytes])
    assert_type(given(given(store, "rows")), Flow[[list[int]], int])
    assert_type((double >> given(add, other=1, scale=2))(1), Call[int])


def each_maps_a_step_over_a_list() -> None:
    assert_type(each(double)([1]), Call[list[int]])
    assert_type(each(double, limit=2)((1, 2)), Call[list[int]])
    assert_type(each(each(double))([[1], [2]]), Call[list[list[int]]])
    assert_type(each(read)(["u"]), Call[list[list[int]], Missing | Malformed])
    assert_type((start >> read >> each(half))(), Call[list[float], Missing | Malformed])
    assert_type((drop >> remember >> each(sum_up, chunk=10))(1), Call[list[int]])
    assert_type(each(find, on_failure="cancel")(["u"]), Call[list[bytes], Missing])


def together_pairs_the_values_of_its_branches() -> None:
    two = together(double, text)
    three = together(double, text, half)
    four = together(double, text, half, is_even)
    five = together(double, text, half, is_even, shown)
    six = together(double, text, half, is_even, shown, maybe)
    seven = together(double, text, half, is_even, shown, maybe, drop)
    eight = together(double, text, half, is_even, shown, maybe, drop, given(add, 1))
    assert_type(two, Flow[[int], tuple[int, str]])
    assert_type(three(1), Call[tuple[int, str, float]])
    assert_type(four(1), Call[tuple[int, str, float, bool]])
    assert_type(five(1), Call[tuple[int, str, float, bool, str]])
    assert_type(six(1), Call[tuple[int, str, float, bool, str, int | None]])
    assert_type(seven(1), Call[tuple[int, str, float, bool, str, int | None, None]])
    assert_type(eight(1), Call[tuple[int, str, float, bool, str, int | None, None, int]])
    both = together(read, find)
    assert_type(both("u"), Call[tuple[list[int], bytes], Missing | Malformed])
    first = together(read, find, on_failure="cancel")
    assert_type(first("u"), Call[tuple[list[int], bytes], Missing | Malformed])
    assert_type(together(double, text, on_failure="settle"), Flow[[int], tuple[int, str]])
    assert_type((double >> together(double, half))(1), Call[tuple[int, float]])


def identity_fits_everywhere() -> None:
    assert_type((fetch >> identity)("u"), Call[bytes])
    assert_type((identity >> store)([1]), Call[int])
    assert_type(together(identity, double), Flow[[int], tuple[int, int]])
    kept = find >> together(identity, given(parse, ","))
    assert_type(kept("u"), Call[tuple[bytes, list[int]], Missing | Malformed])
    assert_type((kept >> sizes)("u"), Call[int, Missing | Malformed])


def keep_pairs_a_value_with_a_steps() -> None:
    assert_type(keep(double)(1), Call[tuple[int, int]])
    assert_type(keep(given(parse, ","))(b""), Call[tuple[bytes, list[int]], Malformed])
    assert_type((find >> keep(given(parse, ",")) >> sizes)("u"), Call[int, Missing | Malformed])


def tee_passes_the_value_on() -> None:
    assert_type((double >> tee(text) >> double)(1), Call[int])
    assert_type((find >> tee(given(parse, ",")))("u"), Call[bytes, Missing | Malformed])


@task
def length(raw: bytes) -> int:
    return len(raw)


@task
def cut(raw: bytes, size: int) -> bytes:
    return raw[:size]


def spread_takes_the_items_of_a_tuple() -> None:
    assert_type(spread(parse)((b"", ",")), Call[list[int], Malformed])
    assert_type((find >> keep(length) >> spread(cut))("u"), Call[bytes, Missing])
    assert_type((fetch >> together(identity, length) >> spread(cut >> length))("u"), Call[int])
    assert_type(each(spread(cut))([(b"", 1)]), Call[list[bytes]])


decision = Signal("decision", Malformed)


@task
def judge(raw: bytes, found: Malformed) -> int:
    return len(raw)


@task
def late(error: Unanswered | Fault) -> Malformed:
    return Malformed(0)


def a_sleep_passes_the_value_on() -> None:
    assert_type((double >> sleep(60) >> text)(1), Call[str])
    assert_type((find >> sleep(timedelta(days=1)))("u"), Call[bytes, Missing])
    assert_type((sleep(1) >> double)(1), Call[int])


def an_awaits_gives_the_value_of_its_signal() -> None:
    assert_type(decision, Signal[Malformed])
    assert_type((find >> awaits(decision))("u"), Call[Malformed, Missing])
    assert_type((find >> keep(awaits(decision)) >> spread(judge))("u"), Call[int, Missing])
    assert_type((keep(awaits(decision)) >> spread(judge))(b""), Call[int])
    timed = find >> keep(awaits(decision, timeout=60)) >> spread(judge)
    assert_type(timed("u"), Call[int, Missing | Unanswered])
    assert_type((double >> awaits(decision, timeout=60).rescue(late))(1), Call[Malformed])
    both = together(awaits(decision), double)
    assert_type((double >> both)(1), Call[tuple[Malformed, int]])
    ref = (find >> awaits(decision)).ref("x")
    backend = unwrap(connect("local://"))
    if isinstance(backend, Signals):
        sent = send(ref, decision, Malformed(0), on=backend)
        assert_type(sent, Result[None, Fault])
        assert isinstance(sent.failure(), Unknown | Conflict)


async def an_awaited_send() -> None:
    ref = awaits(decision).ref("x")
    assert_type(await aio.send(ref, decision, Malformed(0), on=local()), Result[None, Fault])


def fixed_ignores_what_comes() -> None:
    assert_type((double >> fixed(start) >> find)(1), Call[bytes, Missing])
    assert_type(
        (find >> fixed(parse, b"", ",", strict=False))("u"), Call[list[int], Missing | Malformed]
    )
    assert_type(fixed(store, [1]).rescue(fixed(store, [2]))("any"), Call[int])
    assert_type(double.rescue(fixed(double, 1))(1), Call[int])


@task
def note_failure(failed: tuple[str, Missing | Fault]) -> Result[bytes, str]:
    return Failure(failed[0])


@task
def refund(cents: int, error: Fault) -> int:
    return cents


def a_handler_takes_what_went_in_as_well() -> None:
    assert_type(find.rescue(note_failure, with_input=True)("u"), Call[bytes, str])
    assert_type((find >> length).rescue(fixed(double, 1), with_input=True)("u"), Call[int])
    assert_type(double.rescue(spread(refund), with_input=True)(1), Call[int])
    assert_type((double >> double.rescue(spread(refund), with_input=True))(1), Call[int])


def a_cleanup_leaves_the_type_of_its_flow_as_it_is() -> None:
    assert_type(find.finally_(fetch)("u"), Call[bytes, Missing])
    assert_type((fetch >> length).finally_(find)("u"), Call[int])
    assert_type((double >> double.finally_(fixed(start)))(1), Call[int])
    assert_type(each(double.finally_(double))([1]), Call[list[int]])
    assert_type((fixed(start) >> find).finally_(length)(b""), Call[bytes, Missing])
    assert_type(find.finally_(find >> length).rescue(nothing_found)("u"), Call[bytes])


@task
def nothing_found(error: Missing | Fault) -> bytes:
    return b""


@dataclass(frozen=True)
class Card:
    number: str


@dataclass(frozen=True)
class Iban:
    number: str


@task
def method(n: int) -> Card | Iban | None:
    return None


@task
def by_card(card: Card) -> str:
    return card.number


@task
def by_iban(iban: Iban) -> Result[int, Missing]:
    return Failure(Missing(iban.number))


@task
def by_either(payment: Card | Iban) -> str:
    return payment.number


@task
def by_nothing(_: None) -> bytes:
    return b""


@task
def by_fault(error: Fault) -> int:
    return 0


@task
def by_missing(error: Missing) -> int:
    return 0


def case_sends_each_type_to_its_step() -> None:
    paid: Cases[Card | Iban, str | int, Missing] = case(Card, by_card).case(Iban, by_iban)
    assert_type(paid(Card("1")), Call[str | int, Missing])
    assert_type(case(Card, by_card).case(Iban, by_iban)(Iban("1")), Call[str | int, Missing])
    whole = method >> paid.case(None, by_nothing)
    assert_type(whole(1), Call[str | int | bytes, Missing])
    other = method >> case(None, by_nothing).case(Card, by_card).case(Iban, by_either)
    assert_type(other(1), Call[bytes | str])
    assert_type((double >> case(int, double >> double))(1), Call[int])
    several = each(case(int, double).case(str, find))
    assert_type(several([1, "a"]), Call[list[int | bytes], Missing])
    assert_type(case(int, identity).case(bytes, length)(b""), Call[int])
    assert_type((case(list[int], store).case(int, double))([1]), Call[int])
    handler = case(Missing, by_missing).case(Fault, by_fault)
    assert_type((find >> length).rescue(handler)("u"), Call[int])


def rescue_takes_the_errors_out_again() -> None:
    assert_type((fetch >> given(parse, ",")).rescue(nothing)("u"), Call[list[int]])
    assert_type(ingest.rescue(report)("u"), Call[int, str])
    assert_type(ingest.rescue(report).rescue(zero)("u"), Call[int])
    assert_type((ingest.rescue(zero) >> double)("u"), Call[int])
    assert_type(sum_up.rescue(zero)([1]), Call[int])


def another_policy_or_name_is_the_same_type() -> None:
    assert_type(ingest.named("again")("u"), Call[int, Missing | Malformed])
    assert_type(parse.named("again")(b"", ","), Call[list[int], Malformed])
    assert_type(parse.with_(timeout=1, retry=None)(b"", ","), Call[list[int], Malformed])
    assert_type(ingest.with_(queue="q", priority=1, timeout=None)("u").flow.name, str)
    assert_type(fused(ingest)("u"), Call[int, Missing | Malformed])
    assert_type(fused(parse, retry=Retry(), timeout=9)(b"", ","), Call[list[int], Malformed])
    assert_type((fused(find, queue="q", priority=0) >> given(parse, ","))("u").flow.depth, int)
    tasks: list[Task[..., object, object]] = [fetch, parse.with_(priority=0), double]
    assert [each.policy for each in tasks] == [Policy(), tasks[1].policy, Policy()]


def site(url: str, *, encoding: str = "utf-8") -> str:
    return url.split("/")[2]


def a_limited_task_is_the_same_type() -> None:
    assert_type(limited(fetch, Limit(concurrency=3))("u"), Call[bytes])
    assert_type(limited(fetch, Limit(concurrency=3), key=site)("u"), Call[bytes])
    assert_type(limited(double, Limit(rate=5), key=lambda n: n % 10)(1), Call[int])
    assert_type((limited(double, Limit(rate=5, per=0.5)) >> double)(1), Call[int])
    slow = Limit(concurrency=10, rate=1, per="hour", key=str, fair=True, name="slow")
    assert_type(double.with_(limit=slow)(1), Call[int])
    assert_type(fused(double >> double, limit=Limit(rate=1))(1), Call[int])
    whole = (fetch >> given(parse, ",")).named("whole")
    assert_type(limited(whole, Limit(concurrency=1), key=site)("u"), Call[list[int], Malformed])


def a_task_as_a_flow_without_the_names_of_its_parameters() -> None:
    a: Flow[[int], int] = given(double)
    b: Flow[[int], int] = identity >> double
    c: Flow[[int], int] = flow(double)
    assert a.depth > b.depth == c.depth


def a_flow_may_be_used_as_something_wider() -> None:
    step: Step[bool, float] = double
    parser: Step[bytes, list[int], Malformed | Missing] = given(parse, ",")
    function: Callable[[int], Call[int]] = double
    call: Call[float, Malformed] = double(1)
    ref: Ref[object, object] = double.ref("id")
    flow: Flow[..., object, Missing | Malformed] = read
    flows: list[Flow[..., object, object]] = [double, read, ingest, together(double, text)]
    assert len({step, parser, function, call, ref, flow, *flows}) == 7


def twice(step: Step[int, int]) -> Call[int]:
    return (double >> step >> step)(1)


def a_step_as_a_flow_goes_on(step: Step[int, int, Malformed]) -> None:
    assert_type(flow(step), Flow[[int], int, Malformed])
    assert_type((flow(step) >> double)(1), Call[int, Malformed])
    assert_type(flow(step).named("step")(1), Call[int, Malformed])
    assert_type(flow(double), Flow[[int], int])


def a_task_that_never_returns_fits_everywhere(on: Backend) -> None:
    assert_type(run(give_up(1), on=on), Result[Never, Fault])
    assert_type((give_up >> double)(1), Call[int])
    assert_type(ingest.rescue(give_up_on)("u"), Call[int])


def each_takes_items(numbers: Items[int]) -> Call[list[int]]:
    return each(double)(numbers)


def a_match_over_an_answer_is_exhaustive(on: Backend) -> str:
    match answer(run(ingest("u"), on=on)):
        case Success(count):
            assert_type(count, int)
            return f"{count} rows"
        case Failure(Malformed(line)):
            return f"line {line} is malformed"
        case Failure(error):
            return str(error)


def a_match_over_an_answers_error_is_exhaustive(on: Backend) -> str:
    match answer(run(ingest("u"), on=on)):
        case Success(count):
            return f"{count} rows"
        case Failure(error):
            assert_type(error, Missing | Malformed | Fault)
            match error:
                case Malformed(line):
                    return f"line {line} is malformed"
                case Missing(url):
                    return f"nothing at {url}"
                case Fault():
                    return error.message


def an_unwrapped_result_is_its_value(on: Backend) -> None:
    assert_type(unwrap(run(ingest("u"), on=on)), int)
    assert_type(unwrap(connect("local://")), Backend)


def an_answer_is_a_result(on: Backend) -> None:
    answered = answer(run(double(1), on=on))
    assert_type(answered.unwrap(), int)
    result: Result[int, Fault] = answered
    if isinstance(answered, Failure):
        assert_type(answered.failure(), Fault)
    assert result is answered


# -- interpreters ---------------------------------------------------------------------------------


class Third:
    """A backend of somebody else's, over another: it carries calls, and cannot cancel them."""

    def __init__(self, other: Backend) -> None:
        self._other = other

    def submit(self, submission: Submission, /) -> Result[str, Fault]:
        return self._other.submit(submission)

    def submit_all(self, submissions: Iterable[Submission], /) -> Result[list[str], Fault]:
        return self._other.submit_all(submissions)

    def outcome(self, id: str, /, timeout: float | None = None) -> Result[Outcome | None, Fault]:
        return self._other.outcome(id, timeout)

    def settled(
        self, ids: Collection[str], /, timeout: float | None = None
    ) -> Result[Mapping[str, Outcome], Fault]:
        return self._other.settled(ids, timeout)

    def status(self, id: str, /) -> Result[Status, Fault]:
        return self._other.status(id)

    def serve(
        self,
        catalog: Catalog,
        /,
        *,
        concurrency: int | None = None,
        queues: Collection[str] | None = None,
    ) -> Result[Worker, Fault]:
        return self._other.serve(catalog, concurrency=concurrency, queues=queues)

    def close(self) -> None:
        self._other.close()


class ThirdCancels(Third):
    """The same, and it can cancel."""

    def __init__(self, other: Cancels) -> None:
        super().__init__(other)
        self._cancels = other

    def cancel(self, id: str, /) -> Result[None, Fault]:
        return self._cancels.cancel(id)


class ThirdSchedules(Third):
    """The same, and it makes calls by a clock, which stands still."""

    def __init__(self, other: Backend) -> None:
        super().__init__(other)
        self._kept: dict[str, Schedule] = {}

    def schedule(self, schedule: Schedule, plan: Plan, /) -> Result[Schedule, Fault]:
        return Success(self._kept.setdefault(schedule.name, schedule))

    def schedules(self) -> Result[list[Schedule], Fault]:
        return Success([*self._kept.values()])

    def pause_schedule(self, name: str, /) -> Result[None, Fault]:
        return Failure(Unsupported(name, "it stands still"))

    def resume_schedule(self, name: str, /) -> Result[None, Fault]:
        return Failure(Unsupported(name, "it stands still"))

    def unschedule(self, name: str, /) -> Result[None, Fault]:
        return Success(None) if self._kept.pop(name, None) else Failure(Unknown(name, "not here"))


def by_the_clock(on: Schedules) -> None:
    made = schedule(double(1), on=on, name="a", cron="0 2 * * *", timezone="UTC", queue="q")
    assert_type(made, Result[Schedule, Fault])
    assert_type(made.unwrap().cron, str | None)
    _ = schedule(ingest("u"), on=on, name="b", every=timedelta(minutes=5), priority=1).unwrap()
    _ = schedule(double(1), on=on, name="b", every=60, overlap="queue", catch_up=3600).unwrap()
    _ = schedule(double(1), on=local(), name="b", every=60, catch_up=timedelta(hours=1)).unwrap()
    assert_type(schedules(on), Result[list[Schedule], Fault])
    assert_type(pause_schedule("a", on=on), Result[None, Fault])
    assert_type(resume_schedule("a", on=on), Result[None, Fault])
    assert_type(unschedule("a", on=on), Result[None, Fault])


async def awaiting_the_clock(on: Schedules) -> None:
    made = await aio.schedule(ingest("u"), on=on, name="c", every=60)
    assert_type(made, Result[Schedule, Fault])
    assert_type(await aio.schedules(on), Result[list[Schedule], Fault])
    assert_type(await aio.pause_schedule("c", on=on), Result[None, Fault])
    assert_type(await aio.resume_schedule("c", on=on), Result[None, Fault])
    assert_type(await aio.unschedule("c", on=on), Result[None, Fault])


async def in_a_transaction_of_ones_own(on: Backend, db: sqlite3.Connection) -> None:
    assert isinstance(on, Transacts)
    within = on.within(db)
    assert_type(submit(double(1), on=within, key="k"), Result[Ref[int], Fault])
    assert_type(submit(double(1), on=within, unique="k", debounce=5), Result[Ref[int], Fault])
    assert_type(await aio.submit(double(1), on=within, unique="k"), Result[Ref[int], Fault])
    assert_type(submit_all([double(1)], on=within), Result[list[Ref[int]], Fault])
    assert_type(await aio.submit(double(1), on=within, delay=1), Result[Ref[int], Fault])
    assert_type(await aio.submit_all([double(1)], on=within), Result[list[Ref[int]], Fault])


def calls_that_are_listed(on: Lists, can: Cancels, has: Histories, deletes: Forgets) -> None:
    for listed in calls(on=on, flow=double, state="lost", since=timedelta(hours=1), tags=["a"]):
        assert_type(listed, Result[ListedCall[int], Fault])
        assert_type(listed.unwrap().ref, Ref[int])
    for other in calls(on, flow="double", state=["failed", "cancelled"], until=60, limit=5):
        assert_type(other, Result[ListedCall[object, object], Fault])
    found = calls(on, flow=ingest)
    cancelled = cancel_all(found, on=can, progress=lambda done, total: None)
    assert_type(
        cancelled, Result[list[tuple[Ref[int, Missing | Malformed], Result[None, Fault]]], Fault]
    )
    some = [each.unwrap() for each in calls(on, flow=double)]
    resumed = resume_all(some, on=has, to=can, dry_run=True)
    assert_type(resumed, Result[list[tuple[Ref[int], Result[Ref[int], Fault]]], Fault])
    assert_type(forget(double.ref("id"), on=deletes), Result[None, Fault])


def calls_that_are_read_and_repaired(has: Histories, moves: Moves, other: Backend) -> None:
    ref = ingest.ref("id")
    read = history(ref, on=has).unwrap()
    assert_type(read, History[int, Missing | Malformed])
    assert_type(read.result, Result[int, Missing | Malformed | Fault] | None)
    assert_type(read.steps, tuple[StepHistory, ...])
    assert_type(read.steps[0].attempts, tuple[AttemptHistory, ...])
    again = resume(ref, on=has, to=other, args=["a", 1], deadline=60)
    assert_type(again, Result[Ref[int, Missing | Malformed], Fault])
    assert_type(fork(ref, "1[0]", on=has), Result[Ref[int, Missing | Malformed], Fault])
    again_here = replay(ref, on=has).unwrap()
    assert_type(again_here, Replay[int, Missing | Malformed])
    assert_type(again_here.result, Result[int, Missing | Malformed | Fault] | None)
    assert_type(again_here.differences, tuple[ReplayedStep, ...])
    moved = move(ref, on=moves, to=other)
    assert_type(moved, Result[Ref[int, Missing | Malformed], Fault])
    if isinstance(moved, Failure) and isinstance(moved.failure(), Moved):
        print("it was moved before")


async def calls_that_are_read_and_awaited(has: Histories) -> None:
    assert_type(await aio.history(double.ref("id"), on=has), Result[History[int], Fault])
    assert_type(await aio.resume(double.ref("id"), on=has), Result[Ref[int], Fault])
    assert_type(await aio.fork(double.ref("id"), "1", on=has), Result[Ref[int], Fault])
    assert_type(await aio.replay(double.ref("id"), on=has), Result[Replay[int], Fault])


async def calls_that_are_listed_and_awaited(on: Lists, can: Cancels, has: Histories) -> None:
    async for listed in aio.calls(on=on, flow=double, state="lost"):
        assert_type(listed, Result[ListedCall[int], Fault])
    cancelled = await aio.cancel_all(aio.calls(on, flow=double), on=can)
    assert_type(cancelled, Result[list[tuple[Ref[int], Result[None, Fault]]], Fault])
    resumed = await aio.resume_all(calls(on, flow=double), on=has)
    assert_type(resumed, Result[list[tuple[Ref[int], Result[Ref[int], Fault]]], Fault])


def isinstance_says_what_a_backend_can_do(on: Backend) -> str:
    can: list[str] = []
    if isinstance(on, Cancels):
        assert_type(cancel(double.ref("id"), on=on), Result[None, Fault])
        can.append("cancel")
    if isinstance(on, Schedules):
        assert_type(schedules(on), Result[list[Schedule], Fault])
        can.append("schedule")
    return ", ".join(can)


def blocking(on: Cancels) -> None:
    call = ingest("https://example.org/a.csv")
    assert_type(check(call, on=on), Result[None, tuple[Fault, ...]])
    assert_type(run(call, on=on), Result[int, Missing | Malformed | Fault])
    assert_type(run(start(), on=on, timeout=60), Result[str, Fault])
    assert_type(run(start(), on=on, tags=["a"]), Result[str, Fault])
    assert_type(run(start(), on=on, unique="u", delay=timedelta(1)), Result[str, Fault])
    assert_type(submit(start(), on=on, unique="u", debounce=timedelta(1)), Result[Ref[str], Fault])
    submitted = submit(
        call, on=on, key="a", delay=0, deadline=timedelta(hours=1), queue="q", priority=1
    )
    assert_type(submitted, Result[Ref[int, Missing | Malformed], Fault])
    ref = submitted.unwrap()
    assert_type(ref, Ref[int, Missing | Malformed])
    assert_type(ingest.ref(str(ref)), Ref[int, Missing | Malformed])
    assert_type(result(ref, on=on, timeout=60), Result[int, Missing | Malformed | Fault])
    assert_type(status(ref, on=on), Result[Status, Fault])
    assert_type(cancel(ref, on=on), Result[None, Fault])
    refs = submit_all((double(n) for n in range(3)), on=on).unwrap()
    assert_type(refs, list[Ref[int]])
    for one, settled in results(refs, on=on, progress=lambda done, total: None):
        assert_type(one, Ref[int])
        assert_type(settled, Result[int, Fault])


async def awaiting(on: Cancels) -> None:
    call = ingest("https://example.org/a.csv")
    assert_type(aio.check(call, on=on), Result[None, tuple[Fault, ...]])
    assert_type(await aio.run(call, on=on), Result[int, Missing | Malformed | Fault])
    submitted = await aio.submit(call, on=on, key="b")
    assert_type(submitted, Result[Ref[int, Missing | Malformed], Fault])
    ref = submitted.unwrap()
    assert_type(await aio.result(ref, on=on), Result[int, Missing | Malformed | Fault])
    assert_type(await aio.status(ref, on=on), Result[Status, Fault])
    assert_type(await aio.cancel(ref, on=on), Result[None, Fault])
    refs = (await aio.submit_all([double(1), double(2)], on=on)).unwrap()
    assert_type(refs, list[Ref[int]])
    async for one, settled in aio.results(refs, on=on, timeout=60):
        assert_type(one, Ref[int])
        assert_type(settled, Result[int, Fault])


def serving(on: Backend) -> None:
    catalog = Catalog(ingest, start, fetch, double)
    assert "rows.parse" in Catalog.of(sys.modules[__name__])
    stop = threading.Event()
    stop.set()
    assert_type(work(catalog, on=on, concurrency=2, grace=1.0, stop=stop), Result[None, Fault])
    assert_type(explain(ingest), str)
    assert_type(explain(ingest("u"), form="mermaid"), str)


def match_takes_a_result_apart(on: Backend) -> str:
    match run(ingest("u"), on=on):
        case Success(count):
            return f"{count} rows"
        case Failure(Malformed(line)):
            assert_type(line, int)
            return f"line {line} is malformed"
        case Failure(Missing(url)):
            assert_type(url, str)
            return f"nothing at {url}"
        case Failure(Raised(task, error_type, message)):
            assert_type(error_type, str)
            return f"{task} raised {error_type}: {message}"
        case _:
            return "something else"


def isinstance_takes_a_result_apart(on: Backend) -> int:
    outcome = run(read("u"), on=on)
    if isinstance(outcome, Success):
        return sum(outcome.unwrap())
    error = outcome.failure()
    assert_type(error, Missing | Malformed | Fault)
    if isinstance(error, Malformed):
        return error.line
    return len(error.url if isinstance(error, Missing) else error.message)


def match_takes_a_fault_apart(fault: Fault) -> str | int | float:
    assert_type(fault.task, str)
    match fault:
        case Raised(attempts=attempts):
            return attempts
        case TimedOut(still_running=True):
            return "later"
        case TimedOut(_, _, seconds):
            return seconds
        case Lost(_, _, deliveries):
            return deliveries
        case TooLarge(_, _, size, limit):
            return size - limit
        case BadPayload(_, message, path):
            return message + path
        case Unknown(task) | Unavailable(task) | Unsupported(task) | Misconfigured(task):
            return task
        case Cancelled() | Expired():
            return fault.cure
        case _:
            return fault.message


def a_status_tells_how_far_it_is(seen: Status) -> float:
    far = seen.progress if seen.settled else Progress(0.0, total=1.0, note=seen.task)
    return 0.0 if far is None or seen.state == "queued" else far.done


def no_errors_of_its_own(outcome: Result[int, Never]) -> int:
    return outcome.unwrap()


def a_url_gives_a_backend_or_what_is_wrong_with_it() -> None:
    connected = connect("local://")
    assert_type(connected, Result[Backend, Misconfigured])
    assert_type(run(double(1), on=connected.unwrap()), Result[int, Fault])


@task
def login(user: str, password: Secret[str]) -> Secret[bytes]:
    return Secret(f"{user}:{password.get_secret_value()}".encode())


@task
def unlock(token: Secret[bytes], at: Secret[int] | None = None) -> int:
    return len(token.get_secret_value()) + (0 if at is None else at.get_secret_value())


def a_secret_keeps_the_type_of_what_it_holds(secret: Secret[str]) -> Secret[int | str]:
    assert_type(secret.get_secret_value(), str)
    flow = given(login, secret) >> unlock
    assert_type(flow, Flow[[str], int])
    assert_type(login("ann", Secret("hunter2")), Call[Secret[bytes]])
    return secret


# -- resources: which no caller passes ------------------------------------------------------------


class Db:
    def insert(self, rows: list[int]) -> int:
        return len(rows)


class Cache:
    def seen(self, n: int) -> bool:
        return n > 0


@contextmanager
def open_db() -> Generator[Db]:
    yield Db()


@asynccontextmanager
async def open_cache(db: Db) -> AsyncGenerator[Cache]:
    yield Cache()


db = Resource(open_db)
cache = Resource(open_cache, needs=(db,), scope="attempt")
checked = Resource(open_db, check=lambda db: db.insert([]) == 0, check_every=60)


@uses(db, queue="db")
def insert(db: Db, rows: list[int], table: str = "rows") -> int:
    return db.insert(rows)


@uses(cache, timeout=30)
async def look(cache: Cache, n: int) -> Result[str, Malformed]:
    return Success("seen") if cache.seen(n) else Failure(Malformed(n))


@uses(db)
@uses(cache)
def both(cache: Cache, db: Db, n: int) -> int:
    return n


def resources_are_not_passed() -> None:
    assert_type(db, Resource[Db])
    assert_type(cache, Resource[Cache])
    assert_type(insert([1], table="x"), Call[int])
    assert_type(insert.fn(Db(), [1]), int)
    assert_type(look(1), Call[str, Malformed])
    assert_type(both(1), Call[int])
    assert_type(run(both(1), on=local()), Result[int, Fault])
    numbers = each(both) >> given(insert, table="x") >> look
    assert run(numbers([1, 2]), on=local(resources={db: Db()})) == Success("seen")


# -- middleware: around attempts of all tasks -----------------------------------------------------


@contextmanager
def switches(context: Context) -> Generator[None]:
    if context.task == "insert":
        raise Refused("inserts are switched off")
    yield


@asynccontextmanager
async def tenants(context: Context) -> AsyncGenerator[Context | None]:
    yield None if context.trace else replace(context, trace={"tenant": "acme"})


def middleware_keeps_the_type_of_its_backend(first: Middleware) -> None:
    assert_type(with_middleware(local(), first, switches, tenants), Local)
    _ = with_middleware(local(), lambda _: suppress(OSError))


@task(isolate=Isolation(max_tasks=100), timeout=60)
def render(page: str) -> bytes:
    return page.encode()


def a_worker_of_isolated_steps(on: Backend, stop: threading.Event) -> None:
    served = Catalog(render)
    health = Health(port=0)
    assert_type(work(served, on=on, stop=stop, health=health), Result[None, Fault])


def main() -> None:
    resources_are_not_passed()
    """Runs all of it on the embedded backend."""
    a_call_has_the_value_and_the_errors_of_its_flow()
    asyncio.run(the_function_of_a_task_is_the_plain_one())
    a_chain_has_the_last_value_and_all_errors()
    given_takes_all_arguments_but_the_first()
    each_maps_a_step_over_a_list()
    together_pairs_the_values_of_its_branches()
    identity_fits_everywhere()
    a_sleep_passes_the_value_on()
    an_awaits_gives_the_value_of_its_signal()
    asyncio.run(an_awaited_send())
    a_url_gives_a_backend_or_what_is_wrong_with_it()
    assert a_secret_keeps_the_type_of_what_it_holds(Secret("x")) == Secret("x")
    a_cleanup_leaves_the_type_of_its_flow_as_it_is()
    case_sends_each_type_to_its_step()
    rescue_takes_the_errors_out_again()
    another_policy_or_name_is_the_same_type()
    a_limited_task_is_the_same_type()
    a_flow_may_be_used_as_something_wider()
    with_local = ThirdCancels(local(workers=2))
    assert run(twice(double), on=with_local) == Success(8)
    blocking(with_local)
    asyncio.run(awaiting(with_local))
    serving(with_local)
    with_clock = ThirdSchedules(with_local)
    by_the_clock(with_clock)
    asyncio.run(awaiting_the_clock(with_clock))
    with TemporaryDirectory() as folder, closing(sqlite3.connect(f"{folder}/onward.db")) as db:
        asyncio.run(in_a_transaction_of_ones_own(sqlite(f"{folder}/onward.db"), db))
    assert isinstance_says_what_a_backend_can_do(connect("local://").unwrap()) == "cancel, schedule"
    assert isinstance_says_what_a_backend_can_do(with_clock) == "schedule"
    assert match_takes_a_result_apart(with_local) == "3 rows"
    assert isinstance_takes_a_result_apart(with_local) == 6
    assert match_takes_a_fault_apart(Unknown("double", "nobody knows it")) == "double"
    assert a_status_tells_how_far_it_is(Status("done", progress=Progress(1.0))) == 1.0
    assert no_errors_of_its_own(Success(1)) == 1


if __name__ == "__main__":
    main()
