"""Runs in a child process of a worker: makes attempts at isolated steps, one after the other."""

from __future__ import annotations

import contextlib
import faulthandler
import importlib
import multiprocessing.process
import multiprocessing.spawn
import os
import select
import signal
import sys
import threading
import traceback
from collections.abc import Generator
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from types import ModuleType
from typing import Any

from onward import outcome as outcomes
from onward.attempt import Attempts, ThreadExecutor
from onward.catalog import Tasks
from onward.context import Context, Progress
from onward.coroutines import drive
from onward.flows.flow import AnyTask
from onward.opened import OpenResources
from onward.processes.memory import memory
from onward.processes.messages import (
    Answered,
    Ended,
    Job,
    Load,
    Loaded,
    Reported,
    decode_args,
    decode_asked,
    decode_step,
    encode,
)
from onward.processes.places import MAIN, tasks_in
from onward.processes.records import forward
from onward.resource import OPENS

_FIRST_TO_GO = "500"
"""How much likelier the kernel kills this process than the worker when memory runs out."""


def main(worker: Connection, life: int) -> None:
    """Serves a worker until it closes the connection.

    Args:
        worker: The connection to the worker.
        life: The end of a pipe that is closed when the worker is dead.
    """
    # The worker decides when its children end: systemd, for one, signals all processes of a unit.
    # A handler, because processes that a step starts would inherit that a signal is ignored.
    for name in ("SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT"):
        signal.signal(getattr(signal, name), _ignore)
    with contextlib.suppress(OSError):  # no Linux
        Path("/proc/self/oom_score_adj").write_text(_FIRST_TO_GO)
    with contextlib.suppress(Exception):  # stderr is closed
        faulthandler.enable()
    _Child(worker, _Life(life)).serve()


def _ignore(_: int, __: object) -> None:
    """Handles a signal that is not for this process."""


class _Life:
    """Kills this process, and those that it has started, if its worker dies during a step."""

    def __init__(self, pipe: int) -> None:
        self._pipe = pipe
        self._is_busy = False
        threading.Thread(target=self._watch, name="onward-life", daemon=True).start()

    @contextlib.contextmanager
    def watched(self) -> Generator[None]:
        """Around each step. Without a step, the end of the connection ends the process."""
        self._is_busy = True
        self._signal(signal.SIGKILL)
        try:
            if select.select([self._pipe], [], [], 0)[0]:  # it has died just before
                _kill_all()
            yield
        finally:
            self._is_busy = False
            self._signal(0)

    def _watch(self) -> None:
        os.read(self._pipe, 1)  # nobody writes
        if self._is_busy:
            _kill_all()

    def _signal(self, number: int) -> None:
        """Lets the kernel kill, where it can: a thread cannot while C code holds the GIL."""
        if sys.platform != "linux":
            return
        import fcntl

        with contextlib.suppress(OSError):
            fcntl.fcntl(self._pipe, fcntl.F_SETOWN, -os.getpgrp())
            fcntl.fcntl(self._pipe, fcntl.F_SETSIG, number)
            flags = fcntl.fcntl(self._pipe, fcntl.F_GETFL)
            changed = flags | os.O_ASYNC if number else flags & ~os.O_ASYNC
            fcntl.fcntl(self._pipe, fcntl.F_SETFL, changed)


def _kill_all() -> None:
    os.killpg(0, signal.SIGKILL)


class _Child:
    def __init__(self, worker: Connection, life: _Life) -> None:
        self._worker = worker
        self._life = life
        self._sending = threading.Lock()
        self._executor = ThreadExecutor()
        self._resources = OpenResources()
        OPENS.set(self._resources)
        self._attempts: dict[tuple[str, ...], Attempts] = {}

    def serve(self) -> None:
        try:
            with contextlib.suppress(EOFError, OSError):  # the worker needs it no more, or is dead
                while True:
                    self._handle(decode_asked(self._worker.recv_bytes()))
        finally:
            self._executor.close()
            self._resources.end()

    def _handle(self, asked: Load | Job) -> None:
        if isinstance(asked, Job):
            with self._life.watched():
                self._send(self._performed(asked))
            return
        forward(self._send, asked.levels, asked.disabled)
        try:
            tasks = _tasks(asked)
        except BaseException as problem:
            what = "".join(traceback.format_exception_only(problem)).strip()
            traceback.print_exception(problem)
            self._send(Loaded(f"{', '.join(asked.modules)} cannot be imported: {what}"))
            return
        forward(self._send, asked.levels, asked.disabled)  # a module may have set up its own
        self._attempts[asked.modules] = Attempts(tasks, self._executor)
        self._send(Loaded())

    def _performed(self, job: Job) -> Ended:
        where = job.context
        context = Context(
            where.id,
            where.task,
            where.step,
            where.attempt,
            where.key,
            where.deadline,
            report=partial(self._report, job.number),
            trace=where.trace,
        )
        step, args = decode_step(job.step), decode_args(job.args)
        outcome = drive(self._attempts[job.modules].make(step, args, context))
        return Ended(job.number, outcomes.encode(outcome), memory() if job.weigh else 0)

    def _report(self, number: int, progress: Progress) -> None:
        self._send(Reported(number, progress))

    def _send(self, message: Answered) -> None:
        raw = encode(message)
        with self._sending:
            self._worker.send_bytes(raw)


def _tasks(load: Load) -> Tasks:
    found: dict[str, AnyTask] = {}
    for name in load.modules:
        for task in tasks_in(_module(name, load.main)):
            found.setdefault(task.name, task)
    return found


def _module(name: str, main: str | None) -> ModuleType:
    if name != MAIN:
        return importlib.import_module(name)
    assert main is not None
    here: Any = multiprocessing.process.current_process()
    here._inheriting = True  # so that a program that lacks its guard starts no more processes
    try:
        multiprocessing.spawn.import_main_path(main)
    finally:
        del here._inheriting
    return sys.modules[MAIN]
