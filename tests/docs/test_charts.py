"""The charts of the pages agree with the tables below them."""

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from benchmarks import charts

CURE = "run python -m benchmarks.charts"


@pytest.mark.parametrize("page", charts.PAGES, ids=lambda page: page.name)
def test_a_page_shows_the_charts_of_its_own_tables(page: Path) -> None:
    text = page.read_text()
    drawn = dict(charts.charts(text))
    shown = re.findall(r"!\[[^\]]+\]\(images/([\w-]+\.svg)\)", text)
    assert sorted(shown) == sorted(drawn), CURE
    for name, svg in drawn.items():
        assert (charts.IMAGES / name).read_text() == svg, CURE


def test_a_bar_is_as_long_as_its_figure() -> None:
    table = (
        "| A chain of three, submitted and waited for | median | ratio |\n|--|--|--|\n"
        "| Celery | 1.00 ms | 1 |\n| Onward | 250 us | 0.25 |\n"
    )
    ((_, svg),) = charts.charts(table)
    rects = ElementTree.fromstring(svg).findall("{http://www.w3.org/2000/svg}rect")
    lengths = {rect.get("class"): float(rect.get("width", "")) for rect in rects}
    assert lengths["own"] == pytest.approx(lengths["other"] / 4)


def test_what_the_fault_script_prints_is_drawn_too() -> None:
    printed = (
        "| to whom, while what happens | lost | hung | wrong | again | time |\n"
        "|--|--|--|--|--|--|\n"
        "| Onward: all workers | 0 | 0 | 0 | 84 | 30 s |\n"
        "| Celery: all workers | 251 | 11 | 0 | 0 | 40 s |\n"
    )
    ((name, svg),) = charts.charts(printed)
    assert name == "faults-celery.svg"
    assert ">262<" in svg
