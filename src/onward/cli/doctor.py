"""`onward doctor`, which finds what is wrong with an engine, and says what to do."""

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
"""The largest difference between two clocks that is not a problem, in seconds."""


def doctor(
    modules: Annotated[
        list[str] | None,
        typer.Argument(metavar="[MODULE…]", help="Modules whose tasks need workers: my.tasks"),
    ] = None,
    on: On = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Check an engine and its workers, and say what is wrong and what to do about it.

    Example: `onward doctor my.tasks --on celery+redis://localhost:6379/0`

    Exit codes: 0, nothing is wrong; 1, something is wrong; 2, a mistake in the command or the
    configuration.
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
        yield Finding("engine", f"{backend!r} has no diagnosis")
        return
    answer = backend.diagnose(catalog.queues if catalog else ())
    if isinstance(answer, Failure):
        fault = answer.failure()
        yield Finding("engine", fault.message.rstrip("."), fault.cure, is_wrong=True)
        return
    yield Finding("engine", f"{backend!r} is reached")
    yield from judged(answer.unwrap(), catalog)


def judged(seen: Diagnosis, catalog: Catalog | None) -> Iterator[Finding]:
    """Judges a diagnosis: each finding says whether it is wrong.

    Args:
        seen: The diagnosis of the engine.
        catalog: The tasks that its workers should serve, if they are known.
    """
    yield from seen.findings
    yield _clock(seen.clock)
    yield from _workers(seen)
    if catalog is not None and seen.workers:
        yield from _served(seen, catalog)


def _clock(ahead: float | None) -> Finding:
    if ahead is None:
        return Finding("clock", "the engine does not report its time")
    if abs(ahead) < _SKEW:
        return Finding("clock", f"the engine's clock and ours agree within {_SKEW:g} s")
    way = "ahead of" if ahead > 0 else "behind"
    text = f"the engine's clock is {abs(ahead):.1f} s {way} ours, so deadlines are off by as much"
    return Finding("clock", text, "set both by NTP", is_wrong=True)


def _workers(seen: Diagnosis) -> Iterator[Finding]:
    if not seen.workers and seen.tells_workers:
        advice = "start one: onward worker MODULE"
        yield Finding("workers", "there are no workers", advice, is_wrong=True)
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
                f"{count} {steps} in {queue}, and no worker takes steps from it",
                f"start a worker with --queues {queue}, or one whose tasks name it",
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
"""A placeholder for the names of tasks in a text that several share; no queue's name has it."""


def _unserved(seen: Diagnosis, task: str, queue: str) -> tuple[str, str] | None:
    """Why no worker serves a task, and what to do about it; None if one does."""
    there = [worker for worker in seen.workers if queue in worker.queues]
    lacks = [worker.tasks is not None and task not in worker.tasks for worker in there]
    if not all(lacks):
        if seen.knows_tasks or not any(lacks):
            return None
        return (
            f"some workers on {queue} serve {_TASKS}, and others do not",
            "restart those with the older code, or give the task a queue of its own",
        )
    serve = [worker for worker in seen.workers if task in (worker.tasks or ())]
    elsewhere = {each for worker in serve for each in worker.queues}
    if elsewhere:
        others = ", ".join(sorted(elsewhere))
        return (
            f"no worker on {queue} serves {_TASKS}, but those on {others} do",
            f"start one for {queue} with the module, or name another queue in --on or in the task",
        )
    if not there:
        return f"no worker takes steps from {queue}, the queue of {_TASKS}", "start a worker for it"
    then = "wait" if seen.knows_tasks else "are Unknown"
    return (
        f"no worker's catalog has {_TASKS}, so calls {then}",
        "restart the workers with the module and the code that has it",
    )


def _show(finding: Finding) -> None:
    mark, style = ("✗", "red") if finding.is_wrong else ("!", "yellow")
    if not finding.cure:
        mark, style = "✓", "green"
    line = Text.assemble((mark, style), f" {finding.what:<12} {finding.text}")
    if finding.cure:
        line.append(f"{'. ' if finding.cure[0].isupper() else ': '}{finding.cure}", "bold")
    out.print(line)
