"""Waiting for the outcome of a call."""

from __future__ import annotations

import contextlib
from collections.abc import Generator

from returns.result import Failure

from onward.backend import Backend
from onward.cli.console import INTERRUPTED, NOT_YET, end, fail
from onward.outcome import Outcome


def outcome_of(backend: Backend, id: str, timeout: float | None) -> Outcome:
    """The outcome of a call; ends the command if there is none so soon, or nobody knows it."""
    with leaving(id):
        answer = backend.outcome(id, timeout)
    if isinstance(answer, Failure):
        fail(answer.failure())
    outcome = answer.unwrap()
    if outcome is None:
        end(NOT_YET, f"no outcome after {timeout:g} s; it goes on: onward result {id}")
    return outcome


@contextlib.contextmanager
def leaving(id: str) -> Generator[None]:
    """Ends the command at Ctrl-C, which does not end the call."""
    try:
        yield
    except KeyboardInterrupt:
        end(INTERRUPTED, f"no longer waiting; the call goes on: onward result {id}")
