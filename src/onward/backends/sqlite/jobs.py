"""A job that a worker holds, and the runtime in which the worker's steps run."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Generator
from contextvars import Context as Variables
from contextvars import copy_context

from onward.attempt import Attempts, LoopExecutor
from onward.backends.sqlite.attempts import Running, write_running
from onward.backends.sqlite.claim import Claimed, Note
from onward.backends.sqlite.message import CallHead, write_progress
from onward.backends.sqlite.settle import Last
from onward.catalog import Tasks
from onward.context import HELD, Context, Progress
from onward.pool import Slots
from onward.scope import Scope

_SHARE = 0.1
"""How much one step counts in how long steps take."""

_AHEAD = 0.04
_MOST_AHEAD = 16
"""How much work is taken up ahead for each slot, in seconds; and how many jobs at most."""


class Runtime:
    """Where a worker's steps run: so many at a time.

    Args:
        tasks: The tasks that may be run.
        slots: How many steps run at a time.
        variables: The context variables that steps begin with.
    """

    def __init__(self, tasks: Tasks, slots: int, variables: Variables) -> None:
        self.tasks = tasks
        self.slots: Slots = Slots(slots)
        self.count = slots
        self.attempts: Attempts = Attempts(tasks, LoopExecutor())
        self.load: int = 0
        """How many slots are taken, or will be at once by what has been taken up."""
        self.freed: Callable[[], object] = lambda: None
        """Called when there is room for more."""
        self._took: float | None = None
        self._loop = asyncio.get_running_loop()
        self.variables: Variables = variables.run(copy_context)
        self.variables.run(HELD.set, self._lent)

    @property
    def free(self) -> int:
        """How many more jobs the worker takes; some ahead while steps are short, many at once."""
        if self._took is None or self._took * 2 > _AHEAD:
            return self.count - self.load
        ahead = min(_MOST_AHEAD, int(_AHEAD / max(self._took, 1e-6))) * self.count
        return ahead - self.load if self.load <= ahead // 2 else 0

    def took(self, seconds: float) -> None:
        """Takes note of how long a step took."""
        before = seconds if self._took is None else self._took
        self._took = before + _SHARE * (seconds - before)

    def change(self, by: int) -> None:
        """Counts the load."""
        if by:
            self.load += by
            if by < 0:
                self.freed()

    def _lend(self, count: int) -> None:
        self.slots.add(count)
        self.change(-count)

    @contextlib.contextmanager
    def _lent(self) -> Generator[None]:
        """Lets another step have the slot of one that waits for a call."""
        self._on_loop(1)
        try:
            yield
        finally:
            self._on_loop(-1)

    def _on_loop(self, count: int) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(self._lend, count)


class Job:
    """A call, or a step that was delegated, while a worker has it.

    Args:
        claimed: What it took up.
        head: What the job's tasks learn of their call.
        priority: That of steps that have none.
        runtime: Where its steps run.
        changed: Is called, on the loop, when it has something to note.
        idle: Is called when all there is of it waits.
    """

    def __init__(
        self,
        claimed: Claimed,
        head: CallHead,
        priority: int,
        runtime: Runtime,
        changed: Callable[[Job], object],
        idle: Callable[[Job], object],
    ) -> None:
        self.claimed = claimed
        self.head = head
        self.priority = priority
        self.is_over: bool = False
        """Whether its call has ended, or it is another worker's."""
        self.task: asyncio.Task[None] | None = None
        self.timer: asyncio.TimerHandle | None = None
        self.parking: asyncio.TimerHandle | None = None
        """What gives it back, unless something happens before."""
        self.scope: Scope | None = None
        """What cancels its steps, if it has cleanups to run then."""
        self.queue: str | None = None
        self.last: Last = Last()
        self.running: dict[str, Running] = {}
        """The attempts that run, by path."""
        self.interrupted: dict[str, Running] = {}
        """Those that were cancelled, while the call went on."""
        self._progress: Progress | None = None
        self._runtime = runtime
        self._loop = asyncio.get_running_loop()
        self._changed = changed
        self._idle = idle
        self._is_noted = True
        self._active = 0
        self._waits = 0
        self._dues: list[float] = []
        self._sleeps = 0
        self._writes = 0
        runtime.change(1)

    @property
    def has_begun(self) -> bool:
        """Whether a step of it has begun here, or elsewhere before."""
        return self.last.task is not None or bool(self.claimed.known)

    # -- load ---------------------------------------------------------------------------------

    @property
    def due(self) -> float | None:
        """When it goes on, in the file's time, where all there is of it waits for its time."""
        return min(self._dues) if self._is_idle and self._writes == 0 else None

    @property
    def _is_idle(self) -> bool:
        return self._active == 0 and 0 < self._waits == len(self._dues)

    def _weight(self) -> int:
        return self._active or (0 if self._waits else 1)

    @contextlib.contextmanager
    def active(self) -> Generator[None]:
        """While a step runs, or waits for a slot."""
        self._count(1, 0)
        try:
            yield
        finally:
            self._count(-1, 0)

    @contextlib.contextmanager
    def waiting(self) -> Generator[None]:
        """While a step waits for something that takes no slot."""
        self._count(0, 1)
        try:
            yield
        finally:
            self._count(0, -1)

    @contextlib.contextmanager
    def waiting_until(self, due: float) -> Generator[None]:
        """The same, for a moment in the file's time."""
        self._dues.append(due)
        try:
            with self.waiting():
                yield
        finally:
            self._dues.remove(due)
            self._touch()

    @contextlib.contextmanager
    def writing(self) -> Generator[None]:
        """While something that has come of it is written down: it goes on after that."""
        self._writes += 1
        self._touch()
        try:
            yield
        finally:
            self._writes -= 1
            self._touch()

    @contextlib.contextmanager
    def asleep(self, due: float) -> Generator[None]:
        """The same, in a sleep or a wait for a signal, which its status says."""
        self._sleeps += 1
        try:
            with self.waiting_until(due):
                yield
        finally:
            self._sleeps -= 1

    def _count(self, active: int, waits: int) -> None:
        before = self._weight()
        self._active += active
        self._waits += waits
        self._runtime.change(self._weight() - before)
        self._touch()
        if not self._weight() and (before or waits < 0) and self._sleeps:
            self._note()

    def _touch(self) -> None:
        """Something has changed, so that it is kept for a while from now on."""
        if self.parking is not None:
            self.parking.cancel()
            self.parking = None
        if self._is_idle and self._writes == 0:
            self._idle(self)

    def end(self) -> None:
        """Takes its load away."""
        self._runtime.change(-self._weight())
        self._active, self._waits = 0, 1
        self._idle = _ignore
        self._is_noted = False  # there is nothing more to note
        for timer in (self.timer, self.parking):
            if timer is not None:
                timer.cancel()

    # -- what it says --------------------------------------------------------------------------

    def on_attempt(self, context: Context) -> None:
        """An attempt begins."""
        self.last = Last(context.task, context.step, context.attempt)
        self._progress = None
        self._note()

    def report(self, progress: Progress) -> None:
        """A step says how far it is; it may do so in a thread."""
        self._progress = progress
        if self._is_noted:
            with contextlib.suppress(RuntimeError):  # the loop has ended
                self._loop.call_soon_threadsafe(self._note)

    def _note(self) -> None:
        if self._is_noted and not self.is_over:
            self._is_noted = False
            self._changed(self)

    def note(self) -> Note:
        """Where it is, to be written down."""
        self._is_noted = True
        is_waiting = self._sleeps > 0 and self._is_idle
        running = write_running(self.claimed.claim, self.running.values())
        return Note(self.claimed, self.last, write_progress(self._progress), running, is_waiting)


def _ignore(_: Job) -> None:
    return None
