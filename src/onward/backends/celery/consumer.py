"""What a Celery worker takes up of what stands in its queues, and what becomes of the rest."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from celery.bootsteps import CLOSE  # type: ignore[attr-defined]  # not in the stubs
from celery.exceptions import WorkerShutdown
from celery.worker.consumer import Consumer as CeleryConsumer
from kombu.utils.url import maybe_sanitize_url

from onward.backends.celery import native
from onward.backends.celery.runner import ASKED

_LOGGER = logging.getLogger("onward.celery")


class _Strategies(dict[str, Any]):
    """What Celery does with a message, by its task's name; a name that it does not know included.

    Celery drops such a message, and its call would wait for ever. Here it goes to the plumbing,
    where the step has `Unknown` as its outcome, and the call goes on from there.
    """

    def __missing__(self, name: str) -> Any:
        known = self[native.PASS]

        def strategy(message: Any, *args: Any, **kwargs: Any) -> Any:
            message.headers["task"] = native.PASS
            message.headers[ASKED] = name
            return known(message, *args, **kwargs)

        return strategy


class Consumer(CeleryConsumer):
    """Celery's consumer, which goes on whatever stands in its queues."""

    Strategies = _Strategies
    strategies: dict[str, Any]
    connection_errors: tuple[type[Exception], ...]
    channel_errors: tuple[type[Exception], ...]

    def update_strategies(self) -> None:
        super().update_strategies()
        # Some of Celery's own tasks, such as celery.map, run others as the message has it.
        for name, task in self.app.tasks.items():
            if task.__module__ == "celery.app.builtins":
                del self.strategies[name]

    def create_task_handler(self, *args: Any, **kwargs: Any) -> Callable[[Any], None]:
        """Celery's own, but a message that it trips over is dropped, and not fetched again."""
        handle = super().create_task_handler(*args, **kwargs)
        away = (*self.connection_errors, *self.channel_errors)

        def on_message(message: Any) -> None:
            try:
                handle(message)
            except away:
                raise
            except Exception as problem:
                _LOGGER.warning("dropped a message that makes no sense: %r", problem)
                message.reject_log_error(_LOGGER, self.connection_errors)

        return on_message

    def ensure_connected(self, conn: Any) -> Any:
        """Like Celery's own, but a worker that is to stop does not wait for its broker first."""

        def on_error(problem: Exception, interval: float) -> None:
            again = f"Trying again in {interval:.0f} seconds..."
            broker = maybe_sanitize_url(self.app.conf.broker_url)
            _LOGGER.error("Cannot connect to %s: %s. %s", broker, problem, again)

        def leave_if_told() -> None:
            if self.blueprint.state == CLOSE:
                raise WorkerShutdown(0)

        conn.ensure_connection(on_error, callback=leave_if_told)
        self.first_connection_attempt = False
        return conn
