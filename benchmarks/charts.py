"""Charts of what was measured: `python -m benchmarks.charts`.

They are drawn from the tables that `python -m benchmarks` and `python -m benchmarks.faults` print.
Without arguments, that is from the tables on the pages, into docs/images, where the pages show
them: so a chart never says anything else than the table below it. To draw what was just measured:

    python -m benchmarks celery > measured.txt
    python -m benchmarks.charts measured.txt --to charts
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TypeAlias
from xml.sax.saxutils import escape

ROOT = Path(__file__).parents[1]
PAGES = (ROOT / "docs/overhead.md", ROOT / "docs/celery.md")
IMAGES = ROOT / "docs/images"

Table: TypeAlias = Sequence[Mapping[str, str]]
"""The rows of a table, each by the headings of its columns."""

UNITS = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "sec": 1.0}


@dataclass(frozen=True)
class Bar:
    """A bar: its label, its length, and the text after it."""

    who: str
    value: float
    text: str


@dataclass(frozen=True)
class Panel:
    """Bars that share a scale."""

    title: str
    bars: Sequence[Bar]


@dataclass(frozen=True)
class Chart:
    """What stands in a file.

    Args:
        title: What it shows.
        tables: The titles of the tables that it is drawn from, each a panel.
        without: Rows whose names contain one of these are left out.
    """

    title: str
    tables: Sequence[str]
    without: Sequence[str] = ()


TIMES = {
    "overhead-local.svg": Chart(
        "In one process, less is better",
        (
            "Three functions in a row, the caller blocks",
            "Three functions in a row, the caller awaits",
        ),
        without=("plain",),
    ),
    "overhead-celery.svg": Chart(
        "On Celery: time for one, less is better",
        (
            "A chain of three, submitted and waited for",
            "A chain of three, of many that are in the queue",
            "One task, of many side by side, submitted and waited for",
            "Submitting one task, of many",
        ),
        without=("safety", "50 in one go"),
    ),
    "overhead-temporal.svg": Chart(
        "On Temporal: time for one, less is better",
        ("One task, submitted and waited for", "Three steps, submitted and waited for"),
        without=("temporalio, unsandboxed: a standalone",),
    ),
    "overhead-hatchet.svg": Chart(
        "On Hatchet: time for one, less is better",
        (
            "Three steps, one after the other, submitted and waited for",
            "One task, of many side by side, submitted and waited for",
        ),
    ),
    "overhead-sqlite.svg": Chart(
        "On a SQLite file: time for one, less is better",
        (
            "One task on SQLite, submitted and waited for",
            "One task on SQLite, of many that are in the queue",
            "The worker's processor time on SQLite for one task, of many",
        ),
    ),
}
"""The charts of times, by the file."""

OWN_ROW = {"celery": "Celery", "temporal": "temporalio", "hatchet": "hatchet-sdk"}
"""What the rows of an engine's tables begin with, for tables of several engines share titles."""

KILLED = "killed, once a second"
PRINTED = "to whom, while what happens"


def tables(text: str) -> Iterator[tuple[str, Table]]:
    """The tables in Markdown or in what a benchmark printed, each with its first heading."""
    for is_table, lines in groupby(text.splitlines(), lambda line: line.startswith("|")):
        if is_table:
            head, _, *rows = [
                [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines
            ]
            yield head[0], [dict(zip(head, row, strict=True)) for row in rows]


def charts(text: str) -> Iterator[tuple[str, str]]:
    """The charts of a text's tables: the names of their files, and SVG."""
    found = list(tables(text))
    for file, chart in TIMES.items():
        own = OWN_ROW.get(file.removeprefix("overhead-").removesuffix(".svg"), "")
        panels = [
            _times(title, rows, chart.without)
            for wanted in chart.tables
            for title, rows in found
            if title == wanted and any(row[title].startswith(own) for row in rows)
        ]
        if panels:
            yield file, drawn(chart.title, panels)
    killed = [panel for title, rows in found for panel in _killed(title, rows)]
    if killed:
        yield "faults-celery.svg", drawn("Calls lost, hung or wrong, of 350", killed)


def _times(title: str, rows: Table, without: Sequence[str]) -> Panel:
    shown = [row for row in rows if not any(text in row[title] for text in without)]
    return Panel(title, [Bar(row[title], _seconds(row["median"]), row["median"]) for row in shown])


def _seconds(text: str) -> float:
    number, unit = text.split()
    return float(number.replace(",", "")) * UNITS[unit]


def _killed(title: str, rows: Table) -> Iterator[Panel]:
    """A panel for each fault, from the page's table or from the printed one."""
    if title == KILLED:
        for row in rows:
            cells = [(who, cell) for who, cell in row.items() if who != title and "/" in cell]
            yield Panel(row[title], [_failed(who, cell.split("/")[:3]) for who, cell in cells])
    elif title == PRINTED:
        named = [(row[title].partition(": "), row) for row in rows]
        for harm in dict.fromkeys(harm for (_, _, harm), _ in named):
            own = [(who, row) for (who, _, it), row in named if it == harm]
            yield Panel(
                harm, [_failed(who, [row["lost"], row["hung"], row["wrong"]]) for who, row in own]
            )


def _failed(who: str, counts: Sequence[str]) -> Bar:
    total = sum(map(int, counts))
    return Bar(who, total, str(total))


WIDTH, PAD, TEXT, BAR = 440, 16, 18, 8
STYLE = """
svg { font: 12px system-ui, sans-serif; }
.card { fill: #ffffff; stroke: #d7dbe0; } .text { fill: #24292f; } .faint { fill: #59636e; }
.title { font-size: 14px; font-weight: 600; } .panel { font-weight: 600; }
.own { fill: #2f6fde; } .other { fill: #aab2bc; } .track { fill: #eef0f3; }
@media (prefers-color-scheme: dark) {
.card { fill: #1a1c1e; stroke: #3a3f45; } .text { fill: #e4e6ea; } .faint { fill: #a3abb5; }
.own { fill: #6ea0ff; } .other { fill: #68717c; } .track { fill: #26292d; }
}
""".strip()


def drawn(title: str, panels: Sequence[Panel]) -> str:
    """Panels of bars as SVG.

    All panels of counts share a scale; each panel of times has its own.
    """
    body: list[str] = []
    y = PAD + TEXT
    body.append(_text(PAD, y, "text title", title))
    most = max(bar.value for panel in panels for bar in panel.bars)
    are_counts = all(bar.text.isdigit() for panel in panels for bar in panel.bars)
    for panel in panels:
        y += TEXT + 10
        if panel.title not in title:
            body.append(_text(PAD, y, "text panel", panel.title))
        longest = most if are_counts else max(bar.value for bar in panel.bars)
        for bar in panel.bars:
            y += TEXT
            body.append(_text(PAD, y, "text", bar.who))
            body.append(_text(WIDTH - PAD, y, "faint", bar.text, anchor="end"))
            y += 5
            full = WIDTH - 2 * PAD
            length = full * bar.value / longest
            kind = "own" if bar.who.startswith("Onward") else "other"
            body.append(_bar(y, full, "track"))
            body.append(_bar(y, length, kind))
            y += BAR
    height = y + PAD
    box = f'viewBox="0 0 {WIDTH} {height}" width="{WIDTH * 5 // 4}"'
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" {box} role="img">',
            f"<title>{escape(title)}</title>",
            f"<style>{STYLE}</style>",
            f'<rect class="card" x=".5" y=".5" width="{WIDTH - 1}" height="{height - 1}" rx="8"/>',
            *body,
            "</svg>\n",
        ]
    )


def _text(x: int, y: int, kind: str, text: str, anchor: str = "start") -> str:
    return f'<text class="{kind}" x="{x}" y="{y}" text-anchor="{anchor}">{escape(text)}</text>'


def _bar(y: int, length: float, kind: str) -> str:
    return f'<rect class="{kind}" x="{PAD}" y="{y}" width="{length:.1f}" height="{BAR}" rx="2"/>'


def main() -> None:
    """Draws the charts."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.charts", description=__doc__)
    parser.add_argument(
        "files", nargs="*", type=Path, default=PAGES, help="pages, or what was printed"
    )
    parser.add_argument("--to", metavar="FOLDER", type=Path, default=IMAGES)
    options = parser.parse_args()
    options.to.mkdir(parents=True, exist_ok=True)
    for file in options.files:
        for name, svg in charts(file.read_text()):
            (options.to / name).write_text(svg)
            print(options.to / name)


if __name__ == "__main__":
    main()
