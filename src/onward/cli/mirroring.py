"""`onward mirror`, which runs calls that have ended on another engine too, and compares both."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer
from returns.result import Failure

from onward import interpret
from onward.backend import Backend, Histories, Lists, Submission
from onward.cli.console import fail, say, say_json, value_of, warn
from onward.cli.moments import moment
from onward.cli.options import Config, Json, On, connected_elsewhere
from onward.cli.target import flow_of
from onward.fault import Unsupported
from onward.outcome import Failed, Outcome, Value
from onward.sealing import incoming, incoming_history, outgoing

if TYPE_CHECKING:
    from onward.bridges.mirroring import Comparison


def mirror(
    flow: Annotated[
        list[str],
        typer.Option(metavar="FLOW", help="A flow that is pure: its name, or my.tasks:ingest."),
    ],
    shadow: Annotated[
        str, typer.Option(metavar="URL", help="The engine that runs them once more.")
    ],
    on: On = None,
    config: Config = None,
    since: Annotated[
        str | None, typer.Option(metavar="WHEN", help="Submitted since: 1h, 2d or 2026-11-30T08:00")
    ] = None,
    limit: Annotated[
        int, typer.Option(min=1, metavar="N", help="At most so many, the newest.")
    ] = 20,
    timeout: Annotated[
        float, typer.Option(metavar="SECONDS", min=0, help="How long to wait for each outcome.")
    ] = 60.0,
    as_json: Json = False,
) -> None:
    """Run calls that have ended on another engine once more, and compare outcomes and times.

    The first engine is only read. A copy does everything once more, so name flows that are pure.

    Example: `onward mirror --flow ingest --since 1h --shadow temporal://localhost:7233`

    Exit codes: 0, all outcomes agree; 1, some do not, or a fault; 2, a mistake in the command or
    the configuration.
    """
    names = [flow_of(each).name if ":" in each else each for each in flow]
    with connected_elsewhere(on, config) as primary, connected_elsewhere(shadow, None) as other:
        if not isinstance(primary, Lists) or not isinstance(primary, Histories):
            fail(Unsupported("mirror", f"{primary!r} cannot list and read its calls"))
        histories: Histories = primary
        found = [
            call.ref.id
            for name in names
            for call in map(
                value_of,
                interpret.calls(
                    on=primary,
                    state=["done", "failed"],
                    flow=name,
                    since=moment(since),
                    limit=limit,
                ),
            )
        ]
        if not found:
            warn("there is no call to mirror")
        results = [each for ref in found if (each := _mirrored(ref, histories, other, timeout))]
    for each in results:
        _show(each, as_json=as_json)
    raise typer.Exit(0 if all(each.is_same for each in results) else 1)


def _mirrored(ref: str, primary: Histories, shadow: Backend, timeout: float) -> Comparison | None:
    """Runs a call once more; None if its plan is not kept."""
    page = incoming_history(primary, value_of(primary.history(ref, "", 1)))
    call, plan = page.call, page.plan
    if plan is None:
        warn(f"{ref}: its plan is not kept")
        return None
    took = 0.0
    if call.submitted is not None and call.ended is not None:
        took = (call.ended - call.submitted).total_seconds()
    began = time.monotonic()
    from onward.bridges.mirroring import compared, copied  # it imports more than --help needs

    [ready] = value_of(outgoing(shadow, [Submission(copied(plan))]))
    id = value_of(shadow.submit(ready))
    answer = incoming(shadow, shadow.outcome(id, timeout))
    outcome = None if isinstance(answer, Failure) else answer.unwrap()
    return compared(plan.flow, ref, page.outcome, outcome, took, time.monotonic() - began)


def _show(found: Comparison, *, as_json: bool) -> None:
    primary, shadow = _text_of(found.primary), _text_of(found.shadow)
    if as_json:
        say_json(
            {
                "ref": found.id,
                "flow": found.flow,
                "same": found.is_same,
                "primary": primary,
                "shadow": shadow,
                "primary_seconds": round(found.primary_seconds, 3),
                "shadow_seconds": round(found.shadow_seconds, 3),
            }
        )
        return
    times = f"{found.primary_seconds:.3f} s, {found.shadow_seconds:.3f} s"
    what = "same" if found.is_same else f"differs: {primary}, and on the shadow {shadow}"
    say(f"{found.id}  {found.flow}  {times}  {what}")


def _text_of(outcome: Outcome | None) -> str:
    """An outcome in a word, without its value, which may be large or secret."""
    match outcome:
        case None:
            return "no outcome in time"
        case Value():
            return "a value"
        case Failed():
            return "an error"
        case _:
            return f"the fault {type(outcome.fault).__name__}"
