"""Moves five orders that wait for an approval from one engine to another.

`python -m examples.move` moves them from one SQLite file to another. Give two URLs for other
engines: `python -m examples.move sqlite:////tmp/onward.db celery+redis://localhost:6379/0`.
"""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from tempfile import TemporaryDirectory

from examples.move.tasks import approved, orders
from onward import Signals, connect, move, result, send, status, submit, unwrap
from onward.backend import Moves


def main(old_url: str, new_url: str) -> None:
    old, new = unwrap(connect(old_url)), unwrap(connect(new_url))
    if not isinstance(old, Moves) or not isinstance(old, Signals):
        sys.exit(f"no call can be moved from {old}")
    with worker(old_url):
        refs = [unwrap(submit(orders(n), on=old)) for n in range(5)]
        while any(unwrap(status(ref, on=old)).state != "waiting" for ref in refs):
            time.sleep(0.05)
        print(f"{len(refs)} orders wait on {old}: they move to {new}", flush=True)
        for ref in refs:
            unwrap(move(ref, on=old, to=new))
    with worker(new_url):  # the old one is gone
        for ref in refs:
            unwrap(send(ref, approved, True, on=old))  # by the old ref, which finds the call
            print(unwrap(result(ref, on=old)), flush=True)
    old.close()
    new.close()


@contextmanager
def worker(url: str) -> Iterator[None]:
    """A worker process."""
    with subprocess.Popen([sys.executable, "-m", "examples.move.worker", url]) as process:
        try:
            yield
        finally:
            process.terminate()


if __name__ == "__main__":
    with ExitStack() as stack:
        folder = stack.enter_context(TemporaryDirectory(prefix="onward-move-"))
        urls = sys.argv[1:3] or [f"sqlite:///{folder}/{name}.db" for name in ("old", "new")]
        if len(urls) != 2:
            sys.exit("give two URLs, or none")
        main(*urls)
