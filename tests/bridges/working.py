"""Workers in this process that open resources."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

from onward import Catalog, connect, work


@contextmanager
def served(catalog: Catalog, *, on: str) -> Iterator[Any]:
    """A backend, and a worker that stops at once in the end and gives back what it does."""
    stop = threading.Event()
    with closing(connect(on).unwrap()) as backend:
        worker = threading.Thread(
            target=lambda: work(catalog, on=backend, stop=stop, grace=0).unwrap()
        )
        worker.start()
        try:
            yield backend
        finally:
            stop.set()
            worker.join()
