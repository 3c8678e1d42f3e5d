"""Writes what happens in a call into its record in memory, in lines as `log_scripts` describes."""

from __future__ import annotations

import time

from onward.backends.celery.log_scripts import KEPT_ATTEMPTS
from onward.backends.celery.records import FailedAttempt

_MOST_LINES = 100
"""How many attempts at a step, or rather their times, are kept."""


def log_begun(record: dict[str, bytes], at: str, holder: str, number: float) -> None:
    """Notes the beginning of an attempt at a step, or of a wait.

    Args:
        record: The record of the call.
        at: The path of the step or the wait.
        holder: The name of the delivery that makes the attempt.
        number: The number of the attempt; for a wait, when it ends at the latest.
    """
    lines = record.get(f"l:{at}", b"").split(b"\n")[-_MOST_LINES:]
    line = f"{at} {holder} {number} {time.time():.3f}".encode()
    record[f"l:{at}"] = b"\n".join([*lines, line])


def log_ended(record: dict[str, bytes], at: str, holder: str, *, is_end: bool = False) -> None:
    """Notes the end of an attempt, or of a wait; the arguments are those of `log_begun`.

    Args:
        record: The record of the call.
        at: The path of the step or the wait.
        holder: The name of the delivery that has made the attempt.
        is_end: Whether its outcome is that of the call.
    """
    if f"l:{at}" not in record:
        return
    begins = f"{at} {holder} ".encode()
    ended = f" {time.time():.3f}{'=' if is_end else ''}".encode()
    lines = record[f"l:{at}"].split(b"\n")
    changed = [line + ended if line.startswith(begins) else line for line in lines]
    record[f"l:{at}"] = b"\n".join(changed)


def log_failed(record: dict[str, bytes], at: str, holder: str, failed: FailedAttempt) -> None:
    """Notes how an attempt ended that another one may follow."""
    log_ended(record, at, holder)
    record[f"e:{at}:{failed.number}"] = failed.outcome
    record.pop(f"e:{at}:{failed.number - KEPT_ATTEMPTS}", None)
