"""Shows what happened in a call: as a tree, as JSON data, or as a chart."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime

from msgspec import Raw, Struct, field
from rich.text import Text
from rich.tree import Tree

from onward.backend import AttemptRecord, CallRecord, StepRecord
from onward.cli.records import (
    data_of_call,
    data_of_step,
    data_or_none,
    name_of,
    seconds,
    short,
    text_of,
    when,
)
from onward.fault import Raised
from onward.interpret.recorded import Recorded, named, named_at
from onward.outcome import Faulted, Outcome, Value
from onward.past import branch_at, places_of, standing
from onward.plan import Plan
from onward.sealing import changed_plan
from onward.secret import masked

_STYLES = {"✓": "green", "✗": "red", "▸": "yellow", "·": "dim"}
_CLASSES = {"✓": "done", "✗": "failed", "▸": "open", "·": "ahead"}


class Place(Struct):
    """A place within a call: what happened at it, and the places within it.

    Args:
        step: The step or the wait at it; None if it only holds others.
        taken_over: Whether its outcome is another call's, which this one continues.
        is_ahead: Whether it has not begun.
        inner: The places within it, by the next part of their paths.
    """

    step: StepRecord | None = None
    taken_over: bool = False
    is_ahead: bool = False
    inner: dict[str, Place] = field(default_factory=dict)

    @property
    def sign(self) -> str:
        """What became of its step, as one letter."""
        if self.is_ahead or self.step is None:
            return "·"
        if self.step.outcome is None:
            return "▸"
        return "✓" if isinstance(self.step.outcome, Value) else "✗"

    def at(self, parts: Sequence[str]) -> Place:
        """The place at the parts of a path within this one, made if there is none."""
        place = self
        for part in parts:
            place = place.inner.setdefault(part, Place())
        return place

    @property
    def has_begun(self) -> bool:
        """Whether anything at it or within it has begun."""
        is_begun = self.step is not None and not self.is_ahead
        return is_begun or any(inner.has_begun for inner in self.inner.values())

    def ordered(self) -> list[tuple[str, Place]]:
        """The places within it, in the order of the flow."""
        return sorted(self.inner.items(), key=lambda pair: _rank(pair[0]))


def _rank(part: str) -> tuple[int, str]:
    index = part.strip("[]")
    return (int(index), "") if index.isdigit() else (0 if part == "try" else 1, part)


def places(found: Recorded) -> Place:
    """All places of a call: where something happened or was taken over, and what is ahead."""
    root = Place()
    for step, taken_over in all_steps(found):
        place = root.at(places_of(step.path))
        place.step, place.taken_over = step, taken_over
    if found.plan is not None and not isinstance(found.outcome, Value):
        _add_ahead(root, found.plan)
    return root


def _add_ahead(root: Place, plan: Plan) -> None:
    """Adds the steps and waits that have not begun, but for those that may never.

    These are handlers, and the other branches of a case.
    """
    for parts, node in list(standing(plan.root)):
        path = "".join(each if each.startswith("[") else f".{each}" for each in parts).lstrip(".")
        if "rescue" in parts or _is_settled(root, plan, parts):
            continue
        place = root.at(parts)
        if place.step is None:
            place.step = StepRecord(path, *named(node, plan.flow))
            place.is_ahead = True


def _is_settled(root: Place, plan: Plan, parts: Sequence[str]) -> bool:
    """Whether the items of an each have begun, or another branch of a case than that of a path."""
    place = root
    for index, part in enumerate(parts):
        begun = {name for name, inner in place.inner.items() if inner.has_begun}
        path = ".".join(parts[: index + 1])
        is_choice = part == "[…]" or branch_at(plan.root, path).replace(".", "") == "".join(
            parts[: index + 1]
        )
        if is_choice and begun - {part}:
            return True
        if part not in place.inner:
            return False
        place = place.inner[part]
    return False


def all_steps(found: Recorded) -> Iterator[tuple[StepRecord, bool]]:
    """The steps and waits of a call, and whether it took them over."""
    plan = found.plan
    if plan is not None and plan.past is not None:
        for path, outcome in plan.past.outcomes.items():
            if path not in found.steps:
                task, kind = named_at(plan, path)
                yield StepRecord(path, task, kind, outcome), True
    for step in found.steps.values():
        yield step, False


# -- a tree -----------------------------------------------------------------------------------


def tree(found: Recorded, *, tracebacks: bool) -> Tree:
    """The call as a tree of its steps, with their times, attempts and faults.

    Args:
        found: The call.
        tracebacks: Whether to show the tracebacks of exceptions.
    """
    made = Tree(_title(found.call, found.plan), guide_style="dim")
    _grow(made, places(found), "", tracebacks=tracebacks)
    shown = any(step.outcome == found.outcome for step, _ in all_steps(found))
    if found.outcome is not None and not isinstance(found.outcome, Value) and not shown:
        made.add(Text.assemble(("✗ ", "red"), text_of(found.outcome)))
    return made


def _title(call: CallRecord, plan: Plan | None) -> Text:
    title = Text.assemble((call.flow, "bold"), f"  {call.id}  ", (call.state, "bold"))
    if call.submitted is not None:
        title.append(f"\nsubmitted {when(call.submitted)}{_after(call.submitted, call.ended)}")
    if call.tags:
        title.append(f"\ntags: {', '.join(call.tags)}")
    if plan is not None and plan.past is not None:
        of_another = plan.past.origin not in ("", plan.id)
        title.append(f"\ncontinues {plan.past.origin}" if of_another else "\na fork")
    return title


def _after(start: datetime, end: datetime | None) -> str:
    return "" if end is None else f", ended after {seconds(start, end)}"


def _grow(branch: Tree, place: Place, path: str, *, tracebacks: bool) -> None:
    for part, inner in place.ordered():
        joined = f"{path}.{part}" if path and not part.startswith("[") else f"{path}{part}"
        if inner.step is None:
            twig = branch.add(Text(joined, "dim"))
        else:
            twig = branch.add(_line(inner, inner.step))
            _attempts(twig, inner.step, tracebacks=tracebacks)
        _grow(twig, inner, joined, tracebacks=tracebacks)


def _line(place: Place, step: StepRecord) -> Text:
    sign = place.sign
    parts: list[str | tuple[str, str]] = [(f"{sign} ", _STYLES[sign]), (f"{step.path}  ", "dim")]
    parts.append((name_of(step), "dim" if place.is_ahead else "bold"))
    if place.taken_over:
        parts.append(("  taken over", "dim"))
    if step.began is not None:
        parts.append((f"  {when(step.began)}", "dim"))
        if step.ended is not None:
            parts.append(f"  {seconds(step.began, step.ended)}")
        elif step.until is not None:
            parts.append(f"  until {when(step.until)}")
    if len(step.attempts) > 1:
        parts.append((f"  {len(step.attempts)} attempts", "yellow"))
    elif step.attempts and step.attempts[0].worker:
        parts.append((f"  {step.attempts[0].worker}", "dim"))
    return Text.assemble(*parts)


def _attempts(twig: Tree, step: StepRecord, *, tracebacks: bool) -> None:
    for each in step.attempts if len(step.attempts) > 1 else ():
        twig.add(_attempt(each))
        if tracebacks:
            _traceback(twig, each.outcome)
    last = step.attempts[-1].outcome if step.attempts else None
    if step.outcome is None or isinstance(step.outcome, Value):
        return
    if len(step.attempts) <= 1 or step.outcome != last:
        twig.add(Text(text_of(step.outcome), "red"))
        if tracebacks:
            _traceback(twig, step.outcome)


def _attempt(attempt: AttemptRecord) -> Text:
    parts: list[str | tuple[str, str]] = [f"attempt {attempt.number}"]
    if attempt.began is not None and attempt.ended is not None:
        parts.append(f"  {seconds(attempt.began, attempt.ended)}")
    if attempt.worker:
        parts.append((f"  {attempt.worker}", "dim"))
    if attempt.outcome is None:
        parts.append(("  no outcome", "yellow"))
    elif not isinstance(attempt.outcome, Value):
        parts.append((f"  {text_of(attempt.outcome)}", "red"))
    return Text.assemble(*parts)


def _traceback(twig: Tree, outcome: Outcome | None) -> None:
    if isinstance(outcome, Faulted):
        fault = outcome.fault
        if isinstance(fault, Raised) and fault.traceback:
            twig.add(Text(fault.traceback.rstrip(), "dim"))


# -- data -------------------------------------------------------------------------------------


def data_of_history(found: Recorded) -> dict[str, object]:
    """What happened in a call as JSON data, without secrets."""
    plan = found.plan
    signals: Mapping[str, Raw] = {name: Raw(masked(raw)) for name, raw in found.signals.items()}
    return {
        **data_of_call(found.call.id, found.call),
        "origin": found.call.id if plan is None else plan.origin,
        "outcome": data_or_none(found.outcome),
        "signals": signals,
        "steps": [data_of_step(step, taken_over=over) for step, over in all_steps(found)],
        "plan": None if plan is None else changed_plan(plan, lambda raw: Raw(masked(raw))),
    }


# -- a chart ----------------------------------------------------------------------------------


def chart(found: Recorded) -> str:
    """The steps of a call as a Mermaid flowchart, coloured by what became of them."""
    lines = ["flowchart TD"]
    _draw(lines, places(found), [])
    lines += [
        "classDef done stroke:#2a2",
        "classDef failed stroke:#c22",
        "classDef open stroke:#ca0,stroke-dasharray:4",
        "classDef ahead stroke:#999,color:#777,stroke-dasharray:2",
    ]
    return "\n".join(lines)


def _draw(lines: list[str], place: Place, before: list[str], arrow: str = "-->") -> list[str]:
    """Draws a place after some boxes, and gives the boxes that the next place follows."""
    if place.step is not None:
        name = f"n{len(lines)}"
        title = f"{name_of(place.step)}{_note(place)}"
        lines.append(f'{name}["{_quoted(title)}"]:::{_CLASSES[place.sign]}')
        lines += [f"{one} {arrow} {name}" for one in before]
        before, arrow = [name], "-->"
    ends: list[str] = []
    for part, inner in place.ordered():
        if part.startswith("["):  # a branch beside the others
            ends += _draw(lines, inner, before, arrow)
            continue
        if part in ("rescue", "finally"):
            arrow = "-. fails .->" if part == "rescue" else "-. ends .->"
        before = _draw(lines, inner, before, arrow)
        arrow = "-->"
    return ends or before


def _note(place: Place) -> str:
    step = place.step
    if step is None:
        return ""
    notes = [f"{len(step.attempts)} attempts"] if len(step.attempts) > 1 else []
    if place.taken_over:
        notes.append("taken over")
    elif step.began is not None and step.ended is not None:
        notes.append(seconds(step.began, step.ended))
    if step.outcome is not None and not isinstance(step.outcome, Value):
        notes.append(short(text_of(step.outcome)))
    return f" ({', '.join(notes)})" if notes else ""


def _quoted(text: str) -> str:
    return text.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")
