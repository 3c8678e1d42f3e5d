"""The `--help` of a target: its parameters and its structure."""

from __future__ import annotations

import inspect
from collections.abc import Mapping

from rich.table import Table
from rich.text import Text

from onward.cli.arguments import Parameter, parameters
from onward.cli.console import out
from onward.explaining import explain
from onward.flows.flow import AnyFlow, Task

_STARS: Mapping[object, str] = {
    inspect.Parameter.VAR_POSITIONAL: "*",
    inspect.Parameter.VAR_KEYWORD: "**",
}


def show_usage(command: str, target: str, flow: AnyFlow, ours: set[str]) -> None:
    """Shows how to call a target.

    Args:
        command: The command that calls it.
        target: The target, as it was written.
        flow: The flow.
        ours: The options of the command itself, which hide options of the flow with these names.
    """
    known = parameters(flow)
    words = " ".join(_word(each) for each in known)
    out.print(Text(f"Usage: onward {command} {target} {words}".rstrip(), "bold"))
    about = inspect.getdoc(flow.fn) if isinstance(flow, Task) else None
    if about:
        out.print(Text(f"\n{about.partition(chr(10) * 2)[0]}"))
    if known:
        out.print(Text("\nTakes"))
        table = Table(box=None, show_header=False, pad_edge=True, padding=(0, 2, 0, 0))
        for each in known:
            table.add_row(
                Text(f"  {_STARS.get(each.python.kind, '')}{each.python.name}", "cyan"),
                Text(each.type),
                Text(_note(each)),
                Text(_option(each, ours), "dim"),
            )
        out.print(table)
    out.print(Text("\nIs made of"))
    for line in explain(flow).splitlines():
        out.print(Text(f"  {line}"))
    texts = "Write text, numbers, true and false as they are, and everything else as JSON."
    out.print(Text(f"\n{texts}\nThe options of the command itself: onward {command} --help", "dim"))


def _word(parameter: Parameter) -> str:
    name = parameter.python.name.upper()
    if parameter.python.kind is inspect.Parameter.VAR_POSITIONAL:
        return f"[{name}…]"
    if parameter.python.kind is inspect.Parameter.VAR_KEYWORD:
        return "[--NAME VALUE…]"
    if parameter.python.kind is inspect.Parameter.KEYWORD_ONLY:
        word = parameter.option if parameter.is_flag else f"{parameter.option} {name}"
    else:
        word = name
    return word if parameter.python.default is inspect.Parameter.empty else f"[{word}]"


def _note(parameter: Parameter) -> str:
    if parameter.python.kind in _STARS:
        return "any number"
    if parameter.python.default is inspect.Parameter.empty:
        return "required"
    return f"{parameter.python.default!r} if not given"


def _option(parameter: Parameter, ours: set[str]) -> str:
    if parameter.python.kind in _STARS:
        return ""
    option = f"{parameter.option}/--no-{parameter.option[2:]}"
    option = option if parameter.is_flag else parameter.option
    return f"-- {option}" if parameter.option in ours else option
