"""Waits for the outcome of a call."""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Generator
from pathlib import Path
from typing import NoReturn
from urllib.parse import unquote

from onward.backend import Backend
from onward.cli.console import INTERRUPTED, NOT_YET, end, value_of
from onward.fault import Unavailable
from onward.outcome import Outcome
from onward.sealing import incoming

ENDS_HERE = "the call ends with this process, because local:// runs in it"


def goes_on(id: str, on: str | None, config: Path | None) -> str:
    """The message that a call goes on, with a command that asks for its outcome.

    It leaves out a URL with a password.
    """
    words = ["onward", "result", shlex.quote(id)]
    if on is not None:
        words += ["--on", "…" if "@" in unquote(on) else shlex.quote(on)]
    elif config is not None:
        words += ["--config", shlex.quote(str(config))]
    return f"the call goes on: {' '.join(words)}"


def away(fault: Unavailable) -> str:
    """The message that the command waits for an engine."""
    return f"waiting for the engine, which is away: {fault.message}"


def outcome_of(backend: Backend, id: str, timeout: float | None, then: str) -> Outcome:
    """The outcome of a call; ends the command after the timeout, or if the id is unknown.

    Args:
        backend: The backend that the call was submitted to.
        id: The call's id.
        timeout: How long to wait, in seconds.
        then: A message about what becomes of the call if the command ends first.
    """
    with leaving(then):
        outcome = value_of(incoming(backend, backend.outcome(id, timeout)))
    return outcome or not_yet(timeout, then)


def not_yet(timeout: float | None, then: str) -> NoReturn:
    """Ends the command after the timeout."""
    end(NOT_YET, f"no outcome after {timeout:g} s; {then}")


@contextlib.contextmanager
def leaving(then: str) -> Generator[None]:
    """Ends the command, but not the call, at Ctrl-C."""
    try:
        yield
    except KeyboardInterrupt:
        end(INTERRUPTED, f"no longer waiting; {then}")
