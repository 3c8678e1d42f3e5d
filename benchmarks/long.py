"""Whether very long flows end on Temporal, and how long they take: `python -m benchmarks.long`.

A history holds some 50,000 events, and a step makes three of them. A chain of as many steps and an
`each` over as many items go on in further workflows, again and again.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from time import perf_counter
from urllib.parse import urlsplit

from benchmarks.report import bar
from onward import Call, Catalog, Flow, each, run, task, unwrap
from onward.backend import Backend
from onward.backends.temporal import temporal
from tests.engines.temporal import Temporal

PATIENCE = 3_600


@task
def following(n: int) -> int:
    return n + 1


def main() -> None:
    """Runs both, and prints their results."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.long", description=__doc__)
    parser.add_argument("--size", type=int, default=20_000, help="how many steps, how many items")
    size = parser.parse_args().size
    flow: Flow[[int], int] = following
    for _ in range(size - 1):
        flow = flow >> following
    with (
        tempfile.TemporaryDirectory() as folder,
        Temporal.start(Path(folder), durable=False) as server,
    ):
        at = urlsplit(server.url)
        assert at.hostname
        assert at.port
        backend = temporal(at.hostname, at.port)
        worker = unwrap(backend.serve(Catalog(following)))
        items = list(range(size))
        _told(f"each over {size:,} items", each(following)(items), [*items[1:], size], backend)
        _told(f"a chain of {size:,} steps", flow(0), size, backend)
        worker.stop()
        backend.close()


def _told(what: str, call: Call[object], expected: object, backend: Backend) -> None:
    start = perf_counter()
    given = run(call, on=backend, timeout=PATIENCE)
    seconds = perf_counter() - start
    print(bar(given.value_or(None) == expected, f"{what}, in {seconds:.0f} s"), flush=True)


if __name__ == "__main__":
    main()
