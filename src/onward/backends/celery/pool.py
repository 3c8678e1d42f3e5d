"""The threads of a Celery worker, in which steps run."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import thread as futures
from contextvars import copy_context
from typing import Any

from celery.concurrency.base import apply_target
from celery.concurrency.thread import ApplyResult, TaskPool  # type: ignore[attr-defined]  # not in the stubs

from onward.context import HELD


class Pool(TaskPool):
    """Celery's own pool of threads, which runs each message in a fresh copy of its own context.

    In it the app is the current one. Celery looks its tasks up there, and ours is nobody's default.
    """

    executor: ThreadPoolExecutor
    limit: int
    consumer: Any = None
    """Celery's consumer, once it is ready: it fetches one more for each slot that is lent."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._is_over = threading.Event()
        self._variables = copy_context()
        self._variables.run(HELD.set, self._lent)
        self._free = self.limit
        self._change = threading.Condition()

    @contextlib.contextmanager
    def _lent(self) -> Generator[None]:
        """Lets another message have the slot of a step that waits for a call."""
        with self._change:
            self.executor._max_workers += 1
        self._put(1)
        qos = getattr(self.consumer, "qos", None)
        if qos is not None:
            qos.increment_eventually()
        try:
            yield
        finally:
            self._put(-1)
            if qos is not None:
                qos.decrement_eventually()
            with self._change:
                self.executor._max_workers -= 1

    def _take(self) -> None:
        # A thread may be left over from when a slot was lent, and must not be one more.
        with self._change:
            self._change.wait_for(lambda: self._free > 0)
            self._free -= 1

    def _put(self, count: int) -> None:
        with self._change:
            self._free += count
            self._change.notify_all()

    def on_stop(self) -> None:
        """Waits for what is running, as Celery's own does, but not after `give_back`.

        Closing the channel afterwards has the broker give unacknowledged messages to others.
        """

        def wait() -> None:
            try:
                super(Pool, self).on_stop()
            finally:
                self._is_over.set()

        threading.Thread(target=wait, name="onward-pool", daemon=True).start()
        self._is_over.wait()
        self._let_go()  # also of what has begun since `give_back`

    def give_back(self) -> None:
        """Lets Celery stop, and the process end, whatever is running."""
        self._is_over.set()
        self._let_go()

    def _let_go(self) -> None:
        for each in list(self.executor._threads):  # Celery's loop may add to them
            futures._threads_queues.pop(each, None)  # type: ignore[attr-defined]  # not in the stubs

    def on_apply(
        self,
        target: Any,
        args: Any = None,
        kwargs: Any = None,
        callback: Any = None,
        accept_callback: Any = None,
        **_: Any,
    ) -> Any:
        """Runs a message on a thread. Celery would leave what goes wrong there in a Future."""

        def run() -> None:
            self.app.set_current()
            self._take()
            try:
                apply_target(target, args, kwargs, callback, accept_callback)
            except Exception as problem:
                callback.__self__.give_up(problem)
            finally:
                self._put(1)

        return ApplyResult(self.executor.submit(self._variables.copy().run, run))
