"""Flows have the outcomes of Celery's canvas, on Celery and in-process.

Celery has `link`, `link_error`, `replace`, groups and chords. Here these are `tee`, `rescue`,
`case`, `together` and `each`, and a signature with all of its arguments is `fixed`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from returns.result import Failure, Result, Success

from onward import (
    Backend,
    Call,
    Catalog,
    Constant,
    Fault,
    Raised,
    Retry,
    case,
    current,
    each,
    fixed,
    given,
    identity,
    keep,
    local,
    result,
    spread,
    submit,
    task,
    tee,
    together,
)
from onward.backends.celery import celery
from onward.flows.flow import AnyFlow
from onward.testing.traces import TRACE, note


@dataclass(frozen=True)
class Far:
    """Work that is to be replaced by more steps."""

    n: int


@dataclass(frozen=True)
class Near:
    n: int


@task
def add(n: int, by: int) -> int:
    return n + by


@task
def same(n: int) -> int:
    return n


@task
def add_to_all(numbers: Sequence[int], by: int) -> list[int]:
    return [n + by for n in numbers]


@task
def total(numbers: Sequence[int]) -> int:
    return sum(numbers)


@task
def echo(text: str) -> str:
    note(text)
    return text


@task
def count(n: int) -> None:
    note(n)


@task
def fail(n: int) -> int:
    raise ValueError(f"no {n}")


@task
def report(error: Fault) -> None:
    note(error.task)


@task(retry=Retry(attempts=3, backoff=Constant(0.0)))
def report_late(error: Fault) -> None:
    if current().attempt < 3:
        raise OSError("not yet")
    note(error.task)


@task
def report_both(failed: tuple[int, Fault]) -> None:
    note(f"{failed[0]} {failed[1].task}")


@task
def again(error: Fault) -> Result[int, Fault]:
    return Failure(error)


@task
def again_with_input(failed: tuple[int, Fault]) -> Result[int, Fault]:
    return Failure(failed[1])


@task
def far(n: int) -> Far | Near:
    return Far(n)


@task
def near(n: int) -> Far | Near:
    return Near(n)


@task
def of_far(work: Far) -> int:
    return work.n


@task
def of_near(work: Near) -> int:
    return work.n


@task
def join(numbers: Sequence[int], more: int) -> list[int]:
    return [*numbers, more]


def linked(flow: AnyFlow) -> AnyFlow:
    """As `link`: a callback runs on success, and the value stays."""
    return flow >> tee(fixed(echo, "linked"))


def watched(flow: AnyFlow) -> AnyFlow:
    """As `link_error`: a callback runs on failure, and the failure stays."""
    return flow.rescue(tee(report) >> again)


def replaced(chosen: AnyFlow, more: AnyFlow) -> AnyFlow:
    """As `self.replace`: what a task says decides whether further steps run in its place."""
    return chosen >> case(Far, of_far >> more).case(Near, of_near)


class Outcome(NamedTuple):
    call: Call[Any, Any]
    value: Any = None
    """What it gives; None if the task `fail` fails it."""

    notes: tuple[str, ...] = ()
    """What the callbacks got, in any order."""


plus = given(add, 1)
always = fixed(same, 42)
fails = fixed(fail, 1)
chord = together(plus, plus) >> total
said: AnyFlow = tee(fixed(echo, "failed"))

OUTCOMES: dict[str, Outcome] = {
    # -- chains
    "a chain": Outcome((add >> given(add, 8) >> given(add, 16))(4, 4), 32),
    "a chain of one": Outcome(add(3, 4), 7),
    "a chain within a chain": Outcome(((add >> plus) >> (plus >> plus))(1, 2), 6),
    "a chain that ends in a group": Outcome(
        (add >> (given(add, 4) >> replaced(far, given(add, 8))) >> together(same, plus))(2, 2),
        (16, 17),
    ),
    "chains within a group get its value": Outcome(
        (add >> together(plus >> given(add, 2), given(add, 3)))(5, 6), (14, 14)
    ),
    "a group in the middle of a chain": Outcome(
        (add >> together(plus, given(add, 2)) >> total >> plus)(1, 1), 8
    ),
    "nothing runs after a failure": Outcome((add >> fail >> tee(count))(1, 2)),
    "a step that ignores what comes": Outcome((add >> fixed(add, 3, 4))(1, 2), 7),
    "a step that brings its own value after a failure does not run": Outcome(
        (add >> fail >> fixed(echo, "never"))(1, 2)
    ),
    # -- link and link_error
    "a callback": Outcome(linked(add)(1, 2), 3, ("echo linked",)),
    "a callback gets the value": Outcome((add >> tee(count))(1, 2), 3, ("count 3",)),
    "a callback of a chain": Outcome(linked(add >> plus)(1, 2), 4, ("echo linked",)),
    "callbacks of each step": Outcome(
        (linked(same) >> linked(always) >> linked(always))(1), 42, ("echo linked",) * 3
    ),
    "no callback after a failure": Outcome(linked(add >> fail)(1, 2)),
    "an error callback": Outcome(watched(fails)("any"), notes=("report fail",)),
    "an error callback that is retried": Outcome(
        fail.rescue(tee(report_late) >> again)(1), notes=("report_late fail",)
    ),
    "an error callback that ignores the failure": Outcome(
        fail.rescue(said >> again)(1), notes=("echo failed",)
    ),
    "an error callback that gets the arguments": Outcome(
        fail.rescue(tee(report_both) >> again_with_input, with_input=True)(5),
        notes=("report_both 5 fail",),
    ),
    "no error callback after a success": Outcome(watched(add)(1, 2), 3),
    "the error callback of a chain": Outcome(
        watched(add >> fail >> same)(1, 2), notes=("report fail",)
    ),
    "only the step that failed calls back": Outcome(
        (watched(fails) >> watched(fails) >> watched(fails))(1), notes=("report fail",)
    ),
    "the error callbacks of a chain and of the chain around it": Outcome(
        watched(same >> watched(same >> fail) >> plus)(1), notes=("report fail",) * 2
    ),
    # -- replace
    "a task is replaced by a chain": Outcome(replaced(far, plus >> plus)(1), 3),
    "a task is not replaced": Outcome(replaced(near, plus >> plus)(1), 1),
    "the first of a chain is replaced": Outcome((replaced(far, plus) >> plus)(1), 3),
    "one in the middle is replaced": Outcome((same >> replaced(far, plus) >> plus)(1), 3),
    "the last of a chain is replaced": Outcome((same >> replaced(far, plus))(1), 2),
    "a task whose replacement is replaced": Outcome(replaced(far, replaced(far, plus))(1), 2),
    "a task is replaced by a group": Outcome(
        (same >> far >> case(Far, of_far >> chord).case(Near, of_near))(2), 6
    ),
    "a replaced task with a callback": Outcome(
        (linked(replaced(far, plus)) >> same)(41), 42, ("echo linked",)
    ),
    "a callback within what replaces": Outcome(
        (same >> replaced(far, linked(plus)) >> plus)(1), 3, ("echo linked",)
    ),
    "what replaces fails": Outcome(
        watched(same >> watched(replaced(far, fail)) >> plus)(1), notes=("report fail",) * 2
    ),
    # -- groups
    "a group": Outcome(together(always, always)(0), (42, 42)),
    "a group of many": Outcome(each(same)(range(60)), list(range(60))),
    "groups within groups": Outcome(
        together(fixed(add, 1, 10), together(fixed(add, 1, 100), together(always, plus)))(1),
        (11, (101, (42, 2))),
    ),
    "a group after a group": Outcome(
        (together(same, same) >> each(plus) >> each(plus) >> total)(1), 6
    ),
    "each task of groups in a row runs once": Outcome(
        (together(fixed(echo, "1"), fixed(echo, "2")) >> fixed(echo, "3") >> fixed(echo, "4"))(0),
        "4",
        tuple(f"echo {n}" for n in range(1, 5)),
    ),
    "the callback of a group": Outcome(
        linked(together(always, plus))(1), (42, 2), ("echo linked",)
    ),
    "the callbacks of its tasks": Outcome(
        each(linked(same))([1, 2, 3]), [1, 2, 3], ("echo linked",) * 3
    ),
    "the error callback of a group whose first task fails": Outcome(
        watched(together(fail, same) >> total)(1), notes=("report fail",)
    ),
    "the error callback of a group whose last task fails": Outcome(
        watched(together(same, fail) >> total)(1), notes=("report fail",)
    ),
    "the error callbacks of its tasks": Outcome(
        each(watched(fail))([1, 2, 3]), notes=("report fail",) * 3
    ),
    "a task of a group is replaced by a chain": Outcome(
        together(replaced(far, plus >> plus), same)(1), (3, 1)
    ),
    "tasks of a group are replaced by groups, in order": Outcome(
        each(each(plus))([[2, 1], [4, 3]] * 5), [[3, 2], [5, 4]] * 5
    ),
    # -- chords
    "a chord": Outcome((add >> together(same, plus) >> given(add_to_all, 8))(2, 2), [12, 13]),
    "a chord of one": Outcome((together(fixed(add, 2, 5)) >> given(add_to_all, 9))(0), [16]),
    "a chord of none": Outcome((each(same) >> given(add_to_all, 9))([]), []),
    "a chord of many": Outcome((each(same) >> total)(range(60)), sum(range(60))),
    "a chord after a task": Outcome((same >> together(same, same, same) >> total)(1), 3),
    "chords in a row": Outcome((chord >> chord >> chord >> chord)(1), 46),
    "chords side by side": Outcome(together(chord, chord)(4), (10, 10)),
    "chords within a chord": Outcome(
        together(
            together(fixed(add, 1, 2), replaced(far, given(add, 6)))
            >> given(add_to_all, 5)
            >> total,
            together(fixed(add, 6, 7), always) >> total,
        )(1),
        (20, 55),
    ),
    "chords within chains within a chord": Outcome(
        (together(same >> chord, same >> chord) >> total >> fixed(add, 2, 2))(1), 4
    ),
    "what a chord gives joins what came before": Outcome((keep(chord) >> spread(add))(1), 5),
    "a chord with a task of its own arguments": Outcome(
        (together(same, plus) >> given(join, more=9))(1), [1, 2, 9]
    ),
    "the header of a chord fails": Outcome((together(plus, fail) >> total >> tee(count))(1)),
    "the header fails, and its error callback runs": Outcome(
        (together(same, watched(plus >> fail)) >> total)(1), notes=("report fail",)
    ),
    "the end of a chain of the header fails": Outcome(
        watched(together(same, plus >> plus >> fail) >> total)(1), notes=("report fail",)
    ),
    "a group of the header fails": Outcome(
        watched(together(same, together(same, fail) >> total) >> total)(1), notes=("report fail",)
    ),
    "the body of a chord fails": Outcome(
        watched(together(same, plus) >> total >> fail)(1), notes=("report fail",)
    ),
    "a failure before a chord": Outcome((add >> fail >> chord)(1, 1)),
    "a task of the header is replaced": Outcome(
        (together(replaced(far, plus >> plus), same) >> total)(1), 4
    ),
    "the body is replaced": Outcome(
        (together(same, plus) >> total >> replaced(far, plus >> plus))(1), 5
    ),
    "a replaced task of the header fails": Outcome(
        watched(together(same, replaced(far, plus >> fail)) >> total)(1), notes=("report fail",)
    ),
    "a failure in the header does not stop the others": Outcome(
        (together(linked(same), fail) >> total)(1), notes=("echo linked",)
    ),
    "a failed header is mended": Outcome(
        ((together(same, fail) >> total).rescue(fixed(same, 0)) >> plus)(1), 1
    ),
    "the input as the second branch": Outcome(together(fixed(same, 1), identity)(2), (1, 2)),
}

CATALOG = Catalog(
    *(add, same, add_to_all, total, echo, count, fail, report, report_late, report_both),
    *(again, again_with_input, far, near, of_far, of_near, join),
)


@pytest.fixture(scope="module", params=["local", "celery"])
def backend(request: pytest.FixtureRequest) -> Iterator[Backend]:
    if request.param == "local":
        here = local()
        yield here
        here.close()
    else:
        engine = celery("memory://")
        worker = engine.serve(CATALOG).unwrap()
        yield engine
        worker.stop()
        engine.close()


@pytest.mark.parametrize("wanted", OUTCOMES.values(), ids=OUTCOMES)
def test_an_outcome_of_a_canvas(
    backend: Backend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wanted: Outcome
) -> None:
    monkeypatch.setenv(TRACE, str(tmp_path))
    ref = submit(wanted.call, on=backend).unwrap()
    found = result(ref, on=backend, timeout=120)
    if wanted.value is None:
        fault = found.failure()
        assert isinstance(fault, Raised)
        assert (fault.task, fault.error_type) == ("fail", "ValueError")
    else:
        assert found == Success(wanted.value)
    file = tmp_path / ref.id
    lines = file.read_text().splitlines() if file.exists() else []
    assert Counter(line.rpartition(" ")[0] for line in lines) == Counter(wanted.notes)
