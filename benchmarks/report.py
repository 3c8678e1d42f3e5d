"""Shows the measurements."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from importlib.metadata import version
from itertools import groupby
from typing import Any


def heading(suite: Any, packages: Iterable[str]) -> Iterator[str]:
    """Lines that name the versions and the machine."""
    about = suite.get_metadata()
    yield f"Python {about['python_version']} on {about['cpu_count']} x {about['cpu_model_name']};"
    yield f"{', '.join(f'{name} {version(name)}' for name in packages)};"


def tables(suite: Iterable[Any], *, rates: bool = False) -> Iterator[str]:
    """Lines of Markdown, a table for each "table" in the metadata of pyperf's benchmarks.

    Args:
        suite: The benchmarks.
        rates: Whether to show as well how many there are in a second.
    """
    for title, rows in groupby(suite, lambda row: row.get_metadata()["table"]):
        yield from _table(title, list(rows), rates)


def _table(title: str, rows: Sequence[Any], rates: bool) -> Iterator[str]:
    """In it every row is compared with the first."""
    names = [row.get_name().removeprefix(f"{title}: ") for row in rows]
    width = max(map(len, [title, *names]))
    yield ""
    yield f"| {title:{width}} |   median |{'   per s |' * rates} spread |  ratio |"
    yield f"|{'-' * (width + 2)}|---------:|{'--------:|' * rates}-------:|-------:|"
    for name, row in zip(names, rows, strict=True):
        median = row.median()
        shown = row.format_value(median)
        rate = f" {1 / median:>7,.0f} |" * rates
        spread = row.median_abs_dev() / median
        ratio = median / rows[0].median()
        times = f"{ratio:,.0f}" if ratio >= 100 else f"{ratio:.3g}"
        yield f"| {name:{width}} | {shown:>8} |{rate} {spread:>6.1%} | {times:>6} |"


def bar(holds: bool, text: str) -> str:
    """Whether a bar holds in this run. One noisy machine does not decide."""
    return f"{'holds' if holds else 'FAILS'}: {text}"


def say(text: str) -> None:
    """Prints the progress."""
    print(text, file=sys.stderr)
