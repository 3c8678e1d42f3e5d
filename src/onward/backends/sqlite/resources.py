"""What a worker works with, and what it serves."""

from __future__ import annotations

from typing import NamedTuple

from onward.backends.sqlite.client import File
from onward.backends.sqlite.outage import Outage
from onward.backends.sqlite.threads import DatabaseThread
from onward.backends.sqlite.wakeup import Wakeup
from onward.catalog import Catalog


class Resources(NamedTuple):
    """What a client and a worker of one process share.

    Args:
        file: The file.
        commits: Writes.
        reads: Reads.
        wakeup: Tells what has happened.
        outage: Logs when workers cannot use the file.
        queue: The queue of steps that name none.
        lease: How long a worker may be silent, in seconds.
        keep: How long calls that have ended are kept, in seconds.
    """

    file: File
    commits: DatabaseThread
    reads: DatabaseThread
    wakeup: Wakeup
    outage: Outage
    queue: str
    lease: float
    keep: float


class Serving(NamedTuple):
    """What a worker serves.

    Args:
        catalog: The tasks and flows.
        queues: The queues that it takes jobs from.
        slots: How many steps it runs at a time.
        name: What it goes by.
        id: Its number.
    """

    catalog: Catalog
    queues: tuple[str, ...]
    slots: int
    name: str
    id: int
