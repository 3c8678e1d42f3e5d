"""What a test can see of the tasks that ran, in any process."""

from __future__ import annotations

import os
from pathlib import Path

from onward.context import current

TRACE = "ONWARD_TRACE"
"""The environment variable that names the folder of the traces."""


def note(number: object) -> None:
    """Writes that the current task runs on a value, if the traces are wanted."""
    context = current()
    folder = os.environ.get(TRACE)
    if folder and context.id:
        line = f"{context.task} {number} {context.attempt}\t{context.step}\n"
        # A single write to a file that is open for appending stays whole, also among other writers.
        with Path(folder, context.id).open("a", buffering=len(line) + 1) as file:
            file.write(line)
