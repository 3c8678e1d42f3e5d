"""What a flow is made of, for people to look at."""

from __future__ import annotations

from typing import Literal, cast

from onward.backend import Backend, Explains
from onward.combine import Each, Fused, Given, Together
from onward.flow import AnyFlow, Call, Chain, Flow, Named, Rescue, Task, as_flow
from onward.plan import VERSION, Plan
from onward.policy import Policy


def explain(
    flow: Flow[..., object, object] | Call[object, object],
    /,
    *,
    form: Literal["tree", "mermaid"] = "tree",
    on: Backend | None = None,
) -> str:
    """Shows what a flow is made of, in the order in which it runs.

    Args:
        flow: A flow, or a call of one.
        form: `tree` for lines of text, `mermaid` for a Mermaid flowchart.
        on: Shows it in the terms of this backend's engine instead, where it has its own.

    Raises:
        ValueError: If there is no such form.

    Example:
        >>> from onward import each, explain, task
        >>> @task
        ... def split(text: str) -> list[str]:
        ...     return text.split()
        >>> @task(timeout=5)
        ... def length(word: str) -> int:
        ...     return len(word)
        >>> print(explain(split >> each(length, limit=4)))
        chain
        ├── split
        └── each (4 at a time)
            └── length (timeout 5 s)
    """
    shown = as_flow(flow.flow if isinstance(flow, Call) else flow)
    if on is not None and hasattr(on, "explain"):
        plan = Plan(v=VERSION, flow=shown.name, root=shown.node)
        return cast(Explains, on).explain(plan)
    if form == "tree":
        return "\n".join(_tree(shown, "", ""))
    if form == "mermaid":
        return _Chart().draw(shown)
    raise ValueError(f"form is 'tree' or 'mermaid', not {form!r}")


def _title(flow: AnyFlow) -> str:
    match flow:
        case Task():
            return f"{flow.name}{_notes(flow.policy)}"
        case Given():
            title = _title(flow.flow)
            return f"{title} given {', '.join(flow.shown)}" if flow.shown else title
        case Chain():
            return "chain"
        case Together():
            return "together"
        case Each():
            notes = [f"{flow.limit} at a time"] if flow.limit is not None else []
            notes += [f"{flow.chunk} to a delivery"] if flow.chunk is not None else []
            return f"each{_brackets(notes)}"
        case Rescue():
            return "rescue"
        case Fused():
            return f"fused{_notes(flow.policy)}"
        case Named():
            return flow.label
        case _:
            return repr(flow)


def _inside(flow: AnyFlow) -> tuple[tuple[str, AnyFlow], ...]:
    """The flows to show under a flow, each with what its part is."""
    match flow:
        case Given(inner, _):
            return _inside(inner)
        case Rescue(body, handler):
            return (("try: ", body), ("else: ", handler))
        case Named(body, _) if isinstance(body, Chain):
            return _inside(body)
        case _:
            return tuple(("", part) for part in flow.parts())


def _tree(flow: AnyFlow, first: str, rest: str) -> list[str]:
    lines = [f"{first}{_title(flow)}"]
    inside = _inside(flow)
    for index, (label, part) in enumerate(inside):
        is_last = index == len(inside) - 1
        lines += _tree(
            part,
            f"{rest}{'└── ' if is_last else '├── '}{label}",
            f"{rest}{'    ' if is_last else '│   '}",
        )
    return lines


def _notes(policy: Policy) -> str:
    notes = [f"{policy.retry.attempts} attempts"] if policy.retry.attempts > 1 else []
    notes += [f"timeout {policy.timeout:g} s"] if policy.timeout is not None else []
    notes += [f"queue {policy.queue}"] if policy.queue is not None else []
    notes += [f"priority {policy.priority}"] if policy.priority is not None else []
    return _brackets(notes)


def _brackets(notes: list[str]) -> str:
    return f" ({', '.join(notes)})" if notes else ""


class _Chart:
    """A Mermaid flowchart in the making."""

    def __init__(self) -> None:
        self._lines = ["flowchart TD"]
        self._count = 0

    def draw(self, flow: AnyFlow) -> str:
        self._add(flow, [])
        return "\n".join(self._lines)

    def _add(self, flow: AnyFlow, before: list[str]) -> list[str]:
        """Draws a flow after some nodes; gives the nodes that what comes next goes after."""
        match flow:
            case Chain():
                for step in flow.steps:
                    before = self._add(step, before)
                return before
            case Together(branches):
                return [end for branch in branches for end in self._add(branch, before)]
            case Rescue(body, handler):
                tried = self._add(body, before)
                rescued = self._box(handler, tried, "-. fails .->")
                return [*tried, *rescued]
            case Named() | Each() | Fused():
                self._count += 1
                self._lines.append(f'subgraph g{self._count}["{_quoted(_title(flow))}"]')
                ends = self._add(flow.parts()[0], before)
                self._lines.append("end")
                return ends
            case Given(inner, _) if not isinstance(inner, Task):
                return self._add(inner, before)
            case _:
                return self._node(_title(flow), before, "-->")

    def _box(self, flow: AnyFlow, before: list[str], arrow: str) -> list[str]:
        start = self._node("rescue", before, arrow)
        return self._add(flow, start)

    def _node(self, title: str, before: list[str], arrow: str) -> list[str]:
        self._count += 1
        name = f"n{self._count}"
        self._lines.append(f'{name}["{_quoted(title)}"]')
        self._lines += [f"{one} {arrow} {name}" for one in before]
        return [name]


def _quoted(text: str) -> str:
    return text.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")
