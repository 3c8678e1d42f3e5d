"""The child processes of a worker, which are kept warm and used again."""

from __future__ import annotations

import logging
import math
import threading
import time
import weakref
from collections.abc import Callable
from contextlib import ExitStack
from typing import TYPE_CHECKING

from msgspec.structs import replace

from onward import outcome as outcomes
from onward.backend.loop import Closed
from onward.catalog import Tasks
from onward.context import Context
from onward.fault import CLOSED, Cancelled, Fault, Lost, Misconfigured, TimedOut
from onward.flows.flow import AnyTask
from onward.isolation import Isolation
from onward.outcome import faulted
from onward.plan import Args, StepNode
from onward.processes.places import (
    MAIN,
    NotFound,
    is_importing_main,
    main_file,
    module_of,
    modules_of,
)
from onward.served import AttemptEnd

if TYPE_CHECKING:  # only who isolates steps pays for it
    from onward.processes.messages import Ended
    from onward.processes.process import Process

_STARTING = 120.0
"""How long a child may take to import the modules, in seconds."""

_LOOK = 0.05
"""How often it is checked whether a running step was cancelled, in seconds."""

IsOver = Callable[[], bool]


class _Stop(Exception):
    """Ends an attempt without an outcome of its task."""

    def __init__(self, fault: Fault, *, was_cancelled: bool = False) -> None:
        super().__init__(fault)
        self.fault = fault
        self.was_cancelled = was_cancelled


class _Child:
    """A child, what it has imported, and how many steps it has run."""

    def __init__(self, process: Process) -> None:
        self.process: Process = process
        self.loaded: set[tuple[str, ...]] = set()
        self.steps = 0


class Children:
    """Child processes that run steps, one at a time each.

    They start when steps need them, and are kept for later steps. They end with `close`, with
    the interpreter, or when nothing refers to this object any more.

    Args:
        limit: How many there are at most; None for as many as there are steps at a time.
    """

    def __init__(self, limit: int | None = None) -> None:
        self._idle: list[_Child] = []
        self._lock = threading.Lock()
        self._free = None if limit is None else threading.Semaphore(limit)
        self._places: dict[int, tuple[AnyTask, str | NotFound]] = {}
        self._busy: set[_Child] = set()
        self._is_closed = False
        self._finalizer = weakref.finalize(self, _end, self._idle, self._busy)

    def close(self) -> None:
        """Ends those that are idle, and kills those that run steps, for which nobody waits."""
        with self._lock:
            self._is_closed = True
        self._finalizer()

    def perform(
        self,
        step: StepNode,
        args: Args,
        tasks: Tasks,
        context: Context,
        isolation: Isolation,
        is_over: IsOver,
    ) -> AttemptEnd:
        """Makes one attempt at a step in a child, while this thread waits.

        Args:
            step: The step.
            args: The value of the step before, or the call's own arguments.
            tasks: The tasks that may run.
            context: The attempt's context, which receives its progress.
            isolation: When the child is replaced.
            is_over: Whether nobody needs the outcome any more; the child is killed then.

        Raises:
            Closed: If this object was closed meanwhile.
        """
        from onward.processes.process import Gone

        child: _Child | None = None
        is_kept = False
        with ExitStack() as stack:
            try:
                modules = self._modules(step, tasks)
                self._take_place(step, stack, is_over)
                child = self._take()
                self._load(child, step, modules, is_over)
                ended = self._exchange(child, step, args, modules, context, isolation, is_over)
                is_kept = not _is_worn(child, ended, isolation)
                return AttemptEnd(outcomes.decode(ended.outcome))
            except _Stop as stop:
                return AttemptEnd(faulted(stop.fault), was_cancelled=stop.was_cancelled)
            except Gone:
                assert child is not None
                if self._is_closed:
                    raise Closed(CLOSED) from None
                how, advice = child.process.cause()
                message = f"its isolated process {how} while it ran"
                return AttemptEnd(faulted(Lost(step.task, message, advice=advice)))
            except OSError as problem:  # there is no memory, or no descriptor, for another process
                message = f"no isolated process could be started: {problem}"
                return AttemptEnd(faulted(Lost(step.task, message)))
            finally:
                if child is not None and not is_kept:
                    self._part(child)
                elif child is not None:
                    self._put(child)

    def _modules(self, step: StepNode, tasks: Tasks) -> tuple[str, ...]:
        if is_importing_main():
            message = (
                "a process that runs isolated steps imports the program: put the part that runs "
                'calls under `if __name__ == "__main__":`'
            )
            raise _Stop(Misconfigured(step.task, message))
        try:
            return modules_of(tasks, tasks[step.task], self._module_of)
        except NotFound as problem:
            raise _Stop(Misconfigured(step.task, str(problem))) from None

    def _module_of(self, task: AnyTask) -> str:
        if id(task) not in self._places:
            place: str | NotFound
            try:
                place = module_of(task)
            except NotFound as problem:
                place = problem
            self._places[id(task)] = task, place
        _, place = self._places[id(task)]
        if isinstance(place, NotFound):
            raise place
        return place

    def _take_place(self, step: StepNode, stack: ExitStack, is_over: IsOver) -> None:
        if self._free is None:
            return
        while not self._free.acquire(timeout=_LOOK):
            _check(step, is_over)
        stack.callback(self._free.release)

    def _take(self) -> _Child:
        from onward.processes.process import Process

        with self._lock:
            if self._is_closed:
                raise Closed(CLOSED)
            child = self._idle.pop() if self._idle else _Child(Process())
            self._busy.add(child)
            return child

    def _put(self, child: _Child) -> None:
        with self._lock:
            self._busy.discard(child)
            self._idle.append(child)

    def _part(self, child: _Child) -> None:
        """Lets a child end, without waiting for that here."""
        with self._lock:
            self._busy.discard(child)
        if child.process.has_ended:
            return
        wait = child.process.leave()
        try:
            threading.Thread(target=wait, name="onward-child", daemon=True).start()
        except RuntimeError:  # since Python 3.12, a program that ends starts no threads
            wait()

    def _load(
        self, child: _Child, step: StepNode, modules: tuple[str, ...], is_over: IsOver
    ) -> None:
        from onward.processes.messages import Load, Loaded, Logged
        from onward.processes.records import handle, levels

        if modules in child.loaded:
            return
        main = main_file() if MAIN in modules else None
        disabled = logging.root.manager.disable
        child.process.send(Load(modules, main, levels(), disabled))
        end = time.monotonic() + _STARTING
        while True:
            _check(step, is_over, child.process)
            match answer := child.process.receive(_LOOK):
                case Logged():
                    handle(answer)
                case Loaded(problem=""):
                    child.loaded.add(modules)
                    return
                case Loaded(problem=problem):
                    message = f"its isolated process could not be set up: {problem}"
                    raise _Stop(Misconfigured(step.task, message))
                case _ if time.monotonic() >= end:
                    child.process.kill()
                    message = f"its isolated process did not start within {_STARTING:g} s"
                    raise _Stop(Lost(step.task, message))
                case _:
                    pass

    def _exchange(
        self,
        child: _Child,
        step: StepNode,
        args: Args,
        modules: tuple[str, ...],
        context: Context,
        isolation: Isolation,
        is_over: IsOver,
    ) -> Ended:
        from onward.processes.messages import Ended, Job, Logged, Reported, encode_json, where_of
        from onward.processes.records import handle

        child.steps += 1
        number, process = child.steps, child.process
        # The worker keeps the timeout and the retries.
        bare = encode_json(replace(step, timeout=None, isolate=None))
        weigh = isolation.max_memory is not None
        process.send(Job(number, modules, bare, encode_json(args), where_of(context), weigh))
        now = time.monotonic()
        end = math.inf if step.timeout is None else now + step.timeout
        looks = now + _LOOK
        while True:
            match answer := process.receive(max(0.0, min(looks, end) - now)):
                case Logged():
                    handle(answer)
                case Reported(number=its_number, progress=progress):
                    if its_number == number:
                        context.report(progress)
                case Ended():
                    return answer
                case _:
                    pass
            now = time.monotonic()
            if now >= end:
                process.kill()
                raise _Stop(_timed_out(step, context))
            if now >= looks:
                _check(step, is_over, process)
                looks = now + _LOOK


def _check(step: StepNode, is_over: IsOver, process: Process | None = None) -> None:
    """Ends the attempt, and the process, if nobody needs the outcome any more."""
    if is_over():
        if process is not None:
            process.kill()
        message = "its call was cancelled or has expired, or its worker stopped"
        raise _Stop(Cancelled(step.task, message), was_cancelled=True)


def _is_worn(child: _Child, ended: Ended, isolation: Isolation) -> bool:
    most, memory = isolation.max_tasks, isolation.max_memory
    if most is not None and child.steps >= most:
        return True
    return memory is not None and ended.memory > memory * 1e6


def _timed_out(step: StepNode, context: Context) -> TimedOut:
    assert step.timeout is not None
    message = f"no value after {step.timeout:g} s, so its process was killed"
    return TimedOut(context.task, message, step.timeout, context.attempt)


def _end(idle: list[_Child], busy: set[_Child]) -> None:
    for child in list(busy):
        child.process.kill()
    for wait in [child.process.leave() for child in idle]:
        wait()
    idle.clear()
