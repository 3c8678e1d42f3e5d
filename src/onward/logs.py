"""What the log records of a task say of the call that it runs in, through the stdlib's logging.

Example:
    >>> import io, logging
    >>> handler = tell(logging.StreamHandler(io.StringIO()))
    >>> handler.setFormatter(Json())
"""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from typing import TypeVar

from onward.context import current

H = TypeVar("H", bound=logging.Handler)

FIELDS = ("ref", "task", "step", "attempt")
"""What each record has then; empty outside of a task."""


class Tell(logging.Filter):
    """Puts `ref`, `task`, `step`, `attempt` and, for people, `call` on each record; all pass."""

    def filter(self, record: logging.LogRecord) -> bool:
        context = current()
        attempt = context.attempt if context.id else ""
        at = f" [{context.task} at {context.step} of {context.id}, attempt {attempt}]"
        told = zip(FIELDS, (context.id, context.task, context.step, attempt), strict=True)
        for name, what in (*told, ("call", at if context.id else "")):
            # What is there already counts: another handler's, of another thread, or a task's own.
            vars(record).setdefault(name, what)
        return True


def tell(handler: H) -> H:
    """The same handler, whose records tell of the call. Formats can use `%(ref)s` and the like."""
    # On the handler and not on a logger, whose filters skip the records of its children.
    handler.addFilter(Tell())
    return handler


class Json(logging.Formatter):
    """A record as one line of JSON, with what `Tell` put on it."""

    def format(self, record: logging.LogRecord) -> str:
        """See `logging.Formatter.format`."""
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= {name: getattr(record, name) for name in FIELDS if getattr(record, name, "")}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        # Not msgspec: a message may hold half a surrogate, such as of a file's name.
        return json.dumps(line, default=str)
