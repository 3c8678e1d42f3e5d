"""Carries the log records of a child process to its worker, whose handlers get them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

from onward.processes.messages import Logged, LogValue

_OWN = "onward.step"
"""The logger of failed attempts: the worker logs these itself."""

_LARGEST = 2**63


def levels() -> dict[str, int]:
    """The levels that are set on the loggers of this process; that of the root is under ""."""
    known = {"": logging.root.level}
    for name, logger in list(logging.root.manager.loggerDict.items()):
        if isinstance(logger, logging.Logger) and logger.level:
            known[name] = logger.level
    return known


def handle(logged: Logged) -> None:
    """Lets this process's handlers have a record of a child."""
    record = logging.makeLogRecord(dict(logged.record))
    logger = logging.getLogger(record.name)
    if logger.isEnabledFor(record.levelno):
        logger.handle(record)


def forward(send: Callable[[Logged], None], known: Mapping[str, int], disabled: int) -> None:
    """Makes all loggers of this process, a child, send their records to its worker.

    Args:
        send: Sends one.
        known: The levels of the worker's loggers.
        disabled: The level up to which all logging is disabled.
    """
    # The modules' own handlers are in the worker too, which would log each record twice.
    for logger in logging.root.manager.loggerDict.values():
        if isinstance(logger, logging.Logger):
            logger.handlers.clear()
            logger.propagate = True
    for name, level in known.items():
        logging.getLogger(name or None).setLevel(level)
    logging.disable(disabled)
    logging.root.handlers[:] = [_Forwarder(send)]


class _Forwarder(logging.Handler):
    def __init__(self, send: Callable[[Logged], None]) -> None:
        super().__init__()
        self._send = send
        self._formatter = logging.Formatter()

    def emit(self, record: logging.LogRecord) -> None:
        if record.name == _OWN:
            return
        try:
            message = record.getMessage()
            if record.exc_info and not record.exc_text:
                record.exc_text = self._formatter.formatException(record.exc_info)
            values = {name: _plain(value) for name, value in vars(record).items()}
            known = {name: value for name, value in values.items() if value is not None}
            self._send(Logged(known | {"msg": _plain(message)}))
        except Exception:
            self.handleError(record)


def _plain(value: object) -> LogValue:
    """A value that can travel; None if it cannot."""
    if isinstance(value, str):  # it may have a lone surrogate, for instance from a file's name
        return str(value).encode("utf-8", "backslashreplace").decode()
    if isinstance(value, bool):
        return value
    if isinstance(value, int):
        return int(value) if abs(value) < _LARGEST else None
    return float(value) if isinstance(value, float) else None
