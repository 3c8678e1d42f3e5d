"""How `onward history` shows what happened in a call."""

import io
import json
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from returns.result import Failure, Result
from rich.console import Console

from onward import (
    Fault,
    Flow,
    Retry,
    Secret,
    each,
    given,
    local,
    result,
    resume,
    submit,
    task,
    together,
)
from onward.backends.local import Local
from onward.cli.timeline import chart, data_of_history, tree
from onward.coroutines import drive
from onward.flows.flow import Call, Ref
from onward.interpret.callers import BLOCKS
from onward.interpret.recorded import Recorded, recorded
from onward.policy import Constant


@task
def split(text: str) -> list[str]:
    return text.split(",")


@task(retry=Retry(attempts=2, backoff=Constant(0)))
def number(text: str) -> int:
    return int(text)


@task
def total(numbers: list[int]) -> int:
    return sum(numbers)


@task
def number_at(numbers: list[str], at: str) -> list[str]:
    return numbers[int(at) :]


@task
def blamed(error: Fault) -> list[str]:
    raise LookupError(error.message)


@task
def tidy(text: str) -> None:
    pass


@task
def refuse(number: int) -> Result[int, str]:
    return Failure("too <small>")


@task
def open_with(token: Secret[str], name: str) -> str:
    return name


summed = (split >> each(number) >> total).named("summed")


@pytest.fixture
def backend() -> Iterator[Local]:
    made = local()
    yield made
    made.close()


def ended(call: Call[Any, Any], backend: Local) -> Ref[Any, Any]:
    ref = submit(call, on=backend, tags=["nightly"]).unwrap()
    result(ref, on=backend, timeout=120)
    return ref


def record(ref: Ref[Any, Any], backend: Local) -> Recorded:
    return drive(recorded(BLOCKS, ref, backend)).unwrap()


def drawn(found: Recorded, *, tracebacks: bool = False) -> list[str]:
    console = Console(file=io.StringIO(), width=200, color_system=None)
    console.print(tree(found, tracebacks=tracebacks))
    written = console.file
    assert isinstance(written, io.StringIO)
    return written.getvalue().splitlines()


def test_the_tree_shows_each_step_at_its_place_with_attempts_and_faults(backend: Local) -> None:
    found = record(ended(summed("1,x"), backend), backend)
    title, submitted, tags, *steps = drawn(found)
    assert title == f"summed  {found.call.id}  failed"
    assert submitted.startswith("submitted 2")
    assert tags == "tags: nightly"
    first, around, good, bad, one, two, ahead = steps
    assert "✓ 0  split" in first
    assert around.endswith("1")
    assert "✓ 1[0]  number" in good
    assert "✗ 1[1]  number" in bad
    assert bad.endswith("2 attempts")
    for line, at in ((one, "attempt 1"), (two, "attempt 2")):
        assert at in line
        assert "Raised ValueError: invalid literal" in line
    assert "· 2  total" in ahead


def test_what_has_not_begun_is_shown_but_for_what_may_never(backend: Local) -> None:
    """A handler of what has not failed, the other branches of a case, more items of an each."""
    body = split >> given(number_at, "x").rescue(blamed) >> each(number) >> total
    found = record(ended(body.finally_(tidy)("1"), backend), backend)
    assert [line.split("· ")[1] for line in drawn(found) if "· " in line] == [
        "try.2[…]  number",
        "try.3  total",
    ]


def test_tracebacks_are_for_who_asks(backend: Local) -> None:
    found = record(ended(summed("x"), backend), backend)
    assert "Traceback" not in "\n".join(drawn(found))
    assert "Traceback" in "\n".join(drawn(found, tracebacks=True))


def test_what_a_call_took_over_is_marked(backend: Local) -> None:
    old = ended(summed("1,x"), backend)
    new = resume(old, on=backend).unwrap()
    result(new, on=backend, timeout=120)
    lines = drawn(record(new, backend))
    assert f"continues {old.id}" in lines
    assert [line.rsplit("  ", 1)[1] for line in lines if "taken over" in line] == ["taken over"] * 2


def test_json_has_all_of_it(backend: Local) -> None:
    found = record(ended(summed("1,x"), backend), backend)
    data = json.loads(msgspec.json.encode(data_of_history(found)))
    assert data["ref"] == data["origin"] == found.call.id
    assert (data["flow"], data["state"], data["tags"]) == ("summed", "failed", ["nightly"])
    assert data["outcome"]["fault"]["type"] == "Raised"
    assert data["plan"]["flow"] == "summed"
    split_, *_ = data["steps"]
    assert split_["outcome"] == {"outcome": "value", "value": ["1", "x"]}
    [failed] = [step for step in data["steps"] if step["path"] == "1[1]"]
    assert [each_["number"] for each_ in failed["attempts"]] == [1, 2]
    assert "Traceback" in failed["attempts"][0]["outcome"]["fault"]["traceback"]


def test_no_form_shows_a_secret(backend: Local) -> None:
    flow: Flow[..., str] = given(open_with, "the name")
    found = record(ended(flow(Secret("s3cret")), backend), backend)
    shown = "\n".join([*drawn(found), chart(found)])
    shown += msgspec.json.encode(data_of_history(found)).decode()
    assert "s3cret" not in shown
    assert "***" in shown


def test_the_chart_draws_branches_beside_each_other_and_handlers_after_failures(
    backend: Local,
) -> None:
    flow = together(number >> refuse, number).rescue(given(_pair, 0))
    found = record(ended(flow("1"), backend), backend)
    lines = chart(found).splitlines()
    assert lines[0] == "flowchart TD"
    boxes = [line for line in lines if line.startswith("n") and '["' in line]
    assert [box.split('"')[1].split(" ")[0] for box in boxes] == [
        "number",
        "refuse",
        "number",
        "_pair",
    ]
    assert "too &lt;small>" in boxes[1]
    assert boxes[1].endswith(":::failed")
    assert boxes[3].endswith(":::done")
    handler = boxes[3].split("[")[0]
    assert sum(line.endswith(f"-. fails .-> {handler}") for line in lines) == 2


@task
def _pair(fault: Fault | str, number: int) -> tuple[int, int]:
    return number, number
