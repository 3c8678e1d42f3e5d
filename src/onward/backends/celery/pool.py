"""The thread pool of a Celery worker, which runs its steps."""

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
    """Celery's thread pool, which runs each message in a fresh copy of the worker's context.

    Each thread sets the current app, because Celery looks up tasks in it, and Onward's app is not
    the default one.
    """

    executor: ThreadPoolExecutor
    limit: int
    consumer: Any = None
    """Celery's consumer, once it is ready. It fetches one more message for each lent slot."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._is_over = threading.Event()
        self._variables = copy_context()
        self._variables.run(HELD.set, self._lent)
        self._free = self.limit
        self._change = threading.Condition()

    @contextlib.contextmanager
    def _lent(self) -> Generator[None]:
        """Lends the slot of a step that waits for a call to another message."""
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
        # There may be more threads than slots: the executor keeps a thread made for a lent slot.
        with self._change:
            self._change.wait_for(lambda: self._free > 0)
            self._free -= 1

    def _put(self, count: int) -> None:
        with self._change:
            self._free += count
            self._change.notify_all()

    def on_stop(self) -> None:
        """Waiters for running steps, as Celery does, unless `give_up` was called.

        Celery closes the channel afterwards, and the broker redelivers unacknowledged messages.
        """

        def wait() -> None:
            try:
                super(Pool, self).on_stop()
            finally:
                self._is_over.set()

        threading.Thread(target=wait, name="onward-pool", daemon=True).start()
        self._is_over.wait()
        self._let_go()  # also of threads that have started since `give_up`

    def give_up(self) -> None:
        """Lets Celery stop and the process end, even if steps are running."""
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
        """Runs a message on a thread. Celery's own would leave an exception unseen in a Future."""

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
