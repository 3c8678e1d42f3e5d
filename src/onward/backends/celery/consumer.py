"""Takes messages from a worker's queues, and refuses those that are not Onward's."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from celery.bootsteps import CLOSE  # type: ignore[attr-defined]  # not in the stubs
from celery.events.dispatcher import EventDispatcher
from celery.exceptions import WorkerShutdown
from celery.worker.consumer import Consumer as CeleryConsumer

from onward.backends.celery import lower, transport
from onward.backends.celery.clock import eta_here
from onward.backends.celery.envelope import Refusal, Taken, read
from onward.backends.celery.refused import Refusals
from onward.backends.celery.runner import ASKED
from onward.backends.celery.signing import Signer, opened

_LOGGER = logging.getLogger("onward.celery")


class Dispatcher(EventDispatcher):
    """Celery's own, which keeps an event that cannot be sent for when there is a broker again.

    Celery tries for as long as that takes, on the loop that is to hear of messages and of the end.
    """

    def _publish(self, *args: Any, **kwargs: Any) -> None:
        kwargs["retry"] = False
        super()._publish(*args, **kwargs)  # type: ignore[misc]  # not in the stubs


class Consumer(CeleryConsumer):
    """Celery's consumer, which no message can stop.

    Args:
        refusals: Where it says what it has refused.
        signer: Has the worker's keys, if it has some.
    """

    strategies: dict[str, Any]
    connection_errors: tuple[type[Exception], ...]
    channel_errors: tuple[type[Exception], ...]
    task_consumer: Any
    problem: Exception | None = None
    """Why there was no connection to the broker when last tried."""

    def __init__(
        self,
        *args: Any,
        refusals: Refusals,
        signer: Signer | None,
        now: Callable[[], float],
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self._refusals = refusals
        self._signer = signer
        self._now = now

    def update_strategies(self) -> None:
        """Celery's own, without its own tasks: some, as celery.map, run what the message says."""
        super().update_strategies()
        for name, task in self.app.tasks.items():
            if task.__module__ == "celery.app.builtins":
                del self.strategies[name]

    def create_task_handler(self, *args: Any, **kwargs: Any) -> Callable[[Any], None]:
        """Celery's own, for what is a message of ours; another one is refused, and all goes on."""
        handle = super().create_task_handler(*args, **kwargs)
        away = (*self.connection_errors, *self.channel_errors)
        through = self.task_consumer.channel.connection
        if isinstance(through, transport.Transport):
            through.refusals = self._refusals

        def on_message(message: Any) -> None:
            try:
                taken = self._taken(message)
                if isinstance(taken, Refusal):
                    self._refuse(message, taken)
                    return
                message.taken = taken
                message.headers = taken.headers
                message._decoded_cache = taken.body
                handle(message)
            except away:
                raise
            except Exception as problem:
                _LOGGER.exception("a message could not be taken up")
                self._refuse(message, Refusal(f"it could not be taken up: {problem!r}"))

        return on_message

    def on_decode_error(self, message: Any, exc: Exception) -> None:
        """Refuses a message that cannot be decoded."""
        self._refuse(message, Refusal(f"it cannot be decoded ({type(exc).__name__})"))

    def _taken(self, message: Any) -> Taken | Refusal:
        if getattr(message, "is_compressed", False):
            return Refusal(transport.COMPRESSED, is_foreign=True)
        taken = read(message)
        if isinstance(taken, Refusal):
            return taken
        name = taken.headers["task"]
        if "eta" in taken.headers and not self._is_signed(name, taken):
            # The others are looked at where they are run. This one would be held until then.
            return Refusal("it is not signed for this task with a key of this worker")
        if eta := taken.headers.get("eta"):
            # Celery waits for it by this machine's clock.
            taken.headers["eta"] = eta_here(eta, self._now())
        if name in self.strategies:
            return taken
        if name in self.app.tasks:
            return Refusal("Celery's own tasks are not served", is_foreign=True)
        # Celery drops what it does not know, and the call would wait for ever. The plumbing gives
        # the step `Unknown` as its outcome, and the call goes on from there.
        taken.headers.update({"task": lower.PASS, ASKED: name})
        return taken

    def _is_signed(self, name: str, taken: Taken) -> bool:
        if self._signer is None:
            return True
        ticket: str = taken.body[1]["ticket"]
        return opened(self._signer, ticket.encode(errors="replace"), "ticket", name) is not None

    def _refuse(self, message: Any, refusal: Refusal) -> None:
        if message.acknowledged:
            return
        headers = message.headers if isinstance(message.headers, dict) else {}
        said = " for ".join(repr(headers[key])[:80] for key in ("id", "task") if key in headers)
        raw = message.body if isinstance(message.body, bytes) else str(message.body).encode()
        self._refusals.add(refusal, self._queue_of(message), raw, said)
        message.reject_log_error(_LOGGER, self.connection_errors)

    def _queue_of(self, message: Any) -> str:
        by = message.delivery_info.get("consumer_tag")
        for queue, tag in self.task_consumer._active_tags.items():
            if by == tag:
                return str(queue)
        return str(message.delivery_info.get("routing_key"))

    def ensure_connected(self, conn: Any) -> Any:
        """Like Celery's own, but tries soon again, and not when the worker is to stop."""

        def on_error(problem: Exception, interval: float) -> None:
            self.problem = problem

        def leave_if_told() -> None:
            if self.blueprint.state == CLOSE:
                raise WorkerShutdown(0)

        conn.ensure_connection(
            on_error, interval_start=0.5, interval_step=0.5, interval_max=2, callback=leave_if_told
        )
        self.problem = None
        self.first_connection_attempt = False
        return conn
