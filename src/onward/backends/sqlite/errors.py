"""What SQLite and the file system say, as faults with what helps."""

from __future__ import annotations

import sqlite3
from typing import NamedTuple

from onward.backend.loop import Closed
from onward.fault import Conflict, Fault, Misconfigured, TooLarge, Unavailable

PROBLEMS = (sqlite3.Error, sqlite3.Warning, OSError, Closed)
"""The exceptions that say that the file cannot be used."""

_LOCKED = "End the other program's transaction, or keep write transactions short."
_MAY_NOT = "See that this user may read and write it."
_ADVICE = {
    "SQLITE_BUSY": _LOCKED,
    "SQLITE_LOCKED": _LOCKED,
    "SQLITE_READONLY": "Give this user the right to write the file and its folder, on a file "
    "system that is not read-only.",
    "SQLITE_FULL": "Free some space on its disk; what was acknowledged is kept.",
    "SQLITE_CORRUPT": "It is damaged: stop all programs that use it, move it and its -wal file "
    'away, and save what can be read with "sqlite3 OLD .recover | sqlite3 NEW".',
    "SQLITE_NOTADB": "It is no SQLite database, or is damaged: give the path of another file, or "
    "put a copy in its place while all programs that use it are stopped.",
    "SQLITE_CANTOPEN": "See that its folder exists, and that this user may write there.",
    "SQLITE_IOERR": "See whether its disk is full or broken.",
    "SQLITE_PERM": _MAY_NOT,
    "SQLITE_AUTH": _MAY_NOT,
    "SQLITE_NOLFS": "Use another disk: its file system has no large files.",
    "SQLITE_TOOBIG": "Store the data elsewhere and send where it is.",
    "SQLITE_NOMEM": "Give the machine or the container more memory.",
}
"""Advice by the first two words of SQLite's name for the problem."""

LARGEST = 256 * 1024 * 1024
"""How many bytes a call's plan or a step's value may have; SQLite takes no more than 10^9."""

_NO_TABLE = (
    "Its tables are not those of Onward. If they were deleted or changed, move the file away; if "
    "another release of Onward is at work on it, upgrade this one."
)


class Reply(NamedTuple):
    """What came of asking for something about a call.

    Args:
        is_known: Whether there is such a call.
        fault: Why it was not done, if it was not.
    """

    is_known: bool
    fault: Conflict | None = None


class Refused(Exception):
    """The file cannot be used; holds the fault that says why."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.message)
        self.fault = fault


def too_large(task: str, what: str, size: int) -> TooLarge:
    """The fault of a plan or a value that is too large for the file.

    Args:
        task: The task or flow whose it is.
        what: What it is, as in `its value`.
        size: Its size, in bytes.
    """
    return TooLarge(task, f"{what} is too large for a file of calls", size, LARGEST)


def name_of(problem: BaseException) -> str:
    """The first two words of SQLite's name for the problem; empty if it has none."""
    name = getattr(problem, "sqlite_errorname", None) or ""
    return "_".join(name.split("_")[:2])


def is_locked(problem: BaseException) -> bool:
    """Whether another connection has the file locked just now."""
    return name_of(problem) in ("SQLITE_BUSY", "SQLITE_LOCKED")


def fault_of(problem: BaseException, file: str) -> Fault:
    """The fault that one of `PROBLEMS`, or a `Refused`, is.

    Args:
        problem: What was raised.
        file: The file, as people know it.
    """
    if isinstance(problem, Refused):
        return problem.fault
    if isinstance(problem, Closed):
        return Unavailable("", str(problem))
    said = str(problem).rstrip(".")
    if isinstance(problem, OSError):
        said = (problem.strerror or said).lower()
        return Unavailable(
            "", f"{file}: {said}", "See that it exists and that this user may use it."
        )
    name = name_of(problem)
    advice = _ADVICE.get(name, "")
    if not advice and isinstance(problem, sqlite3.OperationalError) and "no such" in said:
        advice = _NO_TABLE
    if isinstance(problem, sqlite3.ProgrammingError | sqlite3.NotSupportedError):
        return Misconfigured("sqlite", f"{file}: {said}")
    return Unavailable("", f"{file}: {said}", advice or "See whether its disk works.")
