"""Turns the errors of the broker's and the ledger's clients into faults, with advice."""

from __future__ import annotations

from typing import Any

from amqp.exceptions import AMQPError
from celery import Celery
from kombu import Connection
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from onward.backend.support import first_match
from onward.backends.celery import urls
from onward.backends.celery.outage import server_name
from onward.fault import CLOSED, Unavailable

NOT_REACHED = (AMQPError, OperationalError, RedisError, OSError)
"""The exceptions that the clients raise if a server is not reached."""

LEDGER = "the ledger"

_PROMPT = 3.0
"""How long the broker may take for a request that it should answer at once, in seconds."""

_PASSWORD = "correct the user and the password in its URL"
_SILENT = "check that it runs, and whether it uses TLS"
_CURES = {
    "Login was refused": _PASSWORD,  # ACCESS_REFUSED would also match missing permissions
    "username-password": _PASSWORD,
    "Authentication required": _PASSWORD,
    "already authenticated": _PASSWORD,
    "NOT_ALLOWED - vhost": "correct the virtual host in its URL",
    "CERTIFICATE_VERIFY_FAILED": "check who issued its certificate, and for which host",
    "WRONG_VERSION_NUMBER": "it does not use TLS: write redis:// or amqp://",
    "closed": "if it requires TLS, write rediss:// or amqps://",
    "imed out": _SILENT,
    "Timeout": _SILENT,
    "did not answer": _SILENT,
}
"""What to do, by a piece of the client's message."""


def broker_of(app: Celery) -> Connection:
    """Connects to the broker, and gives up soon if the broker does not answer.

    Raises:
        AMQPError: Or another one of `NOT_REACHED`, if the broker is not reached.
    """
    options: dict[str, Any] = {}
    if urls.is_redis(app.conf.broker_url):
        options = {"socket_timeout": _PROMPT, "socket_connect_timeout": _PROMPT}
    broker = app.connection_for_read(transport_options=options)
    return broker.ensure_connection(max_retries=1, interval_start=0)


def unavailable(where: str, problem: Exception, flow: str = "") -> Unavailable:
    """Turns one of `NOT_REACHED` into a fault.

    Args:
        where: The server that is not reached.
        problem: What its client raised.
        flow: The name of the flow that was submitted.
    """
    text = (getattr(problem, "reply_text", "") or str(problem)).rstrip(".")
    cure = None if text.endswith(CLOSED) else first_match(_CURES, text)
    return Unavailable(flow, f"{where}: {text}" + (f": {cure}" if cure else ""))


def server_of(app: Celery, problem: Exception) -> str:
    """Names the server whose client raised this: the broker or the ledger."""
    if isinstance(problem, RedisError):
        return LEDGER
    return server_name("the broker", app.conf.broker_url)
