"""`onward compat`, which says which changes of tasks break what."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from onward import interpret
from onward.backend import Histories, Lists
from onward.catalog import Catalog
from onward.cli.console import USAGE, end, fail, say, say_json, value_of
from onward.cli.options import Json, connected_elsewhere
from onward.cli.target import catalog_of
from onward.fault import Unsupported
from onward.sealing import incoming_history

FILE = "onward.schema.json"
"""The snapshot, unless the command names another file."""


def compat(
    modules: Annotated[
        list[str],
        typer.Argument(metavar="MODULE…", help="Modules with the tasks and flows: my.tasks"),
    ],
    against: Annotated[
        str,
        typer.Option(
            metavar="FILE|REV|URL",
            help="A snapshot, a git revision that has it, or the engine whose open calls to check.",
        ),
    ] = FILE,
    write: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write a snapshot, and compare nothing."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Say which changes of the tasks break calls in flight, or workers that run beside.

    A snapshot has the types of all tasks. Write it with --write onward.schema.json, commit it, and
    compare in CI. With --json, each problem is a line of JSON.

    Example: `onward compat my.tasks`, `onward compat my.tasks --against main`, and
    `onward compat my.tasks --against temporal://localhost:7233`

    Exit codes: 0, nothing breaks; 1, something does, or a fault; 2, a mistake in the command or the
    configuration.
    """
    catalog = catalog_of(modules)
    if write is not None:
        from onward.compat import snapshot, written

        write.write_text(written(snapshot(catalog)), "utf-8")
        count = len(catalog.tasks)
        say(f"wrote {count} task{'' if count == 1 else 's'} to {write}")
        return
    is_url = "://" in against
    count = 0
    found = _of_open_calls(against, catalog) if is_url else _of_snapshot(against, catalog)
    for task, text, data in found:
        count += 1
        if as_json:
            say_json({"task": task, **data})
        else:
            say(text)
    if count:
        raise typer.Exit(1)
    if not as_json:
        say("every open call fits" if is_url else "nothing breaks", "green")


def _of_snapshot(against: str, catalog: Catalog) -> Iterator[tuple[str, str, dict[str, object]]]:
    from onward.compat import changes, read, snapshot

    try:
        old = read(_text_of(against))
    except ValueError as problem:
        end(USAGE, f"{against}: {problem}", problem)
    for each in changes(old, snapshot(catalog)):
        yield each.task, str(each), {"what": each.what, "breaks": each.breaks, "cure": each.cure}


def _text_of(against: str) -> str:
    """The snapshot in a file, or in a revision of git."""
    file = Path(against)
    if file.is_file():
        return file.read_text("utf-8")
    if file.suffix == ".json" or against == FILE:
        end(USAGE, f"there is no file {against}: write it with --write {against}, and commit it")
    shown = subprocess.run(
        ["git", "show", f"{against}:./{FILE}"], capture_output=True, text=True, check=False
    )
    if shown.returncode:
        said = shown.stderr.strip().removeprefix("fatal: ")
        end(USAGE, f"neither a file nor a revision of git with {FILE}: {said}")
    return shown.stdout


def _of_open_calls(url: str, catalog: Catalog) -> Iterator[tuple[str, str, dict[str, object]]]:
    from onward.compat import misfits

    with connected_elsewhere(url, None) as backend:
        if not isinstance(backend, Lists) or not isinstance(backend, Histories):
            fail(Unsupported("compat", "this backend cannot list its calls with their plans"))
        listed = interpret.calls(on=backend, state=["queued", "running", "waiting"])
        for call in map(value_of, listed):
            page = incoming_history(backend, value_of(backend.history(call.ref.id)))
            ended = [step.path for step in page.steps if step.outcome is not None]
            if page.plan is None:
                yield "", f"call {call.ref}: its plan is not kept", {"call": str(call.ref)}
                continue
            for why in misfits(page.plan, ended, catalog):
                task = why.partition(":")[0]
                text = f"call {call.ref} of {call.flow} cannot go on. {why}"
                yield task, text, {"call": str(call.ref), "flow": call.flow, "what": why}
