"""`onward calls`, which lists submitted calls, and cancels or resumes them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Annotated, NoReturn, TypeAlias, cast

import typer
from returns.result import Failure, Result

from onward import interpret
from onward.backend import Backend, Cancels, Listed, Lists
from onward.cli.console import (
    FAULT,
    USAGE,
    code_of,
    data_of_fault,
    end,
    err,
    fail,
    say,
    say_json,
    value_of,
    warn,
)
from onward.cli.moments import moment
from onward.cli.options import Config, Json, On, connected_elsewhere
from onward.cli.records import data_of_call, when
from onward.cli.repair import To, elsewhere, with_histories
from onward.cli.target import flow_of
from onward.fault import Fault, Unsupported
from onward.flows.flow import Ref

if TYPE_CHECKING:
    from onward.interpret.listed import ListedCall

AnyRef: TypeAlias = Ref[object, object]

_SHOWN = 20
"""How many calls are shown before a question."""

_OPEN: tuple[Listed, ...] = ("queued", "running", "waiting")


def calls(
    on: On = None,
    config: Config = None,
    state: Annotated[
        list[str] | None,
        typer.Option(metavar="STATE", help="A state, such as running or lost; repeat it for more."),
    ] = None,
    failed: Annotated[bool, typer.Option("--failed", help="The same as --state failed.")] = False,
    flow: Annotated[
        str | None, typer.Option(metavar="FLOW", help="The name of their flow, or my.tasks:ingest.")
    ] = None,
    tag: Annotated[
        list[str] | None,
        typer.Option(metavar="TEXT", help="A tag that they have; repeat it for more."),
    ] = None,
    since: Annotated[
        str | None, typer.Option(metavar="WHEN", help="Submitted since: 1h, 2d or 2026-11-30T08:00")
    ] = None,
    until: Annotated[
        str | None, typer.Option(metavar="WHEN", help="Submitted before: in the same form.")
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="At most so many, the newest.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Let them go on; failed ones, if no state is given.")
    ] = False,
    cancel: Annotated[
        bool, typer.Option("--cancel", help="Cancel them; those that have not ended.")
    ] = False,
    to: To = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what --resume or --cancel would do.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do it without asking.")] = False,
    as_json: Json = False,
) -> None:
    """List submitted calls, the newest first; or cancel or resume them.

    With --json, each call is a line of JSON, and so is what came of each with --resume or --cancel.

    Example: `onward calls --failed --since 1h --flow ingest`, and then the same with `--resume`

    Exit codes: 0, they are listed, or all of them were cancelled or resumed; 1, a fault, also of
    one of them; 2, a mistake in the command or the configuration.
    """
    if resume and cancel:
        end(USAGE, "--resume and --cancel exclude each other: leave one of them out")
    if (dry_run or yes) and not (resume or cancel):
        end(USAGE, "--dry-run and --yes go with --resume or --cancel")
    if to is not None and not resume:
        end(USAGE, "--to goes with --resume")
    states = [*(state or ()), *(["failed"] if failed else [])]
    if not states:
        states = ["failed"] if resume else list(_OPEN) if cancel else []
    named = flow_of(flow).name if flow is not None and ":" in flow else flow
    with connected_elsewhere(on, config) as backend, elsewhere(to) as target:
        if not isinstance(backend, Lists):
            fail(Unsupported("calls", "this backend cannot list calls"))
        found = interpret.calls(
            on=backend,
            state=cast("list[Listed]", states) or None,  # it checks them
            flow=named,
            tags=tag or (),
            since=moment(since),
            until=moment(until),
            limit=limit,
        )
        if resume or cancel:
            _Bulk(backend, target, resume, dry_run, as_json).act([*map(value_of, found)], yes)
        for each in found:
            call = value_of(each)
            if as_json:
                say_json(data_of_call(call.ref.id, call))
            else:
                say(_text(call))


class _Bulk:
    """What is done with many calls."""

    def __init__(
        self, backend: Backend, to: Backend | None, resume: bool, dry_run: bool, as_json: bool
    ) -> None:
        self._backend = backend
        self._to = to
        self._resume = resume
        self._dry_run = dry_run
        self._as_json = as_json
        self._verb = "resume" if resume else "cancel"

    def act(self, found: Sequence[ListedCall[object, object]], yes: bool) -> NoReturn:
        """Cancels or resumes calls, and ends the command."""
        if not found:
            warn(f"there is no call to {self._verb}")
            raise typer.Exit(0)
        if not (yes or self._dry_run):
            self._confirm(found)
        worst = 0
        with err.status("") as shown:
            answers = self._answers(found, lambda done, total: shown.update(f"{done} of {total} …"))
        for ref, answer in answers:
            worst = max(worst, self._say(ref, answer))
        raise typer.Exit(worst)

    def _confirm(self, found: Sequence[ListedCall[object, object]]) -> None:
        question = f"{self._verb} {_count(len(found))}"
        if not sys.stdin.isatty():
            end(USAGE, f"to {question} without being asked, add --yes; --dry-run shows them")
        for call in islice(found, _SHOWN):
            err.print(_text(call), markup=False)
        if len(found) > _SHOWN:
            err.print(f"… and {len(found) - _SHOWN} more")
        if not typer.confirm(f"{question.capitalize()}?", err=True):
            end(FAULT, "nothing was done")

    def _answers(
        self,
        found: Sequence[ListedCall[object, object]],
        progress: Callable[[int, int], None],
    ) -> Sequence[tuple[AnyRef, Result[AnyRef, Fault] | Result[None, Fault]]]:
        if self._resume:
            histories = with_histories(self._backend, "calls")
            resumed = interpret.resume_all(
                found, on=histories, to=self._to, dry_run=self._dry_run, progress=progress
            )
            return value_of(resumed)
        if not isinstance(self._backend, Cancels):
            fail(Unsupported("calls", "this backend cannot cancel a call"))
        cancelled = interpret.cancel_all(
            found, on=self._backend, dry_run=self._dry_run, progress=progress
        )
        return value_of(cancelled)

    def _say(self, ref: AnyRef, answer: Result[AnyRef, Fault] | Result[None, Fault]) -> int:
        """Says what came of a call, and gives the exit code for it."""
        if isinstance(answer, Failure):
            fault: Fault = answer.failure()
            if self._as_json:
                say_json({"ref": ref.id, "fault": data_of_fault(fault)})
            else:
                warn(f"{ref.id}: {fault}")
            return code_of(fault)
        new = answer.unwrap()
        would = "would be " if self._dry_run else ""
        if self._as_json:
            done: dict[str, object] = {"cancelled": True} if new is None else {"resumed": new.id}
            say_json({"ref": ref.id, **done, **({"dry_run": True} if self._dry_run else {})})
        elif new is None:
            say(f"{ref.id}  {would}cancelled")
        else:
            say(f"{ref.id}  {would}resumed as {new.id}")
        return 0


def _count(number: int) -> str:
    return "1 call" if number == 1 else f"{number} calls"


def _text(call: ListedCall[object, object]) -> str:
    """A call on one line."""
    submitted = "" if call.submitted is None else when(call.submitted)
    parts = [f"{call.ref.id}  {call.state:<9}  {submitted:<23}  {call.flow}"]
    parts += [call.fault] if call.fault else []
    parts += [f"[{', '.join(call.tags)}]"] if call.tags else []
    return "  ".join(parts)
