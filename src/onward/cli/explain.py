"""`onward explain`, which shows the structure of a flow."""

from __future__ import annotations

from typing import Annotated

import typer
from msgspec import Raw

from onward import explain as explained
from onward.cli.console import USAGE, end, say_json
from onward.cli.options import Config, Json, On, connected
from onward.cli.target import flow_of
from onward.plan import Args, with_given
from onward.secret import HIDDEN


def explain(
    target: Annotated[
        str, typer.Argument(metavar="TARGET", help="The task or flow: my.tasks:ingest")
    ],
    mermaid: Annotated[
        bool, typer.Option("--mermaid", help="As a Mermaid flowchart, for a README.")
    ] = False,
    native: Annotated[
        bool, typer.Option("--native", help="What the engine of --on will get.")
    ] = False,
    on: On = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Show the structure of a flow, in the order in which it runs.

    With --json, show the flow as in a plan, without the values of `given` and `fixed`.

    Example: `onward explain my.tasks:ingest --native --on temporal://localhost`

    Exit codes: 0, it was shown; 1, an exception in a module; 2, a mistake in the command or the
    configuration.
    """
    if mermaid + native + as_json > 1:
        end(USAGE, "--mermaid, --native and --json are three forms: choose one")
    flow = flow_of(target)
    if native:
        with connected(on, config) as backend:
            if not hasattr(backend, "explain"):
                end(USAGE, f"{backend!r} has no terms of its own: leave --native out")
            typer.echo(explained(flow, on=backend))
    elif on is not None or config is not None:
        end(USAGE, "to show what an engine will get, write --native too")
    elif as_json:
        # One of these values may be secret.
        say_json({"flow": flow.name, "root": with_given(flow.node, _hidden)})
    else:
        typer.echo(explained(flow, form="mermaid" if mermaid else "tree"))


def _hidden(args: Args) -> Args:
    hidden = Raw(f'"{HIDDEN}"'.encode())
    return Args((hidden,) * len(args.positional), dict.fromkeys(args.keyword, hidden))
