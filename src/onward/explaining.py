"""`explain`, which shows the structure of a flow."""

from __future__ import annotations

from typing import Literal, cast

from onward.backend import Backend, Explains
from onward.flows import render
from onward.flows.flow import Call, Flow, as_flow
from onward.plan import Plan, version_of


def explain(
    flow: Flow[..., object, object] | Call[object, object],
    /,
    *,
    form: Literal["tree", "mermaid"] = "tree",
    on: Backend | None = None,
) -> str:
    """Shows the structure of a flow, in the order in which it runs.

    Args:
        flow: A flow, or a call of one.
        form: `tree` for lines of text, `mermaid` for a Mermaid flowchart.
        on: A backend. If its engine has its own terms, the flow is shown in these instead.

    Returns:
        The text.

    Raises:
        TypeError: If it is neither a flow nor a call.
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
        plan = Plan(v=version_of(shown.node), flow=shown.name, root=shown.node)
        return cast(Explains, on).explain(plan)
    if form == "tree":
        return render.tree(shown)
    if form == "mermaid":
        return render.chart(shown)
    raise ValueError(f"form is 'tree' or 'mermaid', not {form!r}")
