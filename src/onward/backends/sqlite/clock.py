"""The time in a file: seconds that all processes of the machine count alike.

People and NTP set a machine's clock, forward and back. Delays, leases and deadlines are measured by
a clock that nobody sets, which counts from when the machine was started. The file has, for each
start, how far that is from 1970; so its time also goes on when the machine is started again.
"""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

from onward.backends.sqlite.executes import Executes

_BOOT = Path("/proc/sys/kernel/random/boot_id")
_NAMESPACE = Path("/proc/self/ns/time")


def steady() -> float:
    """Seconds since the machine was started, in sleep too; since 1970 where it cannot tell."""
    if not boot():
        return time.time()
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def boot() -> str:
    """The id of this start of the machine; empty where the system has none."""
    if not hasattr(time, "CLOCK_BOOTTIME"):
        return ""
    with contextlib.suppress(OSError):
        started = _BOOT.read_text().strip()
        with contextlib.suppress(OSError):  # a container may have a time of its own
            started += f" {_NAMESPACE.readlink()}"
        return started
    return ""


class Clock:
    """The time in a file.

    Args:
        shift: How far it is ahead of the time since the machine was started, in seconds.
        is_steady: Whether the machine tells the time since then.
    """

    def __init__(self, shift: float, *, is_steady: bool) -> None:
        self._shift = shift
        self._is_steady = is_steady

    def now(self) -> float:
        """The time in the file, in seconds."""
        if not self._is_steady:
            return time.time()
        return time.clock_gettime(time.CLOCK_BOOTTIME) + self._shift

    def of(self, moment: float) -> float:
        """When that is in the file.

        Args:
            moment: In seconds since 1970.
        """
        return moment - time.time() + self.now()

    def to_epoch(self, moment: float) -> float:
        """A moment in the file, in seconds since 1970."""
        return moment - self.now() + time.time()


def read_clock(db: Executes) -> Clock | None:
    """The clock of this start of the machine; None if the file has none yet."""
    started = boot()
    if not started:
        return Clock(0.0, is_steady=False)
    row = db.execute("select shift from onward_clock where boot = ?", (started,)).fetchone()
    return None if row is None else Clock(row[0], is_steady=True)


def start_clock(db: Executes) -> None:
    """Writes the clock of this start into the file, never behind the time before."""
    started = boot()
    if not started:
        return
    since = steady()
    [latest] = db.execute("select max(seen) from onward_clock").fetchone()
    now = max(time.time(), latest or 0.0)
    db.execute(
        "insert into onward_clock(boot, shift, seen) values (?, ?, ?) on conflict do nothing",
        (started, now - since, now),
    )


def note_time(db: Executes, now: float) -> None:
    """Notes how late it is, so that the time never goes back."""
    db.execute("update onward_clock set seen = ? where seen < ? and boot = ?", (now, now, boot()))
