# pyright: strict
"""Wrong programs, each line with the type checkers that refuse it; nothing here is ever run.

`# E` is refused by all of them, `# E: mypy, ty` by these alone, `# E: not pyrefly` by all but this,
and `# E: nobody` by none. At the end stand right programs that some checker refuses all the same.
"""

from collections.abc import Generator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

from returns.result import Failure, Result, Success

from onward import (
    Backend,
    Call,
    Cancels,
    Catalog,
    Context,
    Fault,
    Flow,
    Histories,
    History,
    Limit,
    Lists,
    Raised,
    Ref,
    Resource,
    Retry,
    Schedules,
    Secret,
    Signal,
    Step,
    Task,
    aio,
    answer,
    awaits,
    calls,
    cancel,
    cancel_all,
    case,
    connect,
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
    pause_schedule,
    replay,
    result,
    results,
    resume,
    resume_all,
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
    unwrap,
    uses,
    work,
)
from onward.backend import AsyncBackend, Transacts
from onward.middleware import Refused, with_middleware


@dataclass(frozen=True)
class Malformed:
    line: int


@dataclass(frozen=True)
class Missing:
    url: str


@task
def start() -> str:
    return "https://example.org/a.csv"


@task
def fetch(url: str, *, encoding: str = "utf-8") -> bytes:
    return url.encode(encoding)


@task
async def find(url: str) -> Result[bytes, Missing]:
    return Failure(Missing(url))


@task
def parse(raw: bytes, sep: str, strict: bool = True) -> Result[list[int], Malformed]:
    return Failure(Malformed(len(raw)))


@task
async def double(n: int) -> int:
    return 2 * n


@task
def store(rows: list[int], table: str = "rows") -> int:
    return len(rows)


@task
def upper(word: str) -> str:
    return word.upper()


@task
def total(numbers: list[float]) -> float:
    return sum(numbers)


@task
def named_only(*, n: int) -> int:
    return n


@task
def add(n: int, /, other: int, *, scale: int) -> int:
    return scale * (n + other)


@task
def count(*words: str) -> int:
    return len(words)


@task
def tag(word: str, **tags: int) -> int:
    return len(word) + len(tags)


@task
def no_rows(error: Malformed | Fault) -> list[int]:
    return []


@task
def no_rows_for_a_fault(error: Fault) -> list[int]:
    return []


@task
def no_rows_for_a_malformed(error: Malformed) -> list[int]:
    return []


@task
def message(error: Malformed | Fault) -> str:
    return str(error)


def parse_by_semicolon(raw: bytes) -> Call[list[int], Malformed]:
    return parse(raw, ";")


read = fetch >> given(parse, ",")


# -- chains ---------------------------------------------------------------------------------------


def a_chain_that_does_not_fit() -> None:
    _ = fetch >> store  # E
    _ = fetch >> start  # E
    _ = fetch >> given(store, table="rows")  # E
    _ = fetch >> (identity >> store)  # E
    _ = read >> double  # E
    _ = read >> total  # E
    _ = read >> each(upper)  # E
    _ = read >> each(each(double))  # E


def a_step_that_needs_more_than_one_value() -> None:
    _ = fetch >> parse  # E
    _ = identity >> parse  # E
    _ = double >> named_only  # E
    _ = each(parse)  # E
    _ = together(fetch, parse)  # E


@task
def login(user: str, password: Secret[str]) -> Secret[bytes]:
    return Secret(f"{user}:{password.get_secret_value()}".encode())


def a_secret_that_is_none_or_holds_something_else() -> None:
    _ = login("ann", "hunter2")  # E
    _ = login("ann", Secret(5))  # E
    _ = given(login, "hunter2")  # E
    _ = given(login, Secret("hunter2")) >> upper  # E


def a_chain_of_what_is_no_flow() -> None:
    _ = fetch >> len  # E
    _ = fetch >> parse_by_semicolon  # E
    _ = fused(parse_by_semicolon)  # E: nobody
    _ = fetch >> store.fn  # E
    _ = fetch.fn >> store  # E
    _ = fetch("u") >> store  # E
    _ = fetch >> parse(b"", ",")  # E
    _ = double >> (double, double)  # E
    _ = fused(store.fn)  # E
    _ = given(store.fn, table="rows")  # E
    _ = Catalog(store.fn)  # E


def a_chain_that_keeps_its_value_under_another_name_or_policy() -> None:
    _ = read.named("read") >> double  # E
    _ = read.with_(timeout=1) >> double  # E
    _ = fused(read) >> double  # E
    _ = fetch >> identity >> store  # E
    _ = fetch >> fused(identity) >> store  # E
    _ = fetch >> identity.named("same") >> store  # E: nobody


def the_wrong_arguments_for_a_flow() -> None:
    _ = fetch(7)  # E
    _ = read()  # E
    _ = read("u", "v")  # E
    _ = read("u", encodign="ascii")  # E
    _ = store(parse(b"", ","))  # E
    _ = identity(1, 2)  # E
    _ = (identity >> store)(b"")  # E


# -- sleep and signals --------------------------------------------------------------------------


decision = Signal("decision", Malformed)


def site(url: str, *, encoding: str = "utf-8") -> str:
    return url


def of_a_number(n: int) -> int:
    return n


def a_key_that_does_not_take_what_its_task_takes() -> None:
    _ = limited(fetch, Limit(concurrency=3), key=of_a_number)  # E
    _ = limited(start, Limit(concurrency=3), key=site)  # E
    _ = limited(upper, Limit(concurrency=3), key=lambda word: word.nosuch)  # E
    _ = limited(upper, Limit(concurrency=3), key=lambda word: [word])  # E
    _ = limited((upper >> upper).named("up"), Limit(concurrency=3), key=of_a_number)  # E
    _ = Limit(concurrency="3")  # E
    _ = Limit(rate=1, per="fortnight")  # E
    _ = upper.with_(limit=5)  # E


def a_wait_that_gives_another_type() -> None:
    _ = fetch >> sleep(1) >> store  # E
    _ = fetch >> awaits(decision) >> double  # E
    _ = fetch >> keep(awaits(decision)) >> store  # E
    _ = sleep("soon")  # E
    _ = awaits("decision")  # E
    _ = awaits(decision, timeout="soon")  # E
    _ = (sleep(1) >> double)("u")  # E


def a_timeout_that_nobody_handles() -> None:
    _ = awaits(decision, timeout=1).rescue(forgetful)  # E


@task
def forgetful(error: Fault) -> Malformed:
    return Malformed(0)


def a_signal_of_another_type() -> None:
    ref = (fetch >> awaits(decision)).ref("x")
    _ = send(ref, decision, "yes", on=local())  # E
    _ = send(ref, "decision", Malformed(0), on=local())  # E
    _ = send("x", decision, Malformed(0), on=local())  # E


# -- given ----------------------------------------------------------------------------------------


def given_with_a_wrong_keyword() -> None:
    _ = read >> given(store, tabel="rows")  # E
    _ = given(parse, separator=",")  # E
    _ = given(fetch, timeout=3)  # E


def given_with_a_wrong_value() -> None:
    _ = given(parse, 1)  # E
    _ = given(parse, sep=b",")  # E
    _ = given(add, other="1", scale=1)  # E


def given_with_too_few_or_too_many_arguments() -> None:
    _ = given(parse)  # E
    _ = given(parse, ",", True, False)  # E
    _ = given(add, 1)  # E
    _ = given(add, 1, 2)  # E
    _ = given(start)  # E
    _ = given(given(parse, ","), ",")  # E


def given_with_the_argument_that_the_chain_brings() -> None:
    _ = given(store, rows=[1])  # E
    _ = given(parse, raw=b"", sep=",")  # E


# -- each and together ----------------------------------------------------------------------------


def each_of_what_is_no_list() -> None:
    _ = each(double)(3)  # E
    _ = each(double)(["1"])  # E
    _ = fetch >> each(double)  # E
    _ = upper >> each(upper)  # E
    _ = each(upper)("words")  # E


def each_with_an_option_that_it_has_not() -> None:
    _ = each(double, limit="8")  # E
    _ = each(double, size=8)  # E


def together_of_steps_that_take_different_things() -> None:
    _ = fetch >> together(given(parse, ","), double)  # E: not pyrefly
    _ = together(fetch, double)  # E: pyright
    _ = together(fetch, double)("u")  # E: not pyrefly


def together_of_too_few_or_too_many() -> None:
    _ = together()  # E
    _ = together([double, double])  # E
    _ = together(double, double, double, double, double, double, double, double, double)  # E


def another_word_for_what_happens_at_a_failure() -> None:
    _ = together(double, double, on_failure="stop")  # E
    _ = each(double, on_failure="stop")  # E


def a_pair_where_a_value_should_be() -> None:
    _ = fetch >> together(identity, given(parse, ",")) >> store  # E


# -- errors: they grow along a chain, and only a rescue takes them out ----------------------------


def a_chain_with_more_errors_than_it_says() -> None:
    a: Flow[..., list[int]] = read  # E
    b: Flow[..., list[int], Missing] = read  # E
    c: Flow[..., list[int], Malformed] = find >> given(parse, ",")  # E
    d: Flow[..., list[bytes]] = each(find)  # E
    e: Flow[..., tuple[bytes, bytes]] = together(find, fetch)  # E
    f: Flow[..., list[int]] = fused(read).named("read").with_(timeout=1)  # E
    g: Step[str, bytes] = find  # E
    _ = a, b, c, d, e, f, g


def a_rescue_that_does_not_take_every_error() -> None:
    _ = read.rescue(no_rows_for_a_fault)  # E
    _ = read.rescue(no_rows_for_a_malformed)  # E
    _ = (find >> given(parse, ",")).rescue(no_rows)  # E


def a_rescue_that_gives_another_kind_of_value() -> None:
    _ = read.rescue(message)  # E
    _ = fetch.rescue(no_rows)  # E
    _ = read.rescue(identity)  # E: not ty
    _ = read.rescue(no_rows) >> double  # E


def a_rescue_by_what_takes_no_error() -> None:
    _ = read.rescue(fetch)  # E
    _ = read.rescue(start)  # E
    _ = read.rescue(no_rows.fn)  # E


# -- interpreters ---------------------------------------------------------------------------------


def run_of_what_is_no_call(on: Backend) -> None:
    _ = run(double, on=on)  # E
    _ = run(double(1))  # E
    _ = submit_all(double(1), on=on)  # E
    _ = submit_all([double], on=on)  # E


def run_on_what_is_no_backend(on: AsyncBackend) -> None:
    _ = run(double(1), on="celery+redis://localhost")  # E
    _ = run(double(1), on=local)  # E
    _ = run(double(1), on=on)  # E
    _ = work([double], on=local())  # E


def run_taken_for_a_plain_value(on: Backend) -> None:
    _ = run(double(1), on=on) + 1  # E
    a: str = run(double(1), on=on).unwrap()  # E
    b: Result[str, Fault] = run(double(1), on=on)  # E
    c: Result[list[int], Fault] = run(read("u"), on=on)  # E
    d: Malformed = run(read("u"), on=on).failure()  # E
    _ = a, b, c, d


def an_answer_of_which_a_case_is_forgotten(on: Backend) -> str:  # E
    match answer(run(double(1), on=on)):  # E: pyright
        case Success(n):
            return str(n)


def an_answer_of_which_an_error_is_forgotten(on: Backend) -> str:  # E
    match answer(run(find("u"), on=on)):  # E: pyright
        case Success(raw):
            return raw.decode()
        case Failure(Missing(url)):
            return url


def an_error_that_is_forgotten(on: Backend) -> str:  # E
    match answer(run(find("u"), on=on)):
        case Success(raw):
            return raw.decode()
        case Failure(error):
            match error:  # E: pyright
                case Missing(url):
                    return url


def an_answer_taken_for_something_else(on: Backend) -> None:
    match answer(run(double(1), on=on)):
        case Success(n):
            _ = n.upper()  # E
        case Failure(fault):
            _ = fault.line  # E
    _ = answer(double(1))  # E


def a_value_unwrapped_as_something_else(on: Backend) -> None:
    a: str = unwrap(run(double(1), on=on))  # E
    _ = unwrap(double(1))  # E
    _ = a


def a_result_taken_for_a_backend() -> None:
    _ = run(double(1), on=connect("local://"))  # E: not pyrefly


def a_keep_or_tee_of_something_else() -> None:
    print(double >> keep(fetch))  # E
    print(double >> tee(fetch))  # E
    _ = double >> keep(double) >> double  # E
    _ = keep(double.fn)  # E
    _ = tee(double(1))  # E


@task
def note_failure(failed: tuple[str, Fault]) -> bytes:
    return b""


@task
def refund(failed: tuple[int, Fault]) -> int:
    return 0


def a_handler_that_does_not_take_the_input_or_an_error() -> None:
    _ = find.rescue(note_failure, with_input=True)  # E
    _ = double.rescue(note_failure, with_input=True)  # E: not pyrefly, ty
    _ = double.rescue(refund)  # E
    _ = double.rescue(refund, with_input=False)  # E
    _ = fetch.rescue(refund, with_input=True)  # E: not pyrefly, ty


def a_cleanup_that_does_not_take_what_the_flow_takes() -> None:
    _ = find.finally_(double)  # E: not pyrefly, ty
    _ = find.finally_(find.fn)  # E
    _ = find.finally_(parse)  # E
    _ = parse.finally_(find)  # E
    _ = find.finally_(fetch) >> double  # E


def a_spread_of_something_else() -> None:
    print(keep(upper) >> spread(parse))  # E
    print(double >> spread(parse))  # E
    _ = keep(total) >> spread(parse)  # E
    _ = spread(double)  # E
    _ = spread(parse.fn)  # E
    _ = spread(parse)(b"", ",")  # E


def a_case_that_does_not_fit() -> None:
    _ = method >> case(Card, by_card)  # E
    _ = method >> case(Card, by_card).case(Iban, by_iban)  # E
    _ = method >> case(Card, by_either).case(None, by_nothing)  # E
    _ = method >> case(Card, by_card).case(Iban, by_iban).case(None, by_nothing) >> double  # E
    print(case(Card, by_iban))  # E
    print(case(Card, by_card).case(Iban, by_card))  # E
    print(case(None, by_card))  # E
    _ = case(Card("1"), by_card)  # E
    _ = case(Card, by_card.fn)  # E
    _ = case(Card, by_card)(Iban("1"))  # E
    _ = double >> case(str, upper)  # E
    _ = each(case(Card, by_card))([Iban("1")])  # E
    _ = find.rescue(case(Fault, no_bytes_for_a_fault))  # E


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
def by_iban(iban: Iban) -> int:
    return 1


@task
def by_either(payment: Card | Iban) -> str:
    return payment.number


@task
def by_nothing(_: None) -> bytes:
    return b""


@task
def no_bytes_for_a_fault(error: Fault) -> bytes:
    return b""


def a_fixed_that_lacks_its_arguments() -> None:
    _ = fixed(parse, b"")  # E
    _ = fixed(store, ["a"])  # E
    _ = fixed(store, [1], tabel="rows")  # E
    _ = fixed(store.fn, [1])  # E
    _ = double >> fixed(start) >> double  # E


def a_step_taken_for_another_flow(step: Step[int, int]) -> None:
    _ = flow(step)("1")  # E
    _ = flow(step) >> store  # E
    _ = flow(store)("u")  # E


def a_match_on_an_error_with_fewer_fields(on: Backend) -> None:
    match run(read("u"), on=on):
        case Failure(Malformed(_, _)):  # E
            pass
        case Failure(Raised(_, _, _, _, _, _, _)):  # E
            pass
        case _:
            pass


def a_ref_that_is_none(on: Backend) -> None:
    _ = result("id", on=on)  # E
    _ = result(submit(double(1), on=on), on=on)  # E
    _ = results(double.ref("id"), on=on)  # E
    _ = status(double(1), on=on)  # E
    _ = double.ref(double.ref("id"))  # E


def a_ref_of_another_flow(on: Backend) -> None:
    a: Ref[str] = submit(double(1), on=on).unwrap()  # E
    b: Ref[list[int]] = read.ref("id")  # E
    _ = a, b


def cancel_on_a_backend_that_cannot(on: Backend) -> None:
    _ = cancel(double.ref("id"), on=on)  # E


def repair_on_a_backend_that_cannot(on: Backend) -> None:
    _ = history(double.ref("id"), on=on)  # E
    _ = resume(double.ref("id"), on=on)  # E
    _ = fork(double.ref("id"), "1", on=on)  # E
    _ = replay(double.ref("id"), on=on)  # E


def wrong_repairs(on: Histories) -> None:
    a: Result[History[str], Fault] = history(double.ref("id"), on=on)  # E
    b: Result[Ref[str], Fault] = resume(double.ref("id"), on=on)  # E
    _ = resume(double.ref("id"), on=on, args=1)  # E
    _ = resume(double(1), on=on)  # E
    _ = fork(double.ref("id"), on=on)  # E
    _ = fork(double.ref("id"), 1, on=on)  # E
    _ = replay(double.ref("id"), on=on).unwrap().step  # E
    _ = a, b


async def the_same_without_blocking(on: Backend) -> None:
    _ = await aio.cancel(double.ref("id"), on=on)  # E
    _ = aio.run(double(1), on=on).unwrap()  # E
    _ = await run(double(1), on=on)  # E: not pyrefly
    _ = await double(1)  # E
    for _ in aio.results([double.ref("id")], on=on):  # E
        pass
    a: str = (await aio.run(double(1), on=on)).unwrap()  # E
    b: Result[list[int], Fault] = await aio.run(read("u"), on=on)  # E
    _ = a, b


def a_state_that_there_is_not(on: Backend) -> None:
    _ = status(double.ref("id"), on=on).unwrap().state == "finished"  # E: mypy, pyright


class Half:
    """No backend, for it can do nothing but cancel."""

    def cancel(self, id: str, /) -> Result[None, Fault]:
        return Success(None)


def a_backend_that_is_not_whole() -> None:
    _ = run(double(1), on=Half())  # E
    _ = cancel(double.ref("id"), on=Half())  # E


def a_backend_of_which_it_is_not_known_what_it_can_do() -> None:
    backend = connect("local://").unwrap()
    _ = cancel(double.ref("id"), on=backend)  # E
    _ = schedule(double(1), on=backend, name="n", every=60)  # E


def a_wait_for_what_is_not_committed_yet(on: Transacts, db: object) -> None:
    _ = run(double(1), on=on.within(db))  # E
    _ = aio.run(double(1), on=on.within(db))  # E
    _ = result(double.ref("id"), on=on.within(db))  # E
    _ = status(double.ref("id"), on=on.within(db))  # E
    _ = submit(double, on=on.within(db))  # E


def a_key_that_cannot_be(on: Backend) -> None:
    _ = submit(double(1), on=on, unique=7)  # E
    _ = submit(double(1), on=on, unique="k", debounce="5")  # E
    _ = submit_all([double(1)], on=on, unique="k")  # E
    _ = run(double(1), on=on, debounce=5)  # E
    _ = submit(double(1), on=on, tags=[7])  # E


def calls_that_cannot_be_listed(on: Lists, without: Cancels) -> None:
    _ = calls(on=without)  # E
    _ = calls(on=on, state="broken")  # E: not pyrefly
    _ = calls(on=on, flow=5)  # E
    _ = calls(on=on, since="1h")  # E
    _ = calls(on=on, limit="5")  # E
    _ = cancel_all(calls(on=on), on=on)  # E
    _ = resume_all(calls(on=on), on=without)  # E
    _ = cancel_all([double(1)], on=without)  # E
    _ = forget(double.ref("id"), on=without)  # E


def a_schedule_that_cannot_be(on: Schedules, without: Cancels) -> None:
    _ = schedule(double(1), on=without, name="n", every=60)  # E
    _ = aio.schedule(double(1), on=without, name="n", every=60)  # E
    _ = schedules(on=without)  # E
    _ = schedule(double, on=on, name="n", every=60)  # E
    _ = schedule(double(1), on=on, every=60)  # E
    _ = schedule(double(1), on=on, name="n", every="60")  # E
    _ = schedule(double(1), on=on, name="n", cron=5)  # E
    _ = schedule(double(1), on=on, name="n", every=60, key="k")  # E
    _ = schedule(double(1), on=on, name="n", every=60, unique="k")  # E
    _ = schedule(double(1), on=on, name="n", every=60, overlap="drop")  # E
    _ = schedule(double(1), on=on, name="n", every=60, catch_up="1h")  # E
    _ = schedule(double(1), on=on, name="n", every=60, tags=7)  # E
    _ = pause_schedule(double.ref("id"), on=on)  # E


# -- policies and values --------------------------------------------------------------------------


def a_policy_that_makes_no_sense() -> None:
    _ = task(retries=3)  # E
    _ = task(timeout="3 s")  # E
    _ = double.with_(retry=3)  # E
    _ = double.with_(timeout=None, attempts=3)  # E
    _ = fused(double, queue=3)  # E
    _ = Retry(attempts="3")  # E
    _ = Retry(backoff=3.0)  # E
    _ = Retry(on=OSError)  # E


def a_value_that_is_frozen() -> None:
    double.named = read.named  # E
    double.retry = Retry(3)  # E
    double(1).args = double(2).args  # E
    double.ref("id").id = "other"  # E
    Raised("double", "OSError", "it is gone").attempts = 2  # E
    double.policy = store.policy  # E


def what_a_task_function_gives() -> None:
    a: str = store.fn([1])  # E
    b: int = double.fn(1)  # E
    c: list[int] = parse.fn(b"", ",")  # E
    _ = store.fn(1)  # E
    _ = a, b, c


def an_option_that_there_is_not() -> None:
    _ = explain(double, form="svg")  # E
    _ = run(double(1), on=local(), timout=1)  # E
    _ = run(double(1), on=local(), delay="1")  # E
    _ = submit(double(1), on=local(), timeout=1)  # E


# -- resources ------------------------------------------------------------------------------------


class Db:
    pass


@contextmanager
def open_db() -> Generator[Db]:
    yield Db()


@contextmanager
def open_view(db: Db) -> Generator[int]:
    yield 1


db = Resource(open_db)
view = Resource(open_view, needs=(db,))


@uses(db)
def insert(db: Db, rows: list[int], table: str) -> int:
    return len(rows)


def a_resource_that_is_passed() -> None:
    _ = insert(Db(), [1])  # E
    _ = insert([1])  # E
    _ = insert.fn([1], "x")  # E


def a_value_that_the_task_behind_its_resource_cannot_take() -> None:
    _ = double >> given(insert, table="x")  # E


def a_function_without_a_parameter_for_its_resource() -> None:
    @uses(db)  # E
    def wrong(db: int, n: int) -> int:
        return n

    @uses(db)  # E
    def none() -> int:
        return 1

    _ = wrong, none


def what_is_no_middleware(backend: Backend) -> None:
    def undecorated(context: Context) -> Generator[None]:
        yield

    _ = with_middleware(backend, undecorated)  # E
    _ = with_middleware(backend, open_db)  # E
    _ = with_middleware(backend, lambda _: nullcontext("acme"))  # E
    raise Refused(7)  # E


def resources_in_the_wrong_order() -> None:
    @uses(db)  # E: mypy
    @uses(view)  # E
    def swapped(db: Db, view: int, n: int) -> int:
        return n

    _ = swapped


def a_resource_without_what_it_needs() -> None:
    _ = Resource(open_view)  # E
    _ = Resource(open_view, needs=(view,))  # E
    _ = Resource(open_db, scope="thread")  # E
    _ = uses(open_db)  # E


# -- right, and refused all the same: limits of the checkers --------------------------------------


def a_parameter_without_its_name() -> None:
    # These take P for invariant. As Step[int, int], Callable or Flow[..., int] all accept it.
    a: Flow[[int], int] = double  # E: pyrefly, ty
    b: Task[[int], int] = double  # E: pyrefly, ty
    c: Flow[[bool], int] = double  # E: not mypy
    _ = a, b, c


def given_for_all_that_is_left_over() -> None:
    _ = given(count, "a", "b")  # E: pyrefly
    _ = given(tag, n=1)  # E: mypy


def identity_alone() -> None:
    _ = double >> fused(identity) >> double  # E: pyrefly
    _ = read >> each(identity) >> store  # E: ty
    _ = double >> together(identity, identity)  # E: pyrefly, ty
    _ = identity >> identity >> double  # E: ty


def a_match_of_all_that_a_result_can_be(on: Backend) -> None:
    # Result is open to further subclasses, so it takes a `case _` as well, or `answer`.
    match run(double(1), on=on):  # E: pyright
        case Success(n):
            assert n == 2
        case Failure(fault):
            assert fault.message


def a_step_given_to_a_function(step: Step[int, int]) -> Call[int]:
    return (double >> step)(1)
