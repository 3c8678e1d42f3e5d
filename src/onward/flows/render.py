"""Renders a flow as text: as code, as a name, as a tree and as a chart.

`describe` alone knows the text of each kind of node. All forms are made from it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from msgspec import Struct

from onward.flows.annotations import shown
from onward.flows.node import Node
from onward.flows.nodes import (
    Awaits,
    Case,
    Chain,
    Each,
    Finally,
    Fixed,
    Fused,
    Given,
    Identity,
    Keep,
    Named,
    Rescue,
    Sleep,
    Spread,
    Task,
    Tee,
    Together,
    kind,
    parts,
)
from onward.flows.values import decode
from onward.plan import Args
from onward.policy import PLAIN, Policy, notes

_NAME_LIMIT = 100
_CANCELS = "a failure cancels the rest"


class Description(Struct, frozen=True):
    """The text of a node.

    Args:
        title: Its title in a tree or a chart.
        opening: Its code before the code of its first part.
        closing: Its code after the code of its last part.
        between: Its code between the codes of its parts: the same, or one for each place.
        labels: The labels of its parts in a tree, if they need any.
        drawn: How a chart draws it: as one box, its parts in a line, as a fork, in a frame, as a
            rescue, whose second part handles the failures of the first, as a flow and its
            cleanup, or as a choice.
        name: Its name, unless that is its code.
    """

    title: str
    opening: str
    closing: str = ""
    between: str | tuple[str, ...] = ", "
    labels: tuple[str, ...] = ()
    drawn: Literal["box", "line", "fork", "frame", "rescue", "cleanup", "choice"] = "box"
    name: str | None = None


def describe(flow: Node) -> Description:
    """The text of a node, without its parts."""
    match kind(flow):
        case Task(name, _, policy) as task:
            changed = ", ".join(_differences(policy, task.declared or policy))
            code = f"{name}.with_({changed})" if changed else name
            return Description(f"{name}{_brackets(notes(policy))}", code, name=name)
        case Identity():
            return Description("identity", "identity")
        case Given(inner, rest):
            bound = _hidden(rest)
            below = describe(inner)
            return Description(
                f"{below.title} given {', '.join(bound)}" if bound else below.title,
                "given(",
                f"{''.join(f', {each}' for each in bound)})",
                labels=below.labels,
                drawn=below.drawn,
            )
        case Chain():
            return Description("chain", "", between=" >> ", drawn="line")
        case Together(_, on_failure):
            cancels = on_failure == "cancel"
            title = f"together{_brackets([_CANCELS] if cancels else [])}"
            closing = ", on_failure='cancel')" if cancels else ")"
            return Description(title, "together(", closing, drawn="fork")
        case Each(_, limit, chunk, on_failure):
            details = [f"{limit} at a time"] if limit is not None else []
            details += [f"{chunk} to a delivery"] if chunk is not None else []
            options = "" if limit is None else f", limit={limit}"
            options += "" if chunk is None else f", chunk={chunk}"
            if on_failure == "cancel":
                details.append(_CANCELS)
                options += ", on_failure='cancel'"
            return Description(f"each{_brackets(details)}", "each(", f"{options})", drawn="frame")
        case Rescue(_, _, with_input):
            labels = ("try: ", "else: ")
            closing = ", with_input=True)" if with_input else ")"
            title = "rescue with its input" if with_input else "rescue"
            return Description(title, "", closing, ".rescue(", labels, drawn="rescue")
        case Finally():
            labels = ("try: ", "finally: ")
            return Description("finally", "", ")", ".finally_(", labels, drawn="cleanup")
        case Fused(body, policy):
            options = "".join(f", {each}" for each in _differences(policy, PLAIN))
            title, name = f"fused{_brackets(notes(policy))}", name_of(body)
            return Description(title, "fused(", f"{options})", drawn="frame", name=name)
        case Named(_, label) as named:
            title = label if named.limit is None else f"{label} (limit {named.limit})"
            return Description(title, "", f".named({label!r})", drawn="frame", name=label)
        case Keep():
            return Description("keep", "keep(", ")", drawn="frame")
        case Tee():
            return Description("tee", "tee(", ")", drawn="frame")
        case Spread():
            return Description("spread", "spread(", ")", drawn="frame")
        case Fixed(_, args):
            bound = _hidden(args)
            closing = "".join(f", {each}" for each in bound)
            return Description(f"fixed{_brackets(bound)}", "fixed(", f"{closing})", drawn="frame")
        case Sleep(seconds):
            return Description(f"sleep ({seconds:.10g} s)", f"sleep({seconds:.10g})")
        case Awaits(signal, timeout):
            details = [] if timeout is None else [f"for {timeout:.10g} s"]
            options = "" if timeout is None else f", timeout={timeout:.10g}"
            name = f"{signal.name}{_brackets(details)}"
            return Description(f"awaits {name}", f"awaits({signal.name}{options})")
        case Case(kinds):
            first, *others = map(shown, kinds)
            between = tuple(f").case({each}, " for each in others)
            titles = tuple(f"{each}: " for each in (first, *others))
            return Description("case", f"case({first}, ", ")", between, titles, drawn="choice")


def _hidden(args: Args) -> list[str]:
    """Arguments without their values: names are logged, and one may be secret."""
    return ["..."] * len(args.positional) + [f"{name}=..." for name in args.keyword]


def code_of(flow: Node) -> str:
    """The code that makes a flow."""
    node = describe(flow)
    first, *others = parts(flow) or (None,)
    # Without brackets, a method after a chain would be called on its last step.
    write_first = enclosed if node.closing and not node.opening else code_of
    codes = [] if first is None else [write_first(first), *map(code_of, others)]
    if isinstance(node.between, str):
        return f"{node.opening}{node.between.join(codes)}{node.closing}"
    inside = "".join(map("".join, zip(codes, (*node.between, ""), strict=True)))
    return f"{node.opening}{inside}{node.closing}"


def enclosed(flow: Node) -> str:
    """The flow's code, in brackets if a method after it would be called on its last step."""
    code = code_of(flow)
    return f"({code})" if isinstance(flow, Chain) else code


def name_of(flow: Node) -> str:
    """A flow's name, or its code, shortened."""
    if isinstance(flow, Chain):
        steps = flow.steps[: _NAME_LIMIT // len(" >> ")]
        names = [step.name if isinstance(step, Task) else name_of(step) for step in steps]
        text = " >> ".join(names)
    elif isinstance(flow, Task):
        return flow.name
    else:
        node = describe(flow)
        if node.name is not None:
            return node.name
        text = code_of(flow)
    return text if len(text) <= _NAME_LIMIT else f"{text[: _NAME_LIMIT - 3]}..."


def show(flow: Node, args: Args, skip: int = 0) -> str:
    """The text of the values that arguments encode."""
    positional, keyword = decode(flow, args, skip)
    named = [f"{name}={value!r}" for name, value in keyword.items()]
    return ", ".join([*map(repr, positional), *named])


def tree(flow: Node) -> str:
    """A flow as lines of text, with its parts below it."""
    return "\n".join(_branches(flow, "", ""))


def _branches(flow: Node, first: str, rest: str) -> Iterator[str]:
    yield f"{first}{describe(flow).title}"
    inside = _inside(flow)
    for number, (label, part) in enumerate(inside, start=1):
        is_last = number == len(inside)
        yield from _branches(
            part,
            f"{rest}{'└── ' if is_last else '├── '}{label}",
            f"{rest}{'    ' if is_last else '│   '}",
        )


def _inside(flow: Node) -> list[tuple[str, Node]]:
    """The parts to show under a flow, each with its label."""
    if isinstance(flow, Given) or (isinstance(flow, Named) and isinstance(flow.body, Chain)):
        return _inside(*parts(flow))  # its title stands in place of its part's
    inside = parts(flow)
    labels = describe(flow).labels or ("",) * len(inside)
    return list(zip(labels, inside, strict=True))


def chart(flow: Node) -> str:
    """A flow as a Mermaid flowchart."""
    return _Chart().draw(flow)


class _Chart:
    """A Mermaid flowchart in the making."""

    def __init__(self) -> None:
        self._lines = ["flowchart TD"]
        self._count = 0

    def draw(self, flow: Node) -> str:
        self._add(flow, [])
        return "\n".join(self._lines)

    def _add(self, flow: Node, before: list[str]) -> list[str]:
        """Draws a flow after some boxes, and gives the boxes that the next flow follows."""
        if isinstance(flow, Given) and not isinstance(flow.flow, Task):
            return self._add(flow.flow, before)
        node, inside = describe(flow), parts(flow)
        match node.drawn:
            case "box":
                return self._box(node.title, before)
            case "line":
                for part in inside:
                    before = self._add(part, before)
                return before
            case "fork":
                return [end for part in inside for end in self._add(part, before)]
            case "rescue":
                tried = self._add(inside[0], before)
                rescue = self._box(node.title, tried, "-. fails .->")
                return [*tried, *self._add(inside[1], rescue)]
            case "cleanup":
                tried = self._add(inside[0], before)
                return self._add(inside[1], self._box(node.title, tried, "-. ends .->"))
            case "choice":
                ends: list[str] = []
                for label, part in zip(node.labels, inside, strict=True):
                    ends += self._add(part, self._box(label.removesuffix(": "), before))
                return ends
            case "frame":
                self._count += 1
                self._lines.append(f'subgraph g{self._count}["{_quoted(node.title)}"]')
                ends = self._add(inside[0], before)
                self._lines.append("end")
                return ends

    def _box(self, title: str, before: list[str], arrow: str = "-->") -> list[str]:
        self._count += 1
        name = f"n{self._count}"
        self._lines.append(f'{name}["{_quoted(title)}"]')
        self._lines += [f"{one} {arrow} {name}" for one in before]
        return [name]


def _differences(policy: Policy, plain: Policy) -> list[str]:
    return [
        f"{name}={getattr(policy, name)!r}"
        for name in Policy.__struct_fields__
        if getattr(policy, name) != getattr(plain, name)
    ]


def _brackets(details: list[str]) -> str:
    return f" ({', '.join(details)})" if details else ""


def _quoted(text: str) -> str:
    return text.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")
