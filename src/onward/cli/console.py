"""The command's output and exit codes.

Answers go to stdout. Everything else, errors included, goes to stderr.
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
"""A fault, or an exception in the user's own module."""

USAGE = 2
"""The command is wrong as written. Retrying will not help."""

ERROR = 3
"""A task returned a domain error."""

NOT_YET = 4
"""There is no outcome yet."""

INTERRUPTED = 130
"""Ctrl-C, as in shells."""

out: Console = Console(highlight=False, soft_wrap=True)
err: Console = Console(highlight=False, soft_wrap=True, stderr=True)


_IS_FOR_PROGRAM = ContextVar("onward_is_for_program", default=False)


def for_program(is_so: bool) -> bool:
    """Remembers `--json`."""
    _IS_FOR_PROGRAM.set(is_so)
    return is_so


def say(text: str, style: str = "") -> None:
    """Prints one line."""
    out.print(Text(text, style))


def say_json(data: Mapping[str, object]) -> None:
    """Prints data as one line of JSON."""
    typer.echo(msgspec.json.encode(data))


def warn(text: str) -> None:
    """Prints a problem, or what to do about it, as one line on stderr."""
    err.print(Text.assemble(("onward: ", "bold red"), " ".join(text.split())))


def end(code: int, message: str, cause: BaseException | None = None) -> NoReturn:
    """Ends the command with a message on one line."""
    warn(message)
    raise typer.Exit(code) from cause


def fail(fault: Fault) -> NoReturn:
    """Ends the command with a fault, also on stdout after `--json`."""
    if _IS_FOR_PROGRAM.get():
        say_json({"fault": data_of_fault(fault)})
    end(code_of(fault), str(fault))


def data_of_fault(fault: Fault) -> dict[str, object]:
    """A fault as JSON data."""
    fields: dict[str, object] = msgspec.to_builtins(fault)
    return {"type": type(fault).__name__, **fields, "cure": fault.cure}


def value_of(answer: Result[T, Fault]) -> T:
    """The value of an answer; ends the command if it is a fault."""
    if isinstance(answer, Failure):
        fail(answer.failure())
    return answer.unwrap()


def code_of(fault: Fault) -> int:
    """The exit code for a fault."""
    return USAGE if isinstance(fault, Misconfigured | Unsupported) else FAULT
