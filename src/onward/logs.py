"""Puts the running call on log records, through the standard `logging`.

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
"""The attributes that `Tell` adds to each record; they are empty outside a task."""


class Tell(logging.Filter):
    """Adds `ref`, `task`, `step`, `attempt` and, for people, `call` to each record."""

    def filter(self, record: logging.LogRecord) -> bool:
        context = current()
        attempt = context.attempt if context.id else ""
        at = f" [{context.task} at {context.step} of {context.id}, attempt {attempt}]"
        values = zip(FIELDS, (context.id, context.task, context.step, attempt), strict=True)
        for name, value in (*values, ("call", at if context.id else "")):
            # Another handler, perhaps on another thread, or the task itself may have set it.
            vars(record).setdefault(name, value)
        return True


def tell(handler: H) -> H:
    """Makes a handler add the running call to its records, for formats such as `%(ref)s`.

    Args:
        handler: Any handler of `logging`.

    Returns:
        The same handler.

    Example:
        >>> import logging
        >>> handler = tell(logging.StreamHandler())
        >>> handler.setFormatter(logging.Formatter("%(levelname)s %(message)s%(call)s"))
    """
    # On the handler: a logger's filters skip the records of its children.
    handler.addFilter(Tell())
    return handler


class Json(logging.Formatter):
    """Formats a record as one line of JSON, with what `tell` added to it.

    Example:
        >>> import logging
        >>> handler = tell(logging.StreamHandler())
        >>> handler.setFormatter(Json())
    """

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
        elif record.exc_text:  # it was raised in another process
            line["exception"] = record.exc_text
        # Not msgspec: a message may have a lone surrogate, for instance from a file's name.
        return json.dumps(line, default=str)
