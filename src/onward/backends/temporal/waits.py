"""The sleeps and signals of a workflow. Temporal replays this code, as that of `workflow`."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

from msgspec import Raw
from temporalio import workflow
from temporalio.common import RawValue

from onward.backends.temporal.message import (
    BEGUN,
    WAITING,
    WaitNote,
    path_of_summary,
    summary_of,
    value_of_signal,
)
from onward.outcome import Outcome, Value
from onward.plan import SleepNode, Waiting
from onward.unanswered import unanswered

_NOTHING = Value(Raw(b"null"))


class Waits:
    """What a workflow waits for, and the signals that were sent to it; the first of a name counts.

    The memo of the workflow has one of its waits, for its status.
    """

    def __init__(self) -> None:
        self._signals: dict[str, Raw] = {}
        self._current: dict[str, WaitNote] = {}
        self._noted = ""

    def receive(self, name: str, args: Sequence[RawValue]) -> None:
        """Keeps the value of a signal, unless it has one already."""
        raw = value_of_signal([each.payload.data for each in args])
        if raw is None:
            workflow.logger.warning("the signal %r has no value in JSON, and is dropped", name)
        else:
            self._signals.setdefault(name, raw)

    async def until_begun(self, delay: float) -> None:
        """Waits for the rest of a call's delay, which the server ends when a signal comes."""
        if delay:
            begin = workflow.info().workflow_start_time.timestamp() + delay
            left = begin - workflow.now().timestamp()
            if left > 0:
                await workflow.sleep(left, summary="delay")

    async def __call__(self, node: Waiting, where: str, /, *, recorded: bool) -> Outcome:
        """See `onward.evaluate.Wait`.

        Args:
            node: The wait.
            where: Its path, without parts.
            recorded: Whether it has to be in the history, also if it needs no timer.
        """
        seconds = node.seconds if isinstance(node, SleepNode) else node.timeout
        until = None if seconds is None else workflow.now().timestamp() + seconds
        signal = "" if isinstance(node, SleepNode) else node.signal
        note, text = WaitNote(signal, until, where), summary_of(node, where)
        is_over = seconds == 0 or signal in self._signals
        if not is_over:
            self._current[where] = note
            self._note()
        has_timer = not is_over and seconds is not None and path_of_summary(text) is not None
        if recorded and not has_timer and (until is not None or self._noted != where):
            workflow.upsert_memo({BEGUN: note})
        if is_over:
            return self._outcome(node)
        try:
            if isinstance(node, SleepNode):
                await workflow.sleep(node.seconds, summary=text)
            else:
                with contextlib.suppress(TimeoutError):
                    await workflow.wait_condition(
                        lambda: signal in self._signals, timeout=seconds, timeout_summary=text
                    )
        finally:
            del self._current[where]
        self._note()
        return self._outcome(node)

    def _outcome(self, node: Waiting) -> Outcome:
        if isinstance(node, SleepNode):
            return _NOTHING
        found = self._signals.get(node.signal)
        return unanswered(node) if found is None else Value(found)

    def _note(self) -> None:
        # Each change is an event, so the memo stays when its wait ends and no other goes on.
        going_on = {
            where: note for where, note in self._current.items() if note.signal not in self._signals
        }
        if self._noted in going_on or not going_on:
            return
        self._noted, note = next(iter(going_on.items()))
        workflow.upsert_memo({WAITING: note})
