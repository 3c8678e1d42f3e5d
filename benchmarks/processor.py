"""How much processor time processes take while they have nothing to do."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from time import sleep


def idle(pids: Mapping[str, int], seconds: float) -> dict[str, float]:
    """The shares of one processor that processes take meanwhile.

    What they started counts as theirs, unless it is one of those processes itself.

    Args:
        pids: The ids of the processes, by a name.
        seconds: For how long to look.
    """
    own = frozenset(pids.values())
    before = {name: _used_below(pid, own) for name, pid in pids.items()}
    sleep(seconds)
    return {name: (_used_below(pid, own) - before[name]) / seconds for name, pid in pids.items()}


def _used_below(pid: int, apart: Collection[int]) -> float:
    """The processor time of a process and of all below it, in seconds."""
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    children = [int(child) for each in tasks for child in each.read_text().split()]
    return used(pid) + sum(_used_below(child, apart) for child in children if child not in apart)


def used(pid: int) -> float:
    """The processor time of a process, and of the children that have ended, in seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / 100
