"""Waiting for the outcome of a call."""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Generator
from pathlib import Path
from typing import NoReturn
from urllib.parse import unquote

from onward.backend import Backend
from onward.cli.console import INTERRUPTED, NOT_YET, end, got
from onward.fault import Unavailable
from onward.outcome import Outcome
from onward.sealing import incoming

ENDS_HERE = "the call ends with this process: local:// has no other"


def goes_on(id: str, on: str | None, config: Path | None) -> str:
    """Says that a call goes on, and how to ask for its outcome where this command was told to.

    A URL that has a password is left out.
    """
    words = ["onward", "result", shlex.quote(id)]
    if on is not None:
        words += ["--on", "…" if "@" in unquote(on) else shlex.quote(on)]
    elif config is not None:
        words += ["--config", shlex.quote(str(config))]
    return f"the call goes on: {' '.join(words)}"


def away(fault: Unavailable) -> str:
    """Says that an engine is waited for."""
    return f"the engine is away, and is waited for: {fault.message}"


def outcome_of(backend: Backend, id: str, timeout: float | None, then: str) -> Outcome:
    """The outcome of a call; ends the command if there is none so soon, or nobody knows it.

    Args:
        backend: Where it was submitted.
        id: Its id.
        timeout: How long to wait, in seconds.
        then: What becomes of the call if the command ends first.
    """
    with leaving(then):
        outcome = got(incoming(backend, backend.outcome(id, timeout)))
    return outcome or not_yet(timeout, then)


def not_yet(timeout: float | None, then: str) -> NoReturn:
    """Ends the command after so many seconds."""
    end(NOT_YET, f"no outcome after {timeout:g} s; {then}")


@contextlib.contextmanager
def leaving(then: str) -> Generator[None]:
    """Ends the command at Ctrl-C, which does not end the call."""
    try:
        yield
    except KeyboardInterrupt:
        end(INTERRUPTED, f"no longer waiting; {then}")
