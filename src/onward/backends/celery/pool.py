"""The threads of a Celery worker, in which steps run."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import thread as futures
from typing import Any

from celery.concurrency.thread import TaskPool


class Pool(TaskPool):
    """Celery's own pool of threads, in each of which the app is the current one.

    Celery looks its tasks up on the current app, which is a thread's own; ours is nobody's default.
    """

    executor: ThreadPoolExecutor

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._is_over = threading.Event()

    def on_stop(self) -> None:
        """Waits for what is running, as Celery's own does, but not after `give_back`.

        What comes after it, the channel's end, has the broker hand to others what is unanswered.
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

    def on_apply(self, target: Any, *args: Any, **kwargs: Any) -> Any:
        def in_app(*args: Any, **kwargs: Any) -> Any:
            self.app.set_current()
            return target(*args, **kwargs)

        return super().on_apply(in_app, *args, **kwargs)
