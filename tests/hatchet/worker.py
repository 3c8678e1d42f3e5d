"""Workers that are killed, on the engine that the environment names.

`python -m tests.hatchet.worker WORKERS NAMESPACE LEASE` keeps so many of them going.
"""

from __future__ import annotations

import importlib
import os
import sys
import time
from pathlib import Path

from onward import Catalog, current, task
from onward.backends.hatchet import sdk
from tests.faults.served import (
    THREADS,
    TRACE,
    add_up,
    chain,
    go_on,
    hold,
    join,
    keep,
    note,
    refuse,
    step,
    undo,
)
from tests.hatchet.served import backend_on


@task
def wait_here(n: int) -> int:
    """Returns its argument, once a file named gate exists beside the folder of traces."""
    note(current().id, f"wait_here {n}")
    while not Path(os.environ[TRACE]).with_name("gate").exists():
        time.sleep(0.01)
    return n


@task
def tidy(n: int) -> None:
    """A cleanup."""
    note(current().id, f"tidy {n}")


catalog = Catalog(step, add_up, hold, undo, refuse, join, go_on, wait_here, tidy, chain)


class _Given:
    client_environment = os.environ


def serve(namespace: str, lease: float) -> None:
    """Serves until it is stopped."""
    backend = backend_on(_Given(), namespace=namespace, lease=lease)
    worker = backend.serve(catalog, concurrency=THREADS).unwrap()
    print("started", flush=True)
    worker.wait()


def main(workers: str, namespace: str, lease: str) -> None:
    """Keeps so many workers running."""
    sdk.load()
    importlib.import_module("onward.backends.hatchet.async_backend")  # once, before the first fork
    keep(int(workers), lambda: serve(namespace, float(lease)))


if __name__ == "__main__":
    main(*sys.argv[1:])
