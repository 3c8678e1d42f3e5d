"""Which calls of a key are open: one, and perhaps one that comes after it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from onward.backend import Submission
from onward.backends.local.steps import Run


class OpenCalls:
    """The open calls of all keys."""

    def __init__(self) -> None:
        self._runs: dict[str, list[Run]] = {}

    def submit(
        self,
        submission: Submission,
        start: Callable[[Submission, Run | None], Run],
        replace: Callable[[Run, Submission], None],
    ) -> Run:
        """Gives the call that stands for a submission with `unique`.

        Args:
            submission: The submission.
            start: Starts a call, which waits until another one has ended, if there is one.
            replace: Puts a submission in the place of a call that has not started.
        """
        unique = submission.unique
        assert unique is not None  # see `SubmitsUnique`
        runs = self._open(unique.slot)
        if runs and not unique.replaces:
            return runs[0]
        if runs and runs[-1].state == "queued":
            replace(runs[-1], submission)
            return runs[-1]
        run = start(submission, runs[-1] if runs else None)
        self._runs[unique.slot] = [*runs, run]
        run.finished.add_done_callback(partial(self._forget, unique.slot))
        return run

    def _open(self, slot: str) -> Sequence[Run]:
        return [run for run in self._runs.get(slot, ()) if not run.finished.done()]

    def _forget(self, slot: str, _: object) -> None:
        if not self._open(slot):
            self._runs.pop(slot, None)
