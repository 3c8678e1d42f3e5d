"""Receives messages from a worker's queues, and refuses those that are not Onward's."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from celery.bootsteps import CLOSE  # type: ignore[attr-defined]  # not in the stubs
from celery.events.dispatcher import EventDispatcher
from celery.exceptions import WorkerShutdown
from celery.worker.consumer import Consumer as CeleryConsumer

from onward.backends.celery import lower, transport
from onward.backends.celery.clock import eta_to_local
from onward.backends.celery.dead_letters import RefusalLog
from onward.backends.celery.envelope import Refusal, ValidMessage, validate
from onward.backends.celery.reader import UNKNOWN_TASK
from onward.backends.celery.signing import Signer, verify

_LOGGER = logging.getLogger("onward.celery")


class Dispatcher(EventDispatcher):
    """Celery's event dispatcher, which sends an event later if the broker is not reached.

    Celery's own would retry until the broker is back, and block the loop that receives messages.
    """

    def _publish(self, *args: Any, **kwargs: Any) -> None:
        kwargs["retry"] = False
        super()._publish(*args, **kwargs)  # type: ignore[misc]  # not in the stubs


class Consumer(CeleryConsumer):
    """Celery's consumer, hardened so that no message can stop it.

    Args:
        refusals: Logs and keeps refused messages.
        signer: Checks signatures; None without keys.
        now: Returns the time by the ledger's clock.
    """

    strategies: dict[str, Any]
    connection_errors: tuple[type[Exception], ...]
    channel_errors: tuple[type[Exception], ...]
    task_consumer: Any
    problem: Exception | None = None
    """Why the last attempt to connect to the broker failed; None if it succeeded."""

    def __init__(
        self,
        *args: Any,
        refusals: RefusalLog,
        signer: Signer | None,
        now: Callable[[], float],
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self._refusals = refusals
        self._signer = signer
        self._now = now

    def update_strategies(self) -> None:
        """Like Celery's, but without its built-in tasks: celery.map, for one, runs any task."""
        super().update_strategies()
        for name, task in self.app.tasks.items():
            if task.__module__ == "celery.app.builtins":
                del self.strategies[name]

    def create_task_handler(self, *args: Any, **kwargs: Any) -> Callable[[Any], None]:
        """Like Celery's, but refuses messages that are not Onward's, and survives errors."""
        handle = super().create_task_handler(*args, **kwargs)
        connection_problems = (*self.connection_errors, *self.channel_errors)
        transport_of_worker = self.task_consumer.channel.connection
        if isinstance(transport_of_worker, transport.Transport):
            transport_of_worker.refusals = self._refusals

        def on_message(message: Any) -> None:
            try:
                valid = self._validate(message)
                if isinstance(valid, Refusal):
                    self._refuse(message, valid)
                    return
                message.validated = valid
                message.headers = valid.headers
                message._decoded_cache = valid.body
                handle(message)
            except connection_problems:
                raise
            except Exception as problem:
                _LOGGER.exception("a message could not be processed")
                self._refuse(message, Refusal(f"it could not be processed: {problem!r}"))

        return on_message

    def on_decode_error(self, message: Any, exc: Exception) -> None:
        """Refuses a message that cannot be decoded."""
        self._refuse(message, Refusal(f"it cannot be decoded ({type(exc).__name__})"))

    def _validate(self, message: Any) -> ValidMessage | Refusal:
        if getattr(message, "is_compressed", False):
            return Refusal(transport.COMPRESSED, is_foreign=True)
        valid = validate(message)
        if isinstance(valid, Refusal):
            return valid
        name = valid.headers["task"]
        if "eta" in valid.headers and not self._is_signed(name, valid):
            # Other signatures are checked when the task runs. This one would wait in memory first.
            return Refusal("it is not signed for this task with a key of this worker")
        if eta := valid.headers.get("eta"):
            # Celery waits for the eta by this machine's clock.
            valid.headers["eta"] = eta_to_local(eta, self._now())
        if name in self.strategies:
            return valid
        if name in self.app.tasks:
            return Refusal("Celery's built-in tasks are not served", is_foreign=True)
        # Celery drops an unknown task, and the call would wait forever. So a task of Onward's runs
        # instead, which gives the step the outcome `Unknown`.
        valid.headers.update({"task": lower.PASS, UNKNOWN_TASK: name})
        return valid

    def _is_signed(self, name: str, valid: ValidMessage) -> bool:
        if self._signer is None:
            return True
        ticket: str = valid.body[1]["ticket"]
        return verify(self._signer, ticket.encode(errors="replace"), "ticket", name) is not None

    def _refuse(self, message: Any, refusal: Refusal) -> None:
        if message.acknowledged:
            return
        headers = message.headers if isinstance(message.headers, dict) else {}
        name = " for ".join(repr(headers[key])[:80] for key in ("id", "task") if key in headers)
        raw = message.body if isinstance(message.body, bytes) else str(message.body).encode()
        call = headers.get("root_id")
        self._refusals.add(refusal, self._queue_of(message), raw, name, call)
        message.reject_log_error(_LOGGER, self.connection_errors)

    def _queue_of(self, message: Any) -> str:
        consumer_tag = message.delivery_info.get("consumer_tag")
        for queue, tag in self.task_consumer._active_tags.items():
            if consumer_tag == tag:
                return str(queue)
        return str(message.delivery_info.get("routing_key"))

    def ensure_connected(self, conn: Any) -> Any:
        """Like Celery's, but retries sooner, and ends when the worker is to stop."""

        def on_error(problem: Exception, interval: float) -> None:
            self.problem = problem

        def stop_if_closing() -> None:
            if self.blueprint.state == CLOSE:
                raise WorkerShutdown(0)

        conn.ensure_connection(
            on_error,
            interval_start=0.5,
            interval_step=0.5,
            interval_max=2,
            callback=stop_if_closing,
        )
        self.problem = None
        self.first_connection_attempt = False
        return conn
