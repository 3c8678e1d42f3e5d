"""Notes each of Celery's messages in the ledger before it is sent."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from celery.app.amqp import AMQP

from onward.backends.celery.ledger import Message


class Sending(AMQP):
    """Celery's own, which says what it is about to send for a call."""

    note: Callable[[list[Message]], None] | None = None

    def _create_task_sender(self) -> Any:
        send = super()._create_task_sender()  # type: ignore[misc]  # not in the stubs

        def noted(producer: Any, name: str, message: Any, *args: Any, **options: Any) -> Any:
            queue = options.get("queue")
            where = str(getattr(queue, "name", queue) or options.get("routing_key"))
            headers = message.headers
            sent = Message(headers["root_id"], headers["id"], where, options.get("priority") or 0)
            if self.note is not None:
                self.note([sent])
            return send(producer, name, message, *args, **options)

        return noted
