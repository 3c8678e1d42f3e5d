"""Makes a backend's Celery app, with settings under which no message is lost."""

from __future__ import annotations

import ssl
from typing import Any
from urllib.parse import urlsplit

from celery import Celery
from celery import _state as celery_state

from onward.backends.celery import urls
from onward.backends.celery.client import ConnectionRetry, PublishDeadline, Timeouts, primary_finder

LONGEST = 24 * 3600
"""Redis' visibility timeout: how long a worker may hold a message, in seconds."""

_AMQP = "onward.backends.celery.submit:RecordingAMQP"

_MIDDLE = 4
"""The priority of calls and steps that name none."""


def make_app(
    broker_url: str,
    *,
    queue: str,
    options: dict[str, Any],
    timeouts: Timeouts,
    publish_deadline: PublishDeadline,
) -> Celery:
    """Makes a Celery app that is not registered globally."""
    options = dict(options)
    transport_options = {
        **_transport_options(broker_url, timeouts),
        **options.pop("broker_transport_options", {}),
    }
    app = Celery("onward", set_as_current=False, autofinalize=False, fixups=[], amqp=_AMQP)
    app.conf.update(
        broker_url=urls.celery_url(broker_url),
        broker_transport=_transport(broker_url),
        task_default_queue=queue,
        task_serializer="json",
        result_serializer="json",
        accept_content=["json"],
        # At least once: a message is acknowledged after its step has ended.
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        worker_prefetch_multiplier=1,
        # After a lost connection, it would have each step's thread read from the new one, which the
        # consumer reads at the same time.
        worker_enable_prefetch_count_reduction=False,
        broker_transport_options=transport_options,
        task_publish_retry_policy={
            "max_retries": 10,  # about 7 s; after that the reconciler publishes the call
            "interval_start": 0.1,
            "interval_step": 0.2,
            "interval_max": 1,
            "errback": publish_deadline,
        },
        broker_pool_acquire_timeout=timeouts.pool_timeout,
        broker_connection_timeout=timeouts.connect,
        broker_heartbeat=timeouts.heartbeat,
        redis_socket_connect_timeout=timeouts.connect,
        redis_socket_timeout=timeouts.socket,
        # A Unix socket has no keepalive.
        redis_socket_keepalive=not str(options.get("result_backend")).startswith("socket:"),
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        # Threads cannot be ended: a step runs on when its message is redelivered, with its lease.
        worker_cancel_long_running_tasks_on_connection_loss=False,
        # The ledger has the outcomes of calls.
        task_ignore_result=True,
        task_store_errors_even_if_ignored=False,
        result_backend_thread_safe=True,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        worker_timer_precision=0.1,  # by which a worker in this process alone, on memory://, stops
        worker_enable_remote_control=True,
        task_queue_max_priority=9,
        enable_utc=True,
    )
    if broker_url.startswith("amqps:"):
        app.conf.broker_use_ssl = verified(broker_url)
    app.conf.update(options)
    app.finalize()  # a process that only submits needs this too
    # This app must not run the tasks that the process shares with all of its Celery apps.
    celery_state._deregister_app(app)  # type: ignore[attr-defined]  # not in the stubs
    for name in [name for name in app.tasks if not name.startswith("celery.")]:
        app.tasks.unregister(name)
    return app


def verifying(redis_url: str) -> str:
    """Adds to the URL of a Redis over TLS that its certificate is required, unless it says else."""
    # Without it, Celery's client accepts any certificate, and its worker accepts none.
    if not redis_url.startswith("rediss:") or "ssl_cert_reqs=" in redis_url:
        return redis_url
    return f"{redis_url}{'&' if '?' in redis_url else '?'}ssl_cert_reqs=required"


def verified(amqps_url: str) -> dict[str, Any]:
    """The TLS options with which RabbitMQ's client verifies the certificate and its host name."""
    # The client takes the host name from the URL, but kombu replaces localhost by an address.
    host = "localhost" if urlsplit(amqps_url).hostname == "localhost" else None
    return {"cert_reqs": ssl.CERT_REQUIRED, "server_hostname": host}


def priority_on(broker_url: str, priority: int | None) -> int:
    """Converts a priority from 0 (least) to 9 (most urgent) into this broker's own."""
    priority = _MIDDLE if priority is None else priority
    return priority if broker_url.startswith("amqp") else 9 - priority


def priority_of(sent: object) -> int:
    """Returns the priority of a received message; 0 if it is not a number."""
    return sent if isinstance(sent, int) else 0


def _transport(broker_url: str) -> str | None:
    if urls.is_redis(broker_url):
        return "onward.backends.celery.transport:Transport"
    if broker_url.startswith("amqps:"):
        return "onward.backends.celery.transport:AmqpsTransport"
    if broker_url.startswith(("amqp:", "pyamqp:")):
        return "onward.backends.celery.transport:AmqpTransport"
    if broker_url.startswith("memory:"):
        return "onward.backends.celery.transport:MemoryTransport"
    return None  # kombu chooses the transport by the scheme


def _transport_options(broker_url: str, timeouts: Timeouts) -> dict[str, Any]:
    if urls.is_redis(broker_url) or broker_url.startswith("valkey"):
        primary = primary_finder(broker_url, timeouts) if urls.is_sentinel(broker_url) else None
        return {
            "primary_finder": primary,
            **timeouts.redis_options(),
            "connection_retry": ConnectionRetry(timeouts.connect, cooldown=timeouts.socket),
            "pool_timeout": timeouts.pool_timeout,
            "health_check_interval": timeouts.check_interval,
            "visibility_timeout": LONGEST,
            "unacked_restore_interval": 1,
            "unacked_restore_throttle": 1,
            "priority_steps": list(range(10)),
            "queue_order_strategy": "priority",
        }
    if broker_url.startswith("memory:"):
        return {"polling_interval": 0.002}
    return {**timeouts.amqp_options(), "confirm_publish": True}
