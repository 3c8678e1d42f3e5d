"""Processes on one SQLite file that are killed and stopped, and how they start.

`python -m tests.faults.sqlite_served workers COUNT URL FLAG` keeps so many workers going, whose
clocks are wrong while the flag is there, a file; and
`python -m tests.faults.sqlite_served client URL WANTED SENT` submits the calls that the lines of a
file name, and notes the ids in another one. Started again, it goes on where it was.
"""

from __future__ import annotations

import importlib
import sys
import time
from pathlib import Path
from typing import NoReturn
from unittest.mock import patch

from returns.result import Success

from onward import Call, connect, submit
from tests.faults.served import THREADS, catalog, chain, fan_out, keep

JUMP = 600.0
"""By how much a clock is wrong, in seconds."""
DEADLINE = 300.0
"""How long a call may take, in seconds: longer than it does, and less than a clock is off."""


def serve(url: str, flag: Path) -> None:
    """Runs a worker until it is stopped."""
    # Not by libfaketime, with which no time.sleep works here.
    right = time.time
    patch("time.time", lambda: right() + (JUMP if flag.exists() else 0.0)).start()
    worker = connect(url).unwrap().serve(catalog, concurrency=THREADS).unwrap()
    print("started", flush=True)
    worker.wait()


def call_of(line: str) -> Call[int]:
    """Reads a call from a line: a number, and the number of branches of a fan-out."""
    n, _, width = line.partition(" ")
    return fan_out([int(n)] * int(width)) if width else chain(int(n))


def lines_of(file: Path) -> list[str]:
    """The complete lines of a file."""
    text = file.read_text() if file.exists() else ""
    return text.split("\n")[:-1]


def hand_over(url: str, wanted: Path, sent: Path) -> NoReturn:
    """Submits the wanted calls in order, and each again until it is acknowledged."""
    backend = connect(url).unwrap()
    print("started", flush=True)
    while True:
        for line in lines_of(wanted)[len(lines_of(sent)) :]:
            # Because of the key, a call that is submitted twice runs once.
            found = submit(call_of(line), on=backend, key=line.replace(" ", "-"), deadline=DEADLINE)
            if not isinstance(found, Success):
                print(found, flush=True)
                break
            with sent.open("ab", buffering=0) as file:
                file.write(f"{found.unwrap().id}\n".encode())
        time.sleep(0.01)


def main(what: str, *arguments: str) -> NoReturn:
    """Runs one of these processes."""
    if what == "client":
        url, wanted, sent = arguments
        hand_over(url, Path(wanted), Path(sent))
    count, url, flag = arguments
    importlib.import_module("onward.backends.sqlite.worker")  # once, before the first fork
    keep(int(count), lambda: serve(url, Path(flag)))


if __name__ == "__main__":
    main(*sys.argv[1:])
