"""`onward migrate --check`: what another engine cannot do of what an engine has."""

from __future__ import annotations

from typing import Annotated

import typer

from onward.cli.console import USAGE, end, say, say_json, value_of
from onward.cli.options import Json, connected_elsewhere
from onward.cli.target import catalog_of


def migrate(
    old: Annotated[str, typer.Argument(metavar="FROM", help="The engine that has the calls.")],
    new: Annotated[str, typer.Argument(metavar="TO", help="The engine that is to get them.")],
    modules: Annotated[list[str], typer.Argument(metavar="MODULES", help="Modules with tasks.")],
    check: Annotated[
        bool, typer.Option("--check", help="Look, and change nothing. There is no other way.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Say what another engine cannot do, or does otherwise, before anything moves.

    It looks at the flows of the modules, and at the schedules and open calls of the old engine.

    Example: `onward migrate --check sqlite:///onward.db temporal://localhost:7233 my.tasks`

    Exit codes: 0, the new engine refuses nothing; 1, it does, or a fault; 2, a mistake in the
    command or the configuration.
    """
    if not check:
        end(
            USAGE,
            "write --check: calls move by `onward move`, and schedules by `onward drain --to`",
        )
    catalog = catalog_of(modules)
    with connected_elsewhere(old, None) as one, connected_elsewhere(new, None) as other:
        from onward.bridges.migrating import differences  # it imports more than --help needs

        found = value_of(differences(one, other, catalog))
    for each in found:
        if as_json:
            say_json({"what": each.what, "text": each.text, "is_wrong": each.is_wrong})
        else:
            say(f"{'wrong' if each.is_wrong else 'note '}  {each.what}: {each.text}")
    raise typer.Exit(1 if any(each.is_wrong for each in found) else 0)
