"""What Onward itself costs, beside plain code and other libraries.

The rows of the tables are timed in turn, round after round, in one process after another, so that
whatever else the machine does meanwhile falls on all of them alike.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import pyperf  # type: ignore[import-untyped]  # it ships no types

from benchmarks.report import bar, heading, say, tables

PACKAGES = ("onward", "msgspec", "returns", "celery", "taskiq", "taskiq-pipelines")
ENGINES = {"celery", "hatchet_sdk", "kombu", "temporalio"}
IMPORTS = (
    "import returns.result, msgspec",
    "import onward",
    "from onward import local",
    "from celery import Celery",
    "from taskiq import InMemoryBroker",
)


def measure(*, fast: bool) -> Any:
    """Measures, prints the tables and the bars, and gives all values."""
    processes, rounds, imports = (2, 3, 5) if fast else (10, 10, 40)

    suite = pyperf.BenchmarkSuite(list(_imports(imports)))
    for number in range(processes):
        say(f"process {number + 1} of {processes}")
        suite.add_runs(pyperf.BenchmarkSuite.loads(_python("-m", "benchmarks.worker", str(rounds))))

    print(*heading(suite, PACKAGES), sep="\n")
    print(f"medians of {processes} processes with {rounds} rounds each, and of {imports} imports.")
    print(*tables(suite), sep="\n", end="\n\n")
    print(*_bars({row.get_name(): row.median() for row in suite}), sep="\n")
    return suite


def _imports(rounds: int) -> Iterator[Any]:
    """How long each import takes, each in its own process."""
    timed = "import time; start = time.perf_counter(); {}; print(time.perf_counter() - start)"
    seconds: dict[str, list[float]] = {each: [] for each in IMPORTS}
    for each in IMPORTS:
        _isolated(each)  # which leaves the bytecode
    for number in range(rounds):
        say(f"imports {number + 1} of {rounds}")
        for each in IMPORTS:
            seconds[each].append(float(_isolated(timed.format(each))))
    for name, values in seconds.items():
        about = {"name": name, "table": "Importing, in a fresh process"}
        yield pyperf.Benchmark([pyperf.Run([value], metadata=about) for value in values])


def _bars(medians: Mapping[str, float]) -> Iterator[str]:
    """Whether the bars hold in this run."""
    modules = _isolated("import sys, onward; print(*sys.modules)").split()
    engines = sorted(ENGINES.intersection(modules))
    yield bar(not engines, f"import onward imports {', '.join(engines) or 'no engine'}")

    ratio = medians["import onward"] / medians["import returns.result, msgspec"]
    yield bar(ratio <= 1.6, f"it takes {ratio:.2f} times as long as its dependencies; at most 1.6")

    for onward, celery in (
        ("Onward: run", "Celery: chain.apply"),
        ("Onward: run, flow made each time", "Celery: chain.apply_async, chain made each time"),
    ):
        ratio = medians[celery] / medians[onward]
        yield bar(
            ratio >= 10, f"{onward!r} is {ratio:.1f} times as fast as {celery!r}; at least 10"
        )


def _isolated(code: str) -> str:
    # Nothing in the environment counts then, and so nothing that keeps bytecode from being cached.
    return _python("-I", "-c", code)


def _python(*arguments: str) -> str:
    """The output of a program in a new Python process."""
    command = [sys.executable, *arguments]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
