"""Workers of ours on Temporal that are killed, and how they start.

`python -m tests.faults.temporal_served WORKERS URL HEARTBEAT` keeps so many of them going.
"""

from __future__ import annotations

import importlib
import sys
from typing import NoReturn
from urllib.parse import urlsplit

from onward.backends.temporal import TemporalBackend, temporal
from tests.faults.served import THREADS, catalog, keep


def backend_at(url: str, heartbeat: float) -> TemporalBackend:
    """The server at a URL, where a worker may be silent for so many seconds."""
    at = urlsplit(url)
    assert at.hostname
    assert at.port
    return temporal(at.hostname, at.port, heartbeat=heartbeat)


def serve(url: str, heartbeat: float) -> None:
    """Works until it is stopped."""
    backend = backend_at(url, heartbeat)
    worker = backend.serve(catalog, concurrency=THREADS).unwrap()
    print("started", flush=True)
    worker.wait()


def main(workers: str, url: str, heartbeat: str) -> NoReturn:
    """Keeps so many workers going."""
    importlib.import_module("onward.backends.temporal.worker")  # once, before the first fork
    keep(int(workers), lambda: serve(url, float(heartbeat)))


if __name__ == "__main__":
    main(*sys.argv[1:])
