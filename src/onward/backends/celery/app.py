"""The Celery app behind a backend, with the settings that lose no message."""

from __future__ import annotations

import ssl
from typing import Any
from urllib.parse import urlsplit

from celery import Celery
from celery import _state as celery_state

from onward.backends.celery import address
from onward.backends.celery.client import Again, PublishDeadline, Timeouts, primary_at

LONGEST = 24 * 3600
"""How long a message may be with a worker before Redis takes the worker for dead, in seconds."""

_SENDING = "onward.backends.celery.sending:Sending"

_MIDDLE = 4
"""The priority of what names none."""


def make_app(
    broker_url: str,
    *,
    queue: str,
    options: dict[str, Any],
    timeouts: Timeouts,
    publish_deadline: PublishDeadline,
) -> Celery:
    """A Celery app that is not registered globally."""
    options = dict(options)
    transport_options = {
        **_transport_options(broker_url, timeouts),
        **options.pop("broker_transport_options", {}),
    }
    app = Celery("onward", set_as_current=False, autofinalize=False, fixups=[], amqp=_SENDING)
    app.conf.update(
        broker_url=address.of_celery(broker_url),
        broker_transport=_transport(broker_url),
        task_default_queue=queue,
        task_serializer="json",
        result_serializer="json",
        accept_content=["json"],
        # At least once: a message is done with when its step is.
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        worker_prefetch_multiplier=1,
        broker_transport_options=transport_options,
        task_publish_retry_policy={
            "max_retries": 10,  # about 7 s; what is not published then is found again
            "interval_start": 0.1,
            "interval_step": 0.2,
            "interval_max": 1,
            "errback": publish_deadline,
        },
        broker_pool_acquire_timeout=timeouts.turn,
        broker_connection_timeout=timeouts.connect,
        broker_heartbeat=timeouts.heartbeat,
        redis_socket_connect_timeout=timeouts.connect,
        redis_socket_timeout=timeouts.socket,
        # A socket of this machine has none.
        redis_socket_keepalive=not str(options.get("result_backend")).startswith("socket:"),
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        # Threads cannot be ended: a step whose message comes again goes on, and keeps its lease.
        worker_cancel_long_running_tasks_on_connection_loss=False,
        # What comes of a call is in the ledger.
        task_ignore_result=True,
        task_store_errors_even_if_ignored=False,
        result_backend_thread_safe=True,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        worker_enable_remote_control=True,
        task_queue_max_priority=9,
        enable_utc=True,
    )
    if broker_url.startswith("amqps:"):
        app.conf.broker_use_ssl = verified(broker_url)
    app.conf.update(options)
    app.finalize()  # or a process that only submits could not
    # What a process shares with all its Celery apps, before or after this, is not for ours to run.
    celery_state._deregister_app(app)  # type: ignore[attr-defined]  # not in the stubs
    for name in [name for name in app.tasks if not name.startswith("celery.")]:
        app.tasks.unregister(name)
    return app


def verifying(redis_url: str) -> str:
    """The URL of a Redis that, over TLS, has to show a certificate, if it says nothing else."""
    # Left out, Celery's client would take any certificate, and its worker none.
    if not redis_url.startswith("rediss:") or "ssl_cert_reqs=" in redis_url:
        return redis_url
    return f"{redis_url}{'&' if '?' in redis_url else '?'}ssl_cert_reqs=required"


def verified(amqps_url: str) -> dict[str, Any]:
    """What makes RabbitMQ's client look who certified the broker, and for which host."""
    # The one in the URL; but of localhost, kombu makes an address.
    host = "localhost" if urlsplit(amqps_url).hostname == "localhost" else None
    return {"cert_reqs": ssl.CERT_REQUIRED, "server_hostname": host}


def priority_on(broker_url: str, priority: int | None) -> int:
    """What a priority from 0 (least) to 9 (most urgent) is to this broker."""
    priority = _MIDDLE if priority is None else priority
    return priority if broker_url.startswith("amqp") else 9 - priority


def priority_of(sent: object) -> int:
    """The priority that a message has, which may come from anywhere."""
    return sent if isinstance(sent, int) else 0


def _transport(broker_url: str) -> str | None:
    if address.is_redis(broker_url):
        return "onward.backends.celery.transport:Transport"
    if broker_url.startswith("amqps:"):
        return "onward.backends.celery.transport:AmqpsTransport"
    if broker_url.startswith(("amqp:", "pyamqp:")):
        return "onward.backends.celery.transport:AmqpTransport"
    return None  # kombu's own, by the scheme


def _transport_options(broker_url: str, timeouts: Timeouts) -> dict[str, Any]:
    if address.is_redis(broker_url) or broker_url.startswith("valkey"):
        primary = primary_at(broker_url, timeouts) if address.is_sentinel(broker_url) else None
        return {
            "primary": primary,
            **timeouts.of_redis(),
            "again": Again(timeouts.connect, rest=timeouts.socket),
            "turn": timeouts.turn,
            "health_check_interval": timeouts.check,
            "visibility_timeout": LONGEST,
            "unacked_restore_interval": 1,
            "unacked_restore_throttle": 1,
            "priority_steps": list(range(10)),
            "queue_order_strategy": "priority",
        }
    if broker_url.startswith("memory:"):
        return {"polling_interval": 0.002}
    return {**timeouts.of_rabbitmq(), "confirm_publish": True}
