"""What the pages show is what there is."""

import re
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
PYTHON = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def test_the_readme_shows_the_demo_s_own_tasks() -> None:
    shown = PYTHON.findall(README.partition("<!-- tasks -->")[2])[0]
    assert shown == (ROOT / "examples/ingest/tasks.py").read_text()


def test_the_readme_quotes_the_programs_that_celery_takes() -> None:
    quoted = textwrap.dedent(README.partition("<!-- celery -->\n")[2].partition("<!-- /celery")[0])
    code = PYTHON.findall(quoted)[0]
    assert code in (ROOT / "tests/typing/on_celery.py").read_text()


@pytest.mark.parametrize("page", sorted(ROOT.glob("*.md")) + sorted(ROOT.glob("docs/**/*.md")))
def test_links_within_the_project_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?://|#)([^)#]+)", page.read_text()):
        assert (page.parent / target).exists(), target


def test_times_are_told_as_they_were_measured() -> None:
    told = re.findall(r"\b[\d.,]+ [num]s\b", (ROOT / "docs/why.md").read_text())
    measured = re.findall(r"\b[\d.,]+ [num]s\b", (ROOT / "docs/overhead.md").read_text())
    assert told
    assert set(told) <= set(measured)
