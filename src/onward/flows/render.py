"""A flow as text: as the code that makes it, as a name, as a tree and as a chart.

`words` is the one function that knows how each kind of node reads; every form is made of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, NamedTuple

from onward.flows.nodes import (
    Chain,
    Each,
    Fused,
    Given,
    Identity,
    Keep,
    Named,
    Node,
    Rescue,
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


class Words(NamedTuple):
    """How a node reads.

    Args:
        title: What a tree or a chart calls it.
        opening: Its code up to the code of its first part.
        closing: Its code after that of its last part.
        between: Its code between those of its parts.
        labels: What each part is, where a tree has to say so.
        drawn: How a chart has its parts: as one box, one after the other, side by side, in a
            frame, or with the second for the failures of the first.
        name: What people know it by, where that is not its code.
    """

    title: str
    opening: str
    closing: str = ""
    between: str = ", "
    labels: tuple[str, ...] = ()
    drawn: Literal["box", "line", "fork", "frame", "rescue"] = "box"
    name: str | None = None


def words(flow: Node) -> Words:
    """How a node reads, without its parts."""
    match kind(flow):
        case Task(name, _, policy) as task:
            changed = ", ".join(_differences(policy, task.declared or policy))
            code = f"{name}.with_({changed})" if changed else name
            return Words(f"{name}{_brackets(notes(policy))}", code, name=name)
        case Identity():
            return Words("identity", "identity")
        case Given(inner, rest):
            # Not their values: names are logged, and one may be secret.
            brought = ["..."] * len(rest.positional) + [f"{name}=..." for name in rest.keyword]
            below = words(inner)
            return Words(
                f"{below.title} given {', '.join(brought)}" if brought else below.title,
                "given(",
                f"{''.join(f', {each}' for each in brought)})",
                labels=below.labels,
                drawn=below.drawn,
            )
        case Chain():
            return Words("chain", "", between=" >> ", drawn="line")
        case Together():
            return Words("together", "together(", ")", drawn="fork")
        case Each(_, limit, chunk):
            said = [f"{limit} at a time"] if limit is not None else []
            said += [f"{chunk} to a delivery"] if chunk is not None else []
            options = "" if limit is None else f", limit={limit}"
            options += "" if chunk is None else f", chunk={chunk}"
            return Words(f"each{_brackets(said)}", "each(", f"{options})", drawn="frame")
        case Rescue():
            labels = ("try: ", "else: ")
            return Words("rescue", "", ")", ".rescue(", labels, drawn="rescue")
        case Fused(body, policy):
            options = "".join(f", {each}" for each in _differences(policy, PLAIN))
            title, name = f"fused{_brackets(notes(policy))}", name_of(body)
            return Words(title, "fused(", f"{options})", drawn="frame", name=name)
        case Named(_, label):
            return Words(label, "", f".named({label!r})", drawn="frame", name=label)
        case Keep():
            return Words("keep", "keep(", ")", drawn="frame")
        case Tee():
            return Words("tee", "tee(", ")", drawn="frame")


def code_of(flow: Node) -> str:
    """A flow as the code that makes it."""
    read = words(flow)
    first, *others = parts(flow) or (None,)
    # What follows a chain's code as a method would be taken for its last step's.
    write_first = enclosed if read.closing and not read.opening else code_of
    codes = [] if first is None else [write_first(first), *map(code_of, others)]
    return f"{read.opening}{read.between.join(codes)}{read.closing}"


def enclosed(flow: Node) -> str:
    """The flow's code, in brackets where what follows would else be taken for its last step's."""
    code = code_of(flow)
    return f"({code})" if isinstance(flow, Chain) else code


def name_of(flow: Node) -> str:
    """What people know a flow by."""
    if isinstance(flow, Chain):
        text = ""
        for step in flow.steps:
            text += f" >> {name_of(step)}" if text else name_of(step)
            if len(text) > _NAME_LIMIT:
                break
    else:
        read = words(flow)
        if read.name is not None:
            return read.name
        text = code_of(flow)
    return text if len(text) <= _NAME_LIMIT else f"{text[: _NAME_LIMIT - 3]}..."


def show(flow: Node, args: Args, skip: int = 0) -> str:
    """Encoded arguments as the text of the values that they were made of."""
    positional, keyword = decode(flow, args, skip)
    named = [f"{name}={value!r}" for name, value in keyword.items()]
    return ", ".join([*map(repr, positional), *named])


def tree(flow: Node) -> str:
    """A flow as lines of text, each part below what it is a part of."""
    return "\n".join(_branches(flow, "", ""))


def _branches(flow: Node, first: str, rest: str) -> Iterator[str]:
    yield f"{first}{words(flow).title}"
    inside = _inside(flow)
    for number, (label, part) in enumerate(inside, start=1):
        is_last = number == len(inside)
        yield from _branches(
            part,
            f"{rest}{'└── ' if is_last else '├── '}{label}",
            f"{rest}{'    ' if is_last else '│   '}",
        )


def _inside(flow: Node) -> list[tuple[str, Node]]:
    """The parts to show under a flow, each with what it is."""
    if isinstance(flow, Given) or (isinstance(flow, Named) and isinstance(flow.body, Chain)):
        return _inside(*parts(flow))  # it has their line for its own
    inside = parts(flow)
    labels = words(flow).labels or ("",) * len(inside)
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
        """Draws a flow after some boxes; gives the boxes that what comes next goes after."""
        if isinstance(flow, Given) and not isinstance(flow.flow, Task):
            return self._add(flow.flow, before)
        read, inside = words(flow), parts(flow)
        match read.drawn:
            case "box":
                return self._box(read.title, before)
            case "line":
                for part in inside:
                    before = self._add(part, before)
                return before
            case "fork":
                return [end for part in inside for end in self._add(part, before)]
            case "rescue":
                tried = self._add(inside[0], before)
                rescue = self._box(read.title, tried, "-. fails .->")
                return [*tried, *self._add(inside[1], rescue)]
            case "frame":
                self._count += 1
                self._lines.append(f'subgraph g{self._count}["{_quoted(read.title)}"]')
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


def _brackets(said: list[str]) -> str:
    return f" ({', '.join(said)})" if said else ""


def _quoted(text: str) -> str:
    return text.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")
