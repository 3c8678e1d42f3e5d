"""`onward doctor`: what is wrong, and what to do about it."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from importlib.metadata import version
from typing import Annotated

import msgspec
import typer
from returns.result import Failure
from rich.text import Text

from onward.backend import Backend, Diagnoses, Diagnosis, Finding
from onward.catalog import Catalog
from onward.cli.console import FAULT, out, say_json
from onward.cli.options import Config, Json, On, connected
from onward.cli.target import catalog_of

_SKEW = 1.0
"""How far clocks may be apart, in seconds, before deadlines mean something else."""


def doctor(
    modules: Annotated[
        list[str] | None,
        typer.Argument(metavar="[MODULE…]", help="Whose tasks should be served: my.tasks"),
    ] = None,
    on: On = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Look at an engine and its workers, and tell what is wrong and what to do about it.

    Example: `onward doctor my.tasks --on celery+redis://localhost:6379/0`

    Exit codes: 0, nothing is wrong; 1, something is; 2, what cannot be done as it was written.
    """
    catalog = catalog_of(modules) if modules else None
    with connected(on, config) as backend:
        findings = [*_here(), *_there(backend, catalog)]
    if as_json:
        say_json({"findings": [msgspec.to_builtins(each) for each in findings]})
    else:
        for each in findings:
            _show(each)
    raise typer.Exit(FAULT if any(each.is_wrong for each in findings) else 0)


def _here() -> Iterator[Finding]:
    yield Finding("python", platform.python_version())
    yield Finding("onward", version("onward"))


def _there(backend: Backend, catalog: Catalog | None) -> Iterator[Finding]:
    if not isinstance(backend, Diagnoses):
        yield Finding("engine", f"{backend!r} has nothing to tell of itself")
        return
    answer = backend.diagnose(catalog.queues if catalog else ())
    if isinstance(answer, Failure):
        fault = answer.failure()
        yield Finding("engine", fault.message.rstrip("."), fault.cure, is_wrong=True)
        return
    yield Finding("engine", f"{backend!r} is reached")
    yield from judged(answer.unwrap(), catalog)


def judged(seen: Diagnosis, catalog: Catalog | None) -> Iterator[Finding]:
    """What was found out about an engine, and what of it is wrong.

    Args:
        seen: How the engine is.
        catalog: What its workers should serve, if that is known.
    """
    yield from seen.findings
    yield _clock(seen.clock)
    yield from _workers(seen)
    if catalog is not None and seen.workers:
        yield from _served(seen, catalog)


def _clock(ahead: float | None) -> Finding:
    if ahead is None:
        return Finding("clock", "the engine does not tell what time it is there")
    if abs(ahead) < _SKEW:
        return Finding("clock", f"the engine's and ours agree within {_SKEW:g} s")
    way = "ahead of" if ahead > 0 else "behind"
    text = f"the engine's is {abs(ahead):.1f} s {way} ours, and so are deadlines"
    return Finding("clock", text, "have both set by NTP", is_wrong=True)


def _workers(seen: Diagnosis) -> Iterator[Finding]:
    if not seen.workers and seen.tells_workers:
        yield Finding("workers", "there is none", "start one: onward worker MODULE", is_wrong=True)
    for worker in seen.workers:
        tasks = "" if worker.tasks is None else f": {', '.join(sorted(worker.tasks)) or 'no tasks'}"
        queues = ", ".join(sorted(worker.queues))
        yield Finding("worker", f"{worker.name} on {queues}{tasks}")
    taken = {queue for worker in seen.workers for queue in worker.queues}
    for queue, count in seen.waiting.items():
        if count and queue not in taken:
            steps = "step waits" if count == 1 else "steps wait"
            yield Finding(
                "queue",
                f"{count} {steps} in {queue}, from which no worker takes steps",
                "start a worker for it, whose tasks name it or with --queues",
                is_wrong=True,
            )


def _served(seen: Diagnosis, catalog: Catalog) -> Iterator[Finding]:
    more = {name for worker in seen.workers for name in worker.tasks or ()}
    wrong: dict[tuple[str, str], list[str]] = {}
    for name, task in sorted(catalog.tasks.items()):
        known_as = name if seen.knows_capitals else name.lower()
        more.discard(known_as)
        problem = _unserved(seen, known_as, task.policy.queue or seen.queue)
        if problem is not None:
            wrong.setdefault(problem, []).append(name)
    for (text, cure), names in wrong.items():
        yield Finding("task", text.replace(_TASKS, ", ".join(names)), cure, is_wrong=True)
    if more:
        yield Finding("task", f"workers also serve {', '.join(sorted(more))}")


_TASKS = "\0"
"""Where the tasks go in a text that is the same for several; no name of a queue has it."""


def _unserved(seen: Diagnosis, task: str, queue: str) -> tuple[str, str] | None:
    """What keeps a task from being served, and what to do about it, if anything does."""
    there = [worker for worker in seen.workers if queue in worker.queues]
    lacks = [worker.tasks is not None and task not in worker.tasks for worker in there]
    if not all(lacks):
        if seen.knows_tasks or not any(lacks):
            return None
        return (
            f"some workers on {queue} serve {_TASKS}, and others do not",
            "start those with the older code again, or give the task a queue of its own",
        )
    serve = [worker for worker in seen.workers if task in (worker.tasks or ())]
    elsewhere = {each for worker in serve for each in worker.queues}
    if elsewhere:
        others = ", ".join(sorted(elsewhere))
        return (
            f"no worker on {queue} serves {_TASKS}, and those on {others} do",
            f"start one for {queue} with the module, or have --on or the task name another queue",
        )
    if not there:
        return f"no worker takes steps from {queue}, the queue of {_TASKS}", "start a worker for it"
    then = "wait" if seen.knows_tasks else "are Unknown"
    return (
        f"no worker's catalog has {_TASKS}, and so calls {then}",
        "start the workers again, with the module and the code that has it",
    )


def _show(finding: Finding) -> None:
    mark, style = ("✗", "red") if finding.is_wrong else ("!", "yellow")
    if not finding.cure:
        mark, style = "✓", "green"
    line = Text.assemble((mark, style), f" {finding.what:<12} {finding.text}")
    if finding.cure:
        line.append(f"{'. ' if finding.cure[0].isupper() else ': '}{finding.cure}", "bold")
    out.print(line)
