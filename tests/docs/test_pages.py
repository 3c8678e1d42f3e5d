"""The pages agree with the code."""

import re
import textwrap
from pathlib import Path
from types import ModuleType
from typing import get_type_hints

import pytest

from onward.backends.celery import config as celery
from onward.backends.hatchet import config as hatchet
from onward.backends.local import config as local
from onward.backends.temporal import config as temporal
from onward.fault import KINDS

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
PAGES = [*sorted(ROOT.glob("*.md")), *sorted(ROOT.glob("docs/**/*.md"))]
PYTHON = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def test_the_readme_shows_the_demo_s_own_tasks() -> None:
    shown = PYTHON.findall(README.partition("<!-- tasks -->")[2])[0]
    assert shown == (ROOT / "examples/ingest/tasks.py").read_text()


def test_the_readme_quotes_the_programs_that_celery_takes() -> None:
    quoted = textwrap.dedent(README.partition("<!-- celery -->\n")[2].partition("<!-- /celery")[0])
    code = PYTHON.findall(quoted)[0]
    assert code in (ROOT / "tests/typing/on_celery.py").read_text()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_within_the_project_lead_somewhere(page: Path) -> None:
    for name, anchor in re.findall(r"\]\((?!https?://)([^)#]*)#?([^)]*)\)", page.read_text()):
        target = page.parent / name if name else page
        assert target.exists(), name
        assert not anchor or anchor in anchors(target), f"{name}#{anchor}"


def anchors(page: Path) -> list[str]:
    """What links to a page may name in it, as GitHub and MyST make it of the headings."""
    text = page.read_text()
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    slugs = [re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings]
    return slugs + re.findall(r"^\((.+)\)=$", text, re.MULTILINE)


def test_times_are_those_that_were_measured() -> None:
    told = re.findall(r"\b[\d.,]+ [num]s\b", (ROOT / "docs/why.md").read_text())
    measured = re.findall(r"\b[\d.,]+ [num]s\b", (ROOT / "docs/overhead.md").read_text())
    assert told
    assert set(told) <= set(measured)


def test_ratios_are_those_that_were_measured() -> None:
    why, overhead = ((ROOT / "docs" / name).read_text() for name in ("why.md", "overhead.md"))
    told = re.findall(r"\b([\d.]+)(?: to ([\d.]+))? times\b", why.replace("\n", " "))
    assert told
    assert {number for pair in told for number in pair} <= {"", *re.findall(r"[\d.]+", overhead)}
    failed = overhead.count("- FAILS: ")
    assert (
        why.count(f"{('No bar', 'One', 'Two', 'Three', 'Four', 'Five')[failed]} of the bars") == 1
    )


def test_every_kind_of_fault_is_documented() -> None:
    rows = re.findall(r"^\| `(\w+)` \|", (ROOT / "docs/semantics.md").read_text(), re.MULTILINE)
    assert sorted(rows) == sorted(KINDS)


@pytest.mark.parametrize("engine", [local, celery, hatchet, temporal])
def test_every_setting_and_variable_of_an_engine_is_documented(engine: ModuleType) -> None:
    page = (ROOT / "docs/configuration.md").read_text()
    name = engine.__name__.removesuffix(".config").rpartition(".")[2]
    table = page.partition("| section | settings |")[2].partition("\n\n")[0]
    (row,) = re.findall(rf"^\| `{name}` \| (.+) \|$", table, re.MULTILINE)
    assert {*re.findall(r"`(\w+)`", row)} == {*get_type_hints(engine.ENGINE.settings)}
    variables = engine.ENGINE.variables | engine.ENGINE.secrets
    assert not [variable for variable in variables.values() if f"`{variable}`" not in page]
