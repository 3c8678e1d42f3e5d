"""Every code block of the pages runs, and has the output that the page shows."""

import os
import re
import shlex
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import cast

import pytest
import typer.main
from celery import _state
from celery.app import builtins
from typer.core import TyperGroup

from onward.cli import app
from tests.docs.blocks import Block, Program, blocks
from tests.docs.walk import Walk, commands, is_left_out
from tests.engines.hatchet import TOKEN, Hatchet
from tests.engines.temporal import Temporal
from tests.engines.valkey import Valkey
from tests.hatchet.double import Double
from tests.hatchet.served import Engine

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
PAGES += [
    *sorted((ROOT / "docs/how-to").glob("*.md")),
    *sorted((ROOT / "docs/recipes").glob("*.md")),
]
WEATHER = ROOT / "examples/ingest/data/seattle-weather.csv"

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]

OF_THE_DEMO = """
from returns.result import Failure, Success
from examples.ingest.tasks import Malformed, fetch, ingest, parse, store
from onward import Raised
"""
BY_CELERY = """
from typing import Any
from celery import Celery, chain
from celery.canvas import Signature
app = Celery("shop", set_as_current=False)
"""
BEFORE = {
    "README.md": OF_THE_DEMO + BY_CELERY,
    "celery.md": f"{OF_THE_DEMO}\nfrom onward.backends.celery import celery\nkey = bytes(32)\n",
    "sqlite.md": OF_THE_DEMO,
    "temporal.md": OF_THE_DEMO,
    "hatchet.md": OF_THE_DEMO,
}
"""What these pages take for granted, for it stands in others."""

INGEST = """
from onward import task

@task
def ingest(url: str, sep: str = ",") -> int:
    return len(url.split(sep))
"""
REPORT = """
from onward import task

@task(queue="gpu")
def report(month: str) -> str:
    return month
"""
MODULES = {
    "my/tasks.py": INGEST,
    "other/tasks.py": REPORT,
    "shop/tasks.py": INGEST,
    "shop/reports.py": REPORT,
}
"""What stands for the reader's own modules."""


def programs() -> list[Path]:
    return [page for page in PAGES if any(map(is_of_the_program, blocks(page)))]


def walks() -> list[Path]:
    return [page for page in PAGES if any(map(is_of_the_walk, blocks(page)))]


def is_of_the_program(block: Block) -> bool:
    return block.language == "python" and not block.mark


def is_of_the_walk(block: Block) -> bool:
    return block.mark == "file" or any(not is_left_out(command) for command, _ in typed(block))


def typed(block: Block) -> list[tuple[str, str]]:
    """What a reader types, and what they see."""
    is_run = block.language == "console" and not block.mark
    return [*commands(block)] if is_run else []


@pytest.fixture(scope="session")
def some_hatchet(request: pytest.FixtureRequest) -> Iterator[Engine]:
    """A real one, or where there is none, a double."""
    if TOKEN in os.environ or Hatchet.missing() is None:
        yield cast(Engine, request.getfixturevalue("hatchet"))
        return
    with Double() as double:
        yield double


@pytest.fixture
def instead(request: pytest.FixtureRequest, page: Path) -> Mapping[str, str]:
    """This run's servers in the place of the reader's own, as far as the page has any."""
    text = page.read_text()
    found = {"https://example.org/weather.csv": str(WEATHER)}
    if "redis://" in text:
        valkey: Valkey = request.getfixturevalue("valkey")
        found["redis://localhost:6379/0"] = own = valkey.url.replace("/0", "/9")
        found['"redis://…"'] = repr(own)
    if "temporal://" in text:
        temporal: Temporal = request.getfixturevalue("temporal")
        found["localhost:7233"] = temporal.address
    if "hatchet://" in text:
        kind = "hatchet" if page.name == "hatchet.md" else "some_hatchet"  # for it has limits
        hatchet: Engine = request.getfixturevalue(kind)
        patch: pytest.MonkeyPatch = request.getfixturevalue("monkeypatch")
        for name, value in hatchet.client_environment.items():
            patch.setenv(name, value)
        where = hatchet.client_environment.get("HATCHET_CLIENT_HOST_PORT", "localhost:7077")
        own = re.sub(r"\W", "_", page.stem)  # for each page has another flow named ingest
        found["hatchet://localhost:7077"] = f"hatchet://{where}/{own}"
    return found


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the programs are run."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def celery_to_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keeps tasks from other apps, with which Celery shares them all for as long as we live."""
    shared = _state._on_app_finalizers  # type: ignore[attr-defined]  # not in the stubs
    own = {each for each in shared if each.__module__ == builtins.__name__}
    monkeypatch.setattr(_state, "_on_app_finalizers", own)


@pytest.mark.usefixtures("celery_to_itself")
@pytest.mark.parametrize("page", programs(), ids=lambda page: page.name)
def test_the_python_of_a_page_runs(page: Path, instead: Mapping[str, str], folder: Path) -> None:
    with Program.running(f"the_page_{page.stem}", instead) as program:
        program.run(Block(page, 1, "python", BEFORE.get(page.name, "")))
        for block in filter(is_of_the_program, blocks(page)):
            program.run(block)


@pytest.mark.parametrize("page", walks(), ids=lambda page: page.name)
def test_who_does_what_a_page_says_sees_what_it_shows(
    page: Path, instead: Mapping[str, str], folder: Path
) -> None:
    for name, code in MODULES.items():
        file = folder / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(code)
    with Walk(folder, instead) as walk:
        for block in blocks(page):
            walk.take(block)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_commands_that_a_page_shows_are_there(page: Path) -> None:
    for block in blocks(page):
        for command, _ in typed(block):
            check(shlex.split(command, comments=True))


def check(words: list[str]) -> None:
    """Fails for a command with a name, an option or an extra that there is not."""
    match words:
        case ["onward", name, *rest] if not name.startswith("-"):
            check_command([name, *rest])
        case ["make", target, *_]:
            assert re.search(f"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE)
        case ["pip", "install", *wanted]:
            extras = ",".join(re.findall(r"\[([\w,]+)\]", " ".join(wanted))).split(",")
            assert {*extras} <= {"", *EXTRAS}


def check_command(words: list[str]) -> None:
    command: object = typer.main.get_command(app)
    assert isinstance(command, TyperGroup)
    context = command.make_context("onward", words)
    while isinstance(command, TyperGroup) and "--help" not in words:
        name = words[0]
        _, below, words = command.resolve_command(context, words)
        assert below is not None
        command, context = below, below.make_context(name, words, parent=context)
