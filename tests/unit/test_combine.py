"""given, together, each, fused, identity and rescue: what goes in, and what comes out."""

import asyncio
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from types import SimpleNamespace
from typing import Any, Literal, NamedTuple, cast

import pytest
from returns.result import Failure, Result, Success

from onward import (
    BadPayload,
    Constant,
    Fault,
    Flow,
    Raised,
    Retry,
    TimedOut,
    current,
    each,
    explain,
    fixed,
    fused,
    given,
    identity,
    keep,
    local,
    run,
    spread,
    task,
    tee,
    together,
)
from onward.backends.local import Local
from onward.flows.flow import AnyFlow


@dataclass(frozen=True)
class Row:
    day: date


@dataclass(frozen=True)
class Circle:
    radius: float


@dataclass(frozen=True)
class Square:
    side: float


@dataclass(frozen=True)
class Odd:
    number: int


@dataclass(frozen=True)
class Negative:
    number: int


@task
def inc(n: int) -> int:
    return n + 1


@task
def row(day: str) -> Row:
    return Row(date.fromisoformat(day))


@task
def year(of: Row) -> int:
    return of.day.year


@task
def scale(n: int, by: int, *, offset: int = 0) -> int:
    return n * by + offset


@task
def halve(n: int) -> Result[int, Odd]:
    return Failure(Odd(n)) if n % 2 else Success(n // 2)


@task
def root(n: int) -> Result[int, Negative]:
    return Failure(Negative(n)) if n < 0 else Success(int(n**0.5))


@task
def explode(n: int) -> int:
    raise ValueError(f"no {n}")


@task
def pass_on(error: Odd | Fault) -> Result[int, Odd | Fault]:
    return Failure(error)


@task
def only_faults(error: Odd | Fault) -> Result[int, Fault]:
    return Failure(error) if isinstance(error, Fault) else Success(error.number)


@pytest.fixture(scope="module")
def backend() -> Iterator[Local]:
    backend = local()
    yield backend
    backend.close()


# -- given ------------------------------------------------------------------------------------


def test_given_takes_further_arguments_by_position_and_by_name(backend: Local) -> None:
    assert run(given(scale, 2)(3), on=backend) == Success(6)
    assert run(given(scale, 2, offset=1)(3), on=backend) == Success(7)
    assert run(given(scale, offset=1, by=2)(3), on=backend) == Success(7)


def test_given_refuses_what_the_step_does_not_take() -> None:
    wrong: Any = given
    with pytest.raises(TypeError, match=r"given\(scale, \.\.\.\): .*'by'"):
        wrong(scale)
    with pytest.raises(TypeError, match="too many"):
        wrong(scale, 1, 2)
    with pytest.raises(TypeError, match="multiple values for argument 'n'"):
        wrong(scale, 1, n=2)
    with pytest.raises(TypeError, match="'far'"):
        wrong(scale, 1, far=2)


def test_given_refuses_a_value_of_another_type_and_says_where() -> None:
    with pytest.raises(ValueError, match=r"given\(scale, \.\.\.\): Expected `int`.* at \$\.by"):
        given(scale, cast(int, "two"))


def test_a_step_that_takes_more_than_one_value_is_refused_with_what_to_write() -> None:
    wrong: Any = scale
    for compose in (lambda: inc >> wrong, lambda: each(wrong), lambda: together(inc, wrong)):
        with pytest.raises(TypeError, match=r"given\(scale, \.\.\.\)"):
            compose()


# -- together ---------------------------------------------------------------------------------


def test_together_gives_each_value_as_its_own_type(backend: Local) -> None:
    flow = row >> together(identity, year)
    assert run(flow("2024-05-06"), on=backend) == Success((Row(date(2024, 5, 6)), 2024))


def test_a_policy_that_makes_no_sense_is_refused_of_a_flow_without_tasks_too() -> None:
    for wrong in ({"queue": 123}, {"priority": "x"}, {"timeout": "1"}, {"retry": 3}):
        with pytest.raises(TypeError):
            identity.with_(**wrong)
    with pytest.raises(ValueError, match="timeout is more than 0"):
        together(identity, identity).with_(timeout=0)
    assert identity.with_(queue="q") == identity


def test_together_takes_from_one_to_eight(backend: Local) -> None:
    wrong: Any = together
    assert run(together(inc)(1), on=backend) == Success((2,))
    assert run(wrong(*[inc] * 8)(1), on=backend) == Success((2,) * 8)
    for count in (0, 9):
        with pytest.raises(TypeError, match=f"from one to eight steps, not {count}"):
            wrong(*[inc] * count)


def test_the_leftmost_failure_of_together_is_its_outcome(backend: Local) -> None:
    assert run(together(halve, root)(-3), on=backend) == Failure(Odd(-3))
    assert run(together(root, halve)(-3), on=backend) == Failure(Negative(-3))


def test_branches_run_side_by_side(backend: Local) -> None:
    meeting = threading.Barrier(2, timeout=30)

    @task
    def meet(n: int) -> int:
        meeting.wait()
        return n

    assert run(together(meet, meet)(1), on=backend) == Success((1, 1))


# -- each -------------------------------------------------------------------------------------


@pytest.mark.parametrize("items", [[1, 2], (1, 2), range(1, 3)], ids=repr)
def test_each_takes_any_sequence(backend: Local, items: Sequence[int]) -> None:
    assert run(each(inc)(items), on=backend) == Success([2, 3])


@pytest.mark.parametrize(
    "wrong",
    ["12", b"12", {1, 2}, {1: 2}, 12, None, reversed([1])],
    ids=lambda wrong: repr(wrong).partition(" object")[0],
)
def test_each_refuses_what_is_no_sequence(backend: Local, wrong: Any) -> None:
    fault = run(each(inc)(wrong), on=backend).failure()
    assert isinstance(fault, BadPayload)
    assert fault.message.startswith("Expected a list, got ")


def test_each_says_which_item_is_wrong(backend: Local) -> None:
    wrong: Any = [[1, 2], [3, "four"]]
    fault = run(each(each(inc))(wrong), on=backend).failure()
    assert isinstance(fault, BadPayload)
    assert fault.path == "$[1][1]"


def test_each_keeps_to_its_limit(backend: Local) -> None:
    at_once, most = 0, 0

    @task
    async def count(n: int) -> int:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        await asyncio.sleep(0)
        at_once -= 1
        return n

    numbers = list(range(50))
    assert run(each(count, limit=3)(numbers), on=backend) == Success(numbers)
    assert most == 3


@pytest.mark.parametrize("chunk", [1, 2, 3, 4, 100])
def test_chunks_change_nothing_but_the_deliveries(backend: Local, chunk: int) -> None:
    assert run(each(inc, chunk=chunk)([1, 2, 3, 4]), on=backend) == Success([2, 3, 4, 5])
    assert run(each(inc, chunk=chunk)([]), on=backend) == Success([])
    assert run(each(halve, chunk=chunk)([2, 3, 5]), on=backend) == Failure(Odd(3))


def test_a_limit_or_chunk_that_makes_no_sense_is_refused() -> None:
    wrong: Any = "3"
    for count, kind in ((0, ValueError), (-1, ValueError), (wrong, TypeError), (True, TypeError)):
        with pytest.raises(kind, match="limit is"):
            each(inc, limit=count)
        with pytest.raises(kind, match="chunk is"):
            each(inc, chunk=count)


def test_each_of_a_step_that_passes_on_its_items_keeps_their_type(backend: Local) -> None:
    @task
    def rows(count: int) -> list[Row]:
        return [Row(date(2024, 1, day + 1)) for day in range(count)]

    kept = [(Row(date(2024, 1, 1)), 2024), (Row(date(2024, 1, 2)), 2024)]
    assert run((rows >> each(together(identity, year)))(2), on=backend) == Success(kept)


def test_the_items_of_a_tuple_are_passed_on_as_what_they_are(backend: Local) -> None:
    @task
    def pair(n: int) -> tuple[int, int]:
        return n, n + 1

    flow = pair >> each(together(identity, inc))
    assert run(flow(1), on=backend) == Success([(1, 2), (2, 3)])


def test_a_large_list_is_taken_as_a_whole(backend: Local) -> None:
    numbers = list(range(5_000))
    assert run(each(inc, chunk=1_000)(numbers), on=backend) == Success([n + 1 for n in numbers])


# -- keep and tee -----------------------------------------------------------------------------


def test_keep_gives_both_values_as_their_own_types(backend: Local) -> None:
    flow = row >> keep(year)
    assert run(flow("2024-05-06"), on=backend) == Success((Row(date(2024, 5, 6)), 2024))
    assert run((inc >> keep(keep(inc)))(1), on=backend) == Success((2, (2, 3)))
    days = ["2024-05-06", "2023-05-06"]
    kept = [("2024-05-06", 2024), ("2023-05-06", 2023)]
    assert run(each(keep(row >> year))(days), on=backend) == Success(kept)


def test_tee_gives_on_what_it_takes_as_its_own_type(backend: Local) -> None:
    assert run((row >> tee(year) >> year)("2024-05-06"), on=backend) == Success(2024)
    assert run((row >> tee(year))("2024-05-06"), on=backend) == Success(Row(date(2024, 5, 6)))


def test_what_keep_and_tee_run_may_fail(backend: Local) -> None:
    assert run(keep(halve)(3), on=backend) == Failure(Odd(3))
    assert run((tee(halve) >> inc)(3), on=backend) == Failure(Odd(3))
    assert run(tee(halve).rescue(mend)(3), on=backend) == Success(3)


def test_keep_and_tee_are_explained_and_drawn() -> None:
    flow = keep(inc >> inc) >> each(tee(halve))
    assert explain(flow) == (
        "chain\n├── keep\n│   └── chain\n│       ├── inc\n│       └── inc\n"
        "└── each\n    └── tee\n        └── halve"
    )
    assert 'subgraph g1["keep"]' in explain(flow, form="mermaid")


# -- rescue with its input ------------------------------------------------------------------


@task
def told(failed: tuple[Row, Odd | Fault]) -> str:
    return f"{failed[0].day.year} {type(failed[1]).__name__}"


@task
def told_apart(of: Row, error: Odd | Fault) -> str:
    return told.fn((of, error))


@task
def odd_year(of: Row) -> Result[str, Odd]:
    return Failure(Odd(of.day.year))


@task
def broken(of: Row) -> str:
    raise ValueError("no")


@task
def told_faults(failed: tuple[Row, Fault]) -> str:
    return ""


@task
def told_odd(failed: tuple[Row, Odd]) -> str:
    return ""


@task
def told_number(failed: tuple[int, Odd | Fault]) -> str:
    return ""


def test_a_handler_takes_the_input_as_its_own_type(backend: Local) -> None:
    for handler in (told, spread(told_apart)):
        flow = row >> odd_year.rescue(handler, with_input=True)
        assert run(flow("2023-05-06"), on=backend) == Success("2023 Odd")
        flow = row >> broken.rescue(handler, with_input=True)
        assert run(flow("2023-05-06"), on=backend) == Success("2023 Raised")
    dates = ["2023-05-06", "2024-05-06"]
    several = each(row >> odd_year.rescue(told, with_input=True))
    assert run(several(dates), on=backend) == Success(["2023 Odd", "2024 Odd"])
    nested = odd_year.rescue(told, with_input=True).rescue(fixed(nothing))
    assert run((row >> nested)("2023-05-06"), on=backend) == Success("2023 Odd")


@pytest.mark.parametrize(
    ("compose", "said"),
    [
        (lambda of: of.rescue(told_faults, with_input=True), "does not take Odd"),
        (lambda of: of.rescue(told_odd, with_input=True), "as `Fault`, or `MyError | Fault`"),
        (lambda of: of.rescue(told_number, with_input=True), "odd_year takes Row, so its handler"),
        (lambda of: of.rescue(told), "does not take every Fault"),
        (lambda of: of.rescue(pass_on, with_input=True), "does not take every Fault"),
    ],
)
def test_a_handler_that_cannot_take_the_input_is_refused(
    compose: Callable[[Any], object], said: str
) -> None:
    with pytest.raises(TypeError, match=re.escape(said)):
        compose(odd_year)


def test_a_flow_of_several_arguments_has_no_one_input() -> None:
    flow: Any = scale
    with pytest.raises(TypeError, match="given"):
        flow.rescue(told_number, with_input=True)


# -- spread and fixed -------------------------------------------------------------------------


@task
def dated(of: Row, days: int, note: str = "") -> str:
    return f"{of.day.year + days}{note}"


@task
def summed(*numbers: int) -> int:
    return sum(numbers)


@task
def stated(n: int, *, by: int) -> int:
    return n * by


@task
def nothing() -> str:
    return "nothing"


class Pair(NamedTuple):
    of: Row
    days: int


def test_spread_takes_each_item_as_its_own_type(backend: Local) -> None:
    assert run((row >> keep(year) >> spread(dated))("2024-05-06"), on=backend) == Success("4048")
    days = [(Row(date(2024, 5, 6)), 1), (Row(date(2023, 5, 6)), 2)]
    assert run(each(spread(dated))(days), on=backend) == Success(["2025", "2025"])


def test_spread_gives_what_a_function_has_places_for(backend: Local) -> None:
    @task
    def pair(day: str) -> Pair:
        return Pair(Row(date.fromisoformat(day)), 1)

    @task
    def three(day: str) -> tuple[Row, int, str]:
        return Row(date.fromisoformat(day)), 1, "!"

    assert run((pair >> spread(dated))("2024-05-06"), on=backend) == Success("2025")
    assert run((cast(AnyFlow, three) >> spread(dated))("2024-05-06"), on=backend) == Success(
        "2025!"
    )
    numbers = together(inc, inc, inc)
    assert run((cast(AnyFlow, numbers) >> spread(summed))(1), on=backend) == Success(6)


@pytest.mark.parametrize(
    ("compose", "said"),
    [
        (lambda of: of.keep(row) >> spread(dated), "takes tuple[Row, int]"),
        (lambda of: of.inc >> spread(scale), "inc gives int"),
        (lambda of: of.each(inc) >> spread(scale), "each(inc) gives list[int]"),
        (lambda of: of.together(inc, inc, inc) >> spread(dated), "takes tuple[Row, int]"),
        (lambda of: of.spread(inc), "inc takes one value"),
        (lambda of: of.spread(given(scale, 2)), "takes one value"),
        (lambda of: of.spread(stated), "takes one value"),
        (lambda of: of.spread(inc.fn), "put @task on it"),
        (lambda of: of.fixed(scale, 1), "missing a required argument: 'by'"),
        (lambda of: of.fixed(inc.fn, 1), "put @task on it"),
        (lambda of: of.inc >> fixed(nothing) >> inc, "nothing gives str"),
    ],
)
def test_what_cannot_be_spread_or_fixed_is_refused_where_it_stands(
    compose: Callable[[Any], object], said: str
) -> None:
    untyped = SimpleNamespace(
        **{each_.__name__: each_ for each_ in (keep, inc, each, together, spread, fixed)}
    )
    with pytest.raises(TypeError, match=re.escape(said)):
        compose(untyped)


def test_a_tuple_that_is_too_short_or_too_long_is_refused(backend: Local) -> None:
    def wrong(flow: AnyFlow, value: object) -> str:
        fault = run(flow(value), on=backend).failure()
        assert isinstance(fault, BadPayload)
        return fault.message

    assert "'by'" in wrong(spread(scale), (1,))
    assert "too many" in wrong(spread(scale), (1, 2, 3))
    assert "Expected `int`" in wrong(spread(scale), (1, "2"))

    @task
    def any_number(n: int) -> tuple[int, ...]:
        return (1,) * n

    flow = cast(AnyFlow, any_number) >> spread(scale)
    assert run(flow(2), on=backend) == Success(1)
    assert "'by'" in wrong(flow, 1)
    assert "more" in wrong(flow, 3)


def test_fixed_takes_anything_and_runs_with_its_own(backend: Local) -> None:
    assert run((row >> fixed(scale, 3, by=2))("2024-05-06"), on=backend) == Success(6)
    assert run((inc >> fixed(nothing))(1), on=backend) == Success("nothing")
    assert run(each(fixed(inc, 1))(["a", "b"]), on=backend) == Success([2, 2])
    assert run(explode.rescue(fixed(inc, 1))(1), on=backend) == Success(2)
    assert run(fixed(keep(row) >> spread(noted), "2024-05-06")(None), on=backend) == Success("2024")
    assert run(together(fixed(inc, 1), row)("2024-05-06"), on=backend) == Success(
        (2, Row(date(2024, 5, 6)))
    )


@task
def noted(day: str, of: Row) -> str:
    return day[:4]


def test_a_value_that_does_not_fit_is_refused_where_it_is_fixed() -> None:
    with pytest.raises(ValueError, match="Expected `int`"):
        fixed(inc, cast(int, "1"))


def test_spread_and_fixed_are_explained_and_drawn() -> None:
    flow = keep(inc) >> spread(scale) >> fixed(scale, 1, by=2)
    assert explain(flow) == (
        "chain\n├── keep\n│   └── inc\n├── spread\n│   └── scale\n"
        "└── fixed (..., by=...)\n    └── scale"
    )
    assert 'subgraph g3["spread"]' in explain(flow, form="mermaid")


# -- fused ------------------------------------------------------------------------------------


def test_fused_is_tried_again_as_a_whole(backend: Local) -> None:
    ran: list[str] = []

    @task
    def first(n: int) -> int:
        ran.append("first")
        return n

    @task
    def second(n: int) -> int:
        ran.append("second")
        if len(ran) < 6:
            raise OSError("not yet")
        return n

    flow = fused(first >> second, retry=Retry(attempts=3, backoff=Constant(0)))
    assert run(flow(1), on=backend) == Success(1)
    assert ran == ["first", "second"] * 3


def test_fused_ends_with_its_timeout_as_a_whole(backend: Local) -> None:
    @task
    async def wait_for_ever(n: int) -> int:
        return await asyncio.Future()

    fault = run(fused(inc >> wait_for_ever, timeout=0.05)(1), on=backend).failure()
    assert isinstance(fault, TimedOut)
    assert fault.seconds == 0.05


def test_fused_keeps_domain_errors_and_does_not_try_them_again(backend: Local) -> None:
    flow = fused(halve >> inc, retry=Retry(attempts=3, backoff=Constant(0)))
    assert run(flow(3), on=backend) == Failure(Odd(3))


def test_a_fused_flow_takes_all_the_arguments_of_its_first_step(backend: Local) -> None:
    assert run(fused(scale >> inc)(3, by=2, offset=5), on=backend) == Success(12)


# -- identity ---------------------------------------------------------------------------------


def test_identity_gives_what_it_takes(backend: Local) -> None:
    assert run(identity({"a": [1, None, "x"]}), on=backend) == Success({"a": [1, None, "x"]})


def test_identity_refuses_what_it_could_not_give_back(backend: Local) -> None:
    for value in (date(2024, 1, 1), (1, 2), {1: 2}, Row(date(2024, 1, 1)), object()):
        assert isinstance(run(identity(value), on=backend).failure(), BadPayload)


# -- rescue -----------------------------------------------------------------------------------


def test_a_handler_passes_on_what_it_does_not_mend(backend: Local) -> None:
    assert run(halve.rescue(pass_on)(3), on=backend) == Failure(Odd(3))
    fault = run(explode.rescue(pass_on)(3), on=backend).failure()
    assert isinstance(fault, Raised)
    assert (fault.task, fault.message) == ("explode", "no 3")


def test_a_fault_is_a_domain_error_of_a_task_that_says_so(backend: Local) -> None:
    assert run(halve.rescue(only_faults)(3), on=backend) == Success(3)
    fault = run((explode.rescue(only_faults) >> inc)(3), on=backend).failure()
    assert isinstance(fault, Raised)
    assert fault.task == "explode"
    assert run((explode.rescue(only_faults)).rescue(pass_on)(3), on=backend) == Failure(fault)


def test_a_handler_that_forgets_an_error_is_refused_where_it_is_given() -> None:
    wrong: Any = pass_on
    with pytest.raises(TypeError, match="pass_on does not take Negative, which root may fail with"):
        root.rescue(wrong)


def test_a_handler_of_one_kind_of_fault_is_refused_where_it_is_given() -> None:
    @task
    def late(error: TimedOut) -> int:
        return int(error.seconds)

    wrong: Any = late
    with pytest.raises(TypeError, match="does not take every Fault"):
        explode.rescue(wrong)


@task
def mend(error: Odd | Fault) -> int:
    return error.number if isinstance(error, Odd) else -1


HANDLERS: dict[str, Flow[[Odd | Fault], int]] = {
    "task": mend,
    "chain": mend >> inc >> given(scale, 1, offset=-1),
    "named": mend.named("mended"),
    "fused": fused(mend),
    "given": given(mend),
    "rescued": pass_on.rescue(mend),
}


@pytest.mark.parametrize("handler", HANDLERS.values(), ids=HANDLERS)
def test_any_flow_that_takes_errors_and_faults_is_a_handler(
    backend: Local, handler: Flow[[Odd | Fault], int]
) -> None:
    assert run(halve.rescue(handler)(3), on=backend) == Success(3)
    assert run((explode >> halve).rescue(handler)(3), on=backend) == Success(-1)


# -- values between steps ---------------------------------------------------------------------


@task
def circle(radius: float) -> Circle:
    return Circle(radius)


@task
def area(shape: Circle | Square) -> float:
    match shape:
        case Circle(radius):
            return 3 * radius**2
        case Square(side):
            return side**2


@task
def pick(n: int) -> Circle | Square:
    return Circle(n) if n % 2 else Square(n)


def test_a_step_may_take_more_types_than_the_step_before_gives(backend: Local) -> None:
    assert run((circle >> area)(2.0), on=backend) == Success(12.0)
    assert run((pick >> area)(1), on=backend) == Success(3.0)
    assert run((pick >> area)(2), on=backend) == Success(4.0)
    assert run(area(Square(3)), on=backend) == Success(9.0)


def test_a_step_may_take_what_can_be_missing(backend: Local) -> None:
    @task
    def maybe(shape: Circle | None) -> float:
        return shape.radius if shape else 0.0

    assert run((circle >> maybe)(2.0), on=backend) == Success(2.0)


def test_an_exact_value_fits_where_a_wider_one_is_taken(backend: Local) -> None:
    @task
    def choose(n: int) -> Literal["a", "b"]:
        return "a" if n else "b"

    @task
    def shout(text: str) -> str:
        return text.upper()

    @task
    def third(n: float) -> float:
        return n / 3

    assert run((choose >> shout)(0), on=backend) == Success("B")
    assert run((inc >> third)(2), on=backend) == Success(1.0)


def test_places_of_steps_tell_them_apart(backend: Local) -> None:
    @task
    def where(n: int) -> str:
        return current().step

    assert run((inc >> where)(0), on=backend) == Success("1")
    flow = inc >> together(where, each_of_three >> each(where))
    assert run(flow(0), on=backend) == Success(("1[0]", ["1[1].1[0]", "1[1].1[1]", "1[1].1[2]"]))


@task
def each_of_three(n: int) -> list[int]:
    return [n, n, n]
