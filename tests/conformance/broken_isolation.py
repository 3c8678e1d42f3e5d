"""Backends that each break one promise about isolated steps."""

from __future__ import annotations

import threading
from collections.abc import Callable

from onward.backends.local.core import Core
from onward.catalog import Tasks
from onward.context import Context
from onward.fault import Lost, Raised, TimedOut
from onward.isolation import Isolation
from onward.outcome import Faulted, faulted
from onward.plan import Args, StepNode
from onward.processes.children import Children
from onward.served import AttemptEnd
from tests.conformance.broken import Broken, replaced


class _Apart(Broken):
    """Runs isolated steps in other children."""

    OtherChildren: type[Children]

    def __init__(self) -> None:
        other = self.OtherChildren

        class OtherCore(Core):
            def __init__(self, workers: int, keep: float) -> None:
                super().__init__(workers, keep)
                self.runtime.children = other()

        self.BrokenCore = OtherCore  # type: ignore[misc]  # each instance has its own
        super().__init__()


class _Nowhere(Children):
    def perform(
        self,
        step: StepNode,
        args: Args,
        tasks: Tasks,
        context: Context,
        isolation: Isolation,
        is_over: Callable[[], bool],
    ) -> AttemptEnd:
        return super().perform(step, args, tasks, replaced(context, step="0"), isolation, is_over)


class ForgetsWhereIsolatedStepsAre(_Apart):
    OtherChildren = _Nowhere


class _Blaming(Children):
    def perform(
        self,
        step: StepNode,
        args: Args,
        tasks: Tasks,
        context: Context,
        isolation: Isolation,
        is_over: Callable[[], bool],
    ) -> AttemptEnd:
        ended = super().perform(step, args, tasks, context, isolation, is_over)
        if isinstance(ended.outcome, Faulted) and isinstance(ended.outcome.fault, Lost):
            return AttemptEnd(faulted(Raised(step.task, "OSError", "its process has ended")))
        return ended


class TakesADeadProcessForAnException(_Apart):
    OtherChildren = _Blaming


class _Leaving(Children):
    def perform(
        self,
        step: StepNode,
        args: Args,
        tasks: Tasks,
        context: Context,
        isolation: Isolation,
        is_over: Callable[[], bool],
    ) -> AttemptEnd:
        if step.timeout is None:
            return super().perform(step, args, tasks, context, isolation, is_over)
        patient, ended = replaced(step, timeout=None), list[AttemptEnd]()

        def run() -> None:
            found = super(_Leaving, self).perform(patient, args, tasks, context, isolation, is_over)
            ended.append(found)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        thread.join(step.timeout)
        late = AttemptEnd(faulted(TimedOut(step.task, "it took too long")))
        return ended[0] if ended else late


class LetsLateCodeRunOn(_Apart):
    OtherChildren = _Leaving


class _Deaf(Children):
    def perform(
        self,
        step: StepNode,
        args: Args,
        tasks: Tasks,
        context: Context,
        isolation: Isolation,
        is_over: Callable[[], bool],
    ) -> AttemptEnd:
        return super().perform(step, args, tasks, context, isolation, lambda: False)


class LetsCancelledCodeRunOn(_Apart):
    OtherChildren = _Deaf
