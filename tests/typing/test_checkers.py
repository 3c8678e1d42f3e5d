"""What the type checkers accept and refuse, line by line.

A mark at the end of a line says which of them refuse it: see `rejected.py`. A line that a checker
begins or ceases to refuse fails here by its checker and its function, and wants another mark.
"""

import ast
import functools
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple, TypeAlias

import pytest

import onward
from tests.typing import accepted
from tests.typing.checkers import CHECKERS

HERE = Path(__file__).parent
PROGRAMS = ("accepted.py", "rejected.py", "on_celery.py", "on_onward.py")
MARK = re.compile(r"  # E(?:: (?P<but>not )?(?P<names>[\w, ]+))?$")

Place: TypeAlias = tuple[str, int]
Refused: TypeAlias = Callable[[str], Mapping[Place, str]]


class Line(NamedTuple):
    """A marked line, and the checkers that refuse it."""

    place: Place
    function: str
    text: str
    refused_by: frozenset[str]


def marked_lines() -> list[Line]:
    lines: list[Line] = []
    for program in PROGRAMS:
        function = ""
        for number, text in enumerate((HERE / program).read_text().splitlines(), start=1):
            if top := re.match(r"(?:async )?def (\w+)", text):
                function = top[1]
            if mark := MARK.search(text):
                lines.append(Line((program, number), function, text.strip(), checkers_of(mark)))
    return lines


def checkers_of(mark: re.Match[str]) -> frozenset[str]:
    # What mypy sees does not depend on returns' plugin, so that one name stands for both.
    families = {name: name.partition("-")[0] for name in CHECKERS}
    named = set((mark["names"] or "").split(", ")) - {"", "nobody"}
    if unknown := named - {*families.values()}:
        raise ValueError(f"no such type checker: {', '.join(unknown)}")
    if mark["names"] is None or mark["but"]:
        named = {*families.values()} - named
    return frozenset(name for name, family in families.items() if family in named)


LINES = marked_lines()


def cases(is_refused: bool) -> list[object]:
    """The marked lines that a checker refuses, or those that it accepts, by their functions."""
    found: dict[tuple[str, str], list[Line]] = {}
    for checker in CHECKERS:
        for line in LINES:
            if (checker in line.refused_by) is is_refused:
                found.setdefault((checker, line.function), []).append(line)
    return [
        pytest.param(checker, lines, id=f"{checker}-{function}")
        for (checker, function), lines in found.items()
    ]


@pytest.fixture(scope="session")
def refused(tmp_path_factory: pytest.TempPathFactory) -> Refused:
    """Gives what a checker refuses; each checker runs once, and only when it is asked for."""

    @functools.cache
    def run(checker: str) -> Mapping[Place, str]:
        folder = tmp_path_factory.mktemp(checker)
        for program in PROGRAMS:
            (folder / program).write_text((HERE / program).read_text())
        return {
            (refusal.program, refusal.line): refusal.message
            for refusal in CHECKERS[checker](folder, *PROGRAMS)
        }

    return run


@pytest.mark.parametrize(("checker", "lines"), cases(is_refused=True))
def test_a_line_is_refused_by_the_checkers_in_its_mark(
    refused: Refused, checker: str, lines: list[Line]
) -> None:
    missed = [(line.place, line.text) for line in lines if line.place not in refused(checker)]
    assert missed == [], f"{checker} accepts what it is to refuse"


@pytest.mark.parametrize(("checker", "lines"), cases(is_refused=False))
def test_a_line_is_accepted_by_the_checkers_that_its_mark_leaves_out(
    refused: Refused, checker: str, lines: list[Line]
) -> None:
    found = refused(checker)
    seen = [(line.place, line.text, found[line.place]) for line in lines if line.place in found]
    assert seen == [], f"{checker} sees this now: change the marks"


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("checker", CHECKERS)
def test_a_line_without_a_mark_is_accepted(refused: Refused, checker: str, program: str) -> None:
    marked = {line.place for line in LINES}
    unmarked = {
        place: message
        for place, message in refused(checker).items()
        if place[0] == program and place not in marked
    }
    assert unmarked == {}, f"{checker} refuses what is right"


def test_the_accepted_program_runs() -> None:
    accepted.main()


def test_the_accepted_program_uses_every_public_name() -> None:
    tree = ast.parse(Path(accepted.__file__).read_text())
    used = {
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module == "onward"
        for alias in node.names
    }
    assert used == set(onward.__all__)
