"""What the command says, and with which code it ends.

What it was asked for goes to stdout; all else, and why it fails, to stderr.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar
from typing import NoReturn, TypeVar

import msgspec
import typer
from returns.result import Failure, Result
from rich.console import Console
from rich.text import Text

from onward.fault import Fault, Misconfigured, Unsupported

T = TypeVar("T")

FAULT = 1
"""Something went wrong outside of any task's domain, or the user's own code raised."""

USAGE = 2
"""The command is wrong as written. Retrying will not help."""

ERROR = 3
"""A task answered with a domain error."""

NOT_YET = 4
"""There is no outcome yet."""

INTERRUPTED = 130
"""Ctrl-C, as shells have it."""

out: Console = Console(highlight=False, soft_wrap=True)
err: Console = Console(highlight=False, soft_wrap=True, stderr=True)


_IS_FOR_PROGRAM = ContextVar("onward_is_for_program", default=False)


def for_program(is_so: bool) -> bool:
    """Takes note of `--json`."""
    _IS_FOR_PROGRAM.set(is_so)
    return is_so


def say(text: str, style: str = "") -> None:
    """Says something on a line of its own."""
    out.print(Text(text, style))


def say_json(data: Mapping[str, object]) -> None:
    """Prints data as one line of JSON."""
    typer.echo(msgspec.json.encode(data))


def warn(text: str) -> None:
    """Says on one line of stderr what is wrong, or what to do."""
    err.print(Text.assemble(("onward: ", "bold red"), " ".join(text.split())))


def end(code: int, message: str, cause: BaseException | None = None) -> NoReturn:
    """Ends the command, with what is wrong and what to do about it on one line."""
    warn(message)
    raise typer.Exit(code) from cause


def fail(fault: Fault) -> NoReturn:
    """Ends the command with a fault, which is on stdout too if that is for a program."""
    if _IS_FOR_PROGRAM.get():
        say_json({"fault": data_of_fault(fault)})
    end(code_of(fault), str(fault))


def data_of_fault(fault: Fault) -> dict[str, object]:
    """A fault as JSON data."""
    fields: dict[str, object] = msgspec.to_builtins(fault)
    return {"type": type(fault).__name__, **fields, "cure": fault.cure}


def got(answer: Result[T, Fault]) -> T:
    """What was answered; ends the command where that is a fault."""
    if isinstance(answer, Failure):
        fail(answer.failure())
    return answer.unwrap()


def code_of(fault: Fault) -> int:
    """The exit code for a fault."""
    return USAGE if isinstance(fault, Misconfigured | Unsupported) else FAULT
