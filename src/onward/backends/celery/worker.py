"""A Celery worker in this process: starting, serving a catalog, and stopping."""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import threading
from collections.abc import Callable, Collection, Iterable
from contextvars import copy_context
from functools import partial
from typing import Any

from celery import _state as celery_state
from celery.bootsteps import CLOSE  # type: ignore[attr-defined]  # not in the stubs
from msgspec.structs import replace
from returns.result import Result

from onward.backend import Hearing, Submission
from onward.backend.support import queues_served
from onward.backends.celery.broker_watch import BrokerWatch
from onward.backends.celery.client import ConnectionRetry
from onward.backends.celery.consumer import Consumer, Dispatcher
from onward.backends.celery.control import extend
from onward.backends.celery.core import Core
from onward.backends.celery.dead_letters import RefusalLog
from onward.backends.celery.outage import Outage, server_name
from onward.backends.celery.pool import Pool
from onward.backends.celery.publisher import Publisher
from onward.backends.celery.reconciler import Reconciler
from onward.backends.celery.runner import Runner
from onward.backends.celery.scheduler import Scheduler
from onward.backends.celery.throttle import throttled
from onward.backends.celery.transport import Channel
from onward.catalog import Catalog
from onward.fault import Fault

_REPEATING = (
    "onward.celery",
    "celery.bootsteps",
    "celery.backends.base",
    "celery.backends.redis",
    "celery.pool",
    "celery.worker",
    "celery.worker.consumer.connection",
    "celery.worker.consumer.consumer",
    "celery.worker.consumer.control",
    "celery.worker.consumer.delayed_delivery",
    "celery.worker.consumer.tasks",
    "celery.worker.control",
    "celery.worker.loops",
    "celery.worker.pidbox",
    "celery.worker.request",
    "celery.worker.strategy",
    "celery.app.trace",
    "kombu.asynchronous.hub",
    "kombu.asynchronous.timer",
    "kombu.common",
    "kombu.connection",
    "kombu.pidbox",
    "kombu.transport.redis",
    "kombu.transport.virtual.base",
    "amqp",
)
"""The loggers that repeat themselves while a broker is away, and so are throttled."""

_PARTING = 1.0
"""How long the leader of the schedules may take to step down, in seconds."""

_LEAVING = 3.0
"""How long Celery may take to return messages, in seconds. Its loop wakes up once a second."""


def _nothing() -> None:
    """Does nothing."""


class CeleryWorker:
    """A Celery worker, a reconciler, a publisher and a scheduler, on threads of this process."""

    def __init__(
        self,
        core: Core,
        catalog: Catalog,
        concurrency: int | None,
        queues: Collection[str] | None,
        submit: Callable[[Iterable[Submission]], Result[list[str], Fault]],
    ) -> None:
        self._core = core
        self._refusals = RefusalLog(core.dead_letters)
        events: Any = core.app.events
        events.dispatcher_cls = Dispatcher
        # Unique, because Celery's tools would show two workers of one name as one.
        name = f"onward-{os.getpid()}-{secrets.token_hex(4)}@{socket.gethostname()}"
        self._runner = Runner(core, catalog, name, self._refusals)
        self._runner.register(catalog)
        self._shutdown_requested = threading.Event()
        extend(core.app, core.cancel, self._shutdown_requested.set)
        queues = queues_served(core.queue, catalog, queues)
        core.queues.update(catalog.queues, queues)
        self._options: dict[str, Any] = {
            "hostname": name,
            "pool": Pool,
            "consumer_cls": partial(
                Consumer,
                refusals=self._refusals,
                signer=core.signer,
                now=core.ledger.now,
            ),
            "concurrency": concurrency or 8,
            "queues": queues,
            "loglevel": "WARNING",
            "without_gossip": True,
            "without_mingle": True,
            "ready_callback": self._is_ready,
        }
        self._ready = threading.Event()
        self._stopping = threading.Event()
        self._ended = threading.Event()
        self._controller: Any = None
        self._reconciler = Reconciler(core, catalog.tasks, self._refusals, self._runner.outage)
        self._publisher = Publisher(core)
        self._scheduler = Scheduler(core, submit)
        outage = Outage(
            server_name("the broker", core.app.conf.broker_url),
            "this worker takes up no steps until it is",
        )
        self._broker_watch = BrokerWatch(
            outage, core.timeouts, lambda: getattr(self._controller, "consumer", None)
        )
        # Steps start with the context variables of the code that starts the worker.
        run = partial(copy_context().run, self._run)
        self._thread = threading.Thread(target=run, name="onward-celery", daemon=True)
        self._thread.start()

    def _is_ready(self, consumer: Any) -> None:
        consumer.pool.consumer = consumer
        # Celery forbids tasks to wait, and takes every thread of a worker's process for a task.
        celery_state._set_task_join_will_block(False)  # type: ignore[attr-defined]  # not in the stubs
        self._ready.set()

    def _run(self) -> None:
        # Celery's loop must not wait until an event is published: it receives nothing meanwhile.
        with self._core.publish_deadline.of(0):
            self._serve()

    def _serve(self) -> None:
        try:
            self._run_controller()
        finally:
            self._broker_watch.close()
            self._ended.set()

    def _run_controller(self) -> None:
        with throttled(_REPEATING):
            while not (self._stopping.is_set() or self._shutdown_requested.is_set()):
                # Celery's worker may end when its broker goes away, so another one is started.
                with contextlib.suppress(Exception):
                    self._controller = self._core.app.WorkController(**self._options)
                    self._controller.start()
                    self._controller.stop()
                self._stopping.wait(0.5)

    def is_ready(self, timeout: float) -> bool:
        """Waiters for at most `timeout` seconds until it receives messages; True once it does."""
        return self._ready.wait(timeout)

    @property
    def is_stopping(self) -> bool:
        """See `StopsRemotely.is_stopping`."""
        return self._shutdown_requested.is_set()

    def stop(self, grace: float = 30.0) -> None:
        """See `Worker.stop`."""
        if not self._stopping.is_set():
            self._stopping.set()
            self._reconciler.close()
            self._publisher.close()
            self._scheduler.close()
            # Only its own thread may use its connections: this makes that thread leave its loop.
            consumer = getattr(self._controller, "consumer", None)
            if consumer is not None:
                consumer.blueprint.state = CLOSE
                if consumer.hub is not None:
                    consumer.hub.call_soon(_nothing)  # wakes up its loop, from kombu 5.7 on
        # If the broker does not answer, Celery would wait for each of its last commands.
        retry: ConnectionRetry | None = self._core.app.conf.broker_transport_options.get(
            "connection_retry"
        )
        with retry.failing_fast() if retry is not None else contextlib.nullcontext():
            self._unblock()
            if self._ended.wait(grace):
                self._scheduler.join(_PARTING)
                self._runner.close()
                return
            self._runner.give_up()
            pool = getattr(self._controller, "pool", None)
            if pool is not None:
                pool.give_up()
                self._ended.wait(_LEAVING)

    def _unblock(self) -> None:
        """Ends the wait for the next message, for which Celery would wait once more."""
        consumer = getattr(self._controller, "consumer", None)
        channel = getattr(getattr(consumer, "task_consumer", None), "channel", None)
        if isinstance(channel, Channel):
            channel.unblock()

    def wait(self, timeout: float | None = None) -> bool:
        """See `Worker.wait`."""
        return self._ended.wait(timeout)

    def hearing(self) -> Hearing:
        """See `Hears.hearing`. It needs both the broker and the ledger."""
        heard = (self._broker_watch.hearing(), self._reconciler.hearing())
        worst = max(heard, key=lambda each: each.silent - each.limit)
        return replace(worst, slots=self._options["concurrency"])
