"""What `onward.mypy` says of a chain that does not fit; that it refuses the same, CHECKERS tell."""

from pathlib import Path

import pytest

from tests.typing.checkers import mypy_with_onward

PROGRAM = """
from dataclasses import dataclass
from returns.result import Result, Success
from onward import Fault, case, each, given, task

@dataclass(frozen=True)
class Malformed:
    line: int

@task
def fetch(url: str) -> str:
    return url

@task
def parse(raw: bytes, sep: str = ",") -> Result[list[int], Malformed]:
    return Success(list(raw))

@task
def store(rows: list[int], table: str) -> int:
    return len(rows)

@task
def instead(error: Fault) -> int:
    return 0

@task
def find(url: str) -> bytes | None:
    return None

"""

SAID = {
    "fetch >> parse": "parse takes bytes, and fetch gives str",
    "(fetch >> fetch) >> parse": "parse takes bytes, and fetch gives str",
    "parse >> store": "store takes more than one value: write given(store, table=...)",
    "fetch >> store": (
        "store takes list[int], and fetch gives str; "
        "store takes more than one value: write given(store, table=...)"
    ),
    "fetch >> each(fetch)": "each(...) takes Items[str], and fetch gives str",
    "fetch >> fetch.fn": "fn is a plain function: put @task on it",
    "fetch >> parse(b'')": (
        "parse(...) is a call, and a chain takes the flow itself: leave out its arguments"
    ),
    "find >> case(bytes, parse)": "case(...) takes bytes, and find gives bytes | None",
    "(parse >> given(store, 'x')).rescue(instead)": (
        "instead does not take Malformed, which the flow may fail with"
    ),
}


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> dict[int, list[str]]:
    folder: Path = tmp_path_factory.mktemp("plugin")
    (folder / "program.py").write_text(PROGRAM + "\n".join(SAID) + "\n")
    found: dict[int, list[str]] = {}
    for refusal in mypy_with_onward(folder, "program.py"):
        found.setdefault(refusal.line, []).append(refusal.message)
    return found


@pytest.mark.parametrize("code", SAID)
def test_a_chain_that_does_not_fit_is_reported_in_one_line(
    code: str, said: dict[int, list[str]]
) -> None:
    line = PROGRAM.count("\n") + 1 + list(SAID).index(code)
    assert said[line] == [SAID[code]]
