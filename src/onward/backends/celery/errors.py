"""What it means that the broker or the ledger is not reached."""

from __future__ import annotations

from typing import Any

from amqp.exceptions import AMQPError
from celery import Celery
from kombu import Connection
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from onward.backend.support import first_match
from onward.backends.celery import address
from onward.backends.celery.outage import shown
from onward.fault import CLOSED, Unavailable

NOT_REACHED = (AMQPError, OperationalError, RedisError, OSError)
"""What the clients raise then."""

LEDGER = "the ledger"

_PROMPT = 3.0
"""How long the broker may take for what it answers at once, in seconds."""

_PASSWORD = "correct the user and the password in its URL"
_CURES = {
    "Login was refused": _PASSWORD,  # as of what a user may not do, ACCESS_REFUSED is said too
    "username-password": _PASSWORD,
    "Authentication required": _PASSWORD,
    "already authenticated": _PASSWORD,
    "NOT_ALLOWED - vhost": "correct the virtual host in its URL",
    "CERTIFICATE_VERIFY_FAILED": "see who certifies it, and for which host",
    "WRONG_VERSION_NUMBER": "it speaks no TLS: write redis:// or amqp://",
    "closed": "if it wants TLS, write rediss:// or amqps://",
    "imed out": "see that it runs, and whether it speaks TLS",
    "Timeout": "see that it runs, and whether it speaks TLS",
    "did not answer": "see that it runs, and whether it speaks TLS",
}
"""What helps, by a word of what the clients say."""


def broker_of(app: Celery) -> Connection:
    """A connection to the broker that does not wait for one which takes it and says nothing.

    Raises:
        AMQPError: As for all of `NOT_REACHED`, if there is none to be had.
    """
    options: dict[str, Any] = {}
    if address.is_redis(app.conf.broker_url):
        options = {"socket_timeout": _PROMPT, "socket_connect_timeout": _PROMPT}
    broker = app.connection_for_read(transport_options=options)
    return broker.ensure_connection(max_retries=1, interval_start=0)


def unavailable(where: str, problem: Exception, flow: str = "") -> Unavailable:
    """The fault that one of `NOT_REACHED` is.

    Args:
        where: What is not reached.
        problem: What its client raised.
        flow: The flow that was submitted.
    """
    said = (getattr(problem, "reply_text", "") or str(problem)).rstrip(".")
    cure = None if said.endswith(CLOSED) else first_match(_CURES, said)
    return Unavailable(flow, f"{where}: {said}" if cure is None else f"{where}: {said}: {cure}")


def reached_for(app: Celery, problem: Exception) -> str:
    """Which of the two raised this, where both were asked."""
    if isinstance(problem, RedisError):
        return LEDGER
    return shown("the broker", app.conf.broker_url)
