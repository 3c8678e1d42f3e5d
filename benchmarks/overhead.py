"""What Onward itself costs, side by side with the plain code and with its peers.

The rows of the tables are timed in turn, round after round, in one process after another, so that
whatever else the machine does meanwhile falls on all of them alike.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from itertools import groupby
from typing import Any

import pyperf  # type: ignore[import-untyped]  # it ships no types

PACKAGES = ("onward", "msgspec", "returns", "celery", "taskiq", "taskiq-pipelines")
ENGINES = {"celery", "hatchet_sdk", "kombu", "temporalio"}
IMPORTS = (
    "import returns.result, msgspec",
    "import onward",
    "from onward import local",
    "from celery import Celery",
    "from taskiq import InMemoryBroker",
)


def main() -> None:
    """Measures, and prints the tables and how the bars stand."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--fast", action="store_true", help="only a look, in some seconds")
    parser.add_argument("--output", metavar="FILE", help="keep all values, for python -m pyperf")
    options = parser.parse_args()
    processes, rounds, imports = (2, 3, 5) if options.fast else (10, 10, 40)

    suite = pyperf.BenchmarkSuite(list(_imports(imports)))
    for number in range(processes):
        _say(f"process {number + 1} of {processes}")
        suite.add_runs(pyperf.BenchmarkSuite.loads(_python("-m", "benchmarks.worker", str(rounds))))
    if options.output:
        suite.dump(options.output, replace=True)

    about = suite.get_metadata()
    print(f"Python {about['python_version']} on {about['cpu_count']} x {about['cpu_model_name']};")
    print(f"{', '.join(f'{name} {version(name)}' for name in PACKAGES)};")
    print(f"medians of {processes} processes with {rounds} rounds each, and of {imports} imports.")
    for table, rows in groupby(suite, lambda row: row.get_metadata()["table"]):
        print(*_table(table, list(rows)), sep="\n")
    print()
    print(*_bars({row.get_name(): row.median() for row in suite}), sep="\n")


def _imports(rounds: int) -> Iterator[Any]:
    """How long each import takes, in processes of its own."""
    timed = "import time; start = time.perf_counter(); {}; print(time.perf_counter() - start)"
    seconds: dict[str, list[float]] = {each: [] for each in IMPORTS}
    for each in IMPORTS:
        _isolated(each)  # which leaves the bytecode
    for number in range(rounds):
        _say(f"imports {number + 1} of {rounds}")
        for each in IMPORTS:
            seconds[each].append(float(_isolated(timed.format(each))))
    for name, values in seconds.items():
        about = {"name": name, "table": "Importing, in a fresh process"}
        yield pyperf.Benchmark([pyperf.Run([value], metadata=about) for value in values])


def _table(title: str, rows: Sequence[Any]) -> Iterator[str]:
    """Lines of Markdown, in which every row is compared with the first."""
    width = max(len(title), *(len(row.get_name()) for row in rows))
    yield ""
    yield f"| {title:{width}} |   median | spread |  ratio |"
    yield f"|{'-' * (width + 2)}|---------:|-------:|-------:|"
    for row in rows:
        median = row.format_value(row.median())
        spread = row.median_abs_dev() / row.median()
        ratio = row.median() / rows[0].median()
        shown = f"{ratio:,.0f}" if ratio >= 100 else f"{ratio:.3g}"
        yield f"| {row.get_name():{width}} | {median:>8} | {spread:>6.1%} | {shown:>6} |"


def _bars(medians: Mapping[str, float]) -> Iterator[str]:
    """How the bars stand in this run; what one noisy machine says is no verdict."""
    modules = _isolated("import sys, onward; print(*sys.modules)").split()
    engines = sorted(ENGINES.intersection(modules))
    yield _bar(not engines, f"import onward imports {', '.join(engines) or 'no engine'}")

    ratio = medians["import onward"] / medians["import returns.result, msgspec"]
    yield _bar(ratio <= 1.3, f"it takes {ratio:.2f} times as long as its dependencies; at most 1.3")

    for onward, celery in (
        ("Onward: run", "Celery: chain.apply"),
        ("Onward: run, flow made each time", "Celery: chain.apply_async, chain made each time"),
    ):
        ratio = medians[celery] / medians[onward]
        yield _bar(
            ratio >= 10, f"{onward!r} is {ratio:.1f} times as fast as {celery!r}; at least 10"
        )


def _bar(holds: bool, text: str) -> str:
    return f"{'holds' if holds else 'FAILS'}: {text}"


def _isolated(code: str) -> str:
    # Nothing in the environment counts then, and so nothing that keeps bytecode from being cached.
    return _python("-I", "-c", code)


def _python(*arguments: str) -> str:
    """What a Python of its own prints."""
    command = [sys.executable, *arguments]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout


def _say(text: str) -> None:
    print(text, file=sys.stderr)


if __name__ == "__main__":
    main()
