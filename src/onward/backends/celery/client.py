"""How long clients and workers wait for a network: bounds for each connection there is.

A peer that goes without a word leaves a connection half-open: it takes bytes, and never answers.
Without a bound, whoever waits for it waits for good.
"""

from __future__ import annotations

import contextlib
import math
import socket
import threading
import time
from collections.abc import Callable, Generator
from typing import Any, TypeVar

from msgspec import Struct
from redis.backoff import NoBackoff
from redis.client import Redis
from redis.connection import BlockingConnectionPool
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.retry import Retry

from onward.backends.celery import address
from onward.backends.celery.outage import Outage
from onward.backends.celery.primary import Primary
from onward.fault import CLOSED

T = TypeVar("T")

OF_CLIENT = 10
OF_WORKER = 50
"""How many connections to a ledger a client has at most, and a worker; threads take turns."""

_PAUSE = 0.2
"""How long a try is after the one that failed, in seconds."""


class Timeouts(Struct, frozen=True):
    """How long a server may take, in seconds.

    Args:
        connect: Until there is a connection.
        socket: For each answer; and for taking what it is sent.
    """

    connect: float = 5.0
    socket: float = 5.0

    def of_redis(self) -> dict[str, Any]:
        """As redis-py and kombu's transport for Redis have them."""
        return {
            "socket_connect_timeout": self.connect,
            "socket_timeout": self.socket,
            "socket_keepalive": True,
            "socket_keepalive_options": _keepalive(self.socket),
        }

    def of_rabbitmq(self) -> dict[str, Any]:
        """As py-amqp has them, which knows keepalive by itself."""
        return {"read_timeout": self.socket, "write_timeout": self.socket}

    @property
    def turn(self) -> float:
        """How long a thread waits for a connection that others use."""
        return 2 * (self.connect + self.socket)

    @property
    def heartbeat(self) -> float:
        """How often RabbitMQ and a worker say that they are there; two are missed at most.

        It is more than a step may hold the interpreter for, or RabbitMQ takes its worker for dead.
        """
        return max(2.0, 2 * self.socket)

    @property
    def check(self) -> float:
        """How often a worker looks whether Redis, which answers each second, has answered."""
        return max(0.5, self.socket / 2)


def _keepalive(seconds: float) -> dict[int, int]:
    """Has the system end a connection whose peer is gone, after so many seconds of silence."""
    each = max(1, math.ceil(seconds / 3))
    known = {"TCP_KEEPIDLE": each, "TCP_KEEPALIVE": each, "TCP_KEEPINTVL": each, "TCP_KEEPCNT": 3}
    return {getattr(socket, name): n for name, n in known.items() if hasattr(socket, name)}


class BackendClosed(RedisError):
    """The backend was closed, and does nothing more."""

    def __init__(self) -> None:
        super().__init__(CLOSED)


class Again(Retry):
    """Tries what failed for want of a connection again: once at least, and for a while.

    redis-py nests its tries: of a command, and within it of the connection for it. Only the outer
    ones count here, or they would multiply.

    Args:
        seconds: After how many seconds no other try begins; infinite for a worker, of whom what it
            has to say must not be lost.
        outage: Is told of what fails and of what works.
        rest: For how many seconds nothing else is tried once the server has not answered at all:
            who does many things one after the other would wait for each.
    """

    def __init__(self, seconds: float, outage: Outage | None = None, rest: float = 0.0) -> None:
        super().__init__(NoBackoff(), -1 if seconds == math.inf else 1)
        self._seconds = seconds
        self._rest = rest
        self._rests_until = -math.inf
        self._hurries = 0
        self._lock = threading.Lock()
        self._outage = outage
        self._within = threading.local()
        self._given_up = threading.Event()

    def __deepcopy__(self, _: object) -> Again:
        return self  # redis-py copies it for each connection

    @property
    def is_endless(self) -> bool:
        """Whether it tries again for as long as it takes."""
        return self._seconds == math.inf

    @property
    def was_again(self) -> bool:
        """Whether what this thread last did had to be tried again, and may be done twice."""
        return getattr(self._within, "was_again", False)

    @contextlib.contextmanager
    def hurried(self) -> Generator[None]:
        """While this lasts, nothing is tried twice, and nothing after what was not answered."""
        with self._lock:
            self._hurries += 1
        try:
            yield
        finally:
            with self._lock:
                self._hurries -= 1
                self._rests_until = -math.inf

    def give_up(self) -> None:
        """Has all tries end, also those that go on, and none begin."""
        self._given_up.set()

    def call_with_retry(
        self,
        do: Callable[[], T],
        fail: Callable[..., Any],
        is_retryable: Callable[[Exception], bool] | None = None,
        with_failure_count: bool = False,
    ) -> T:
        """See `redis.retry.Retry.call_with_retry`."""
        if getattr(self._within, "a_try", False):
            return do()
        if self._given_up.is_set():
            raise BackendClosed
        began = time.monotonic()
        if began < self._rests_until:
            raise RedisTimeoutError("it did not answer a moment ago")
        failures = 0
        while True:
            self._within.a_try = True
            try:
                came = do()
            except self._supported_errors as problem:
                if is_retryable is not None and not is_retryable(problem):
                    raise
                failures += 1
                fail(problem, failures) if with_failure_count else fail(problem)
                if self._outage is not None:
                    self._outage.fails(problem)
                is_over = time.monotonic() - began >= self._seconds
                is_last = bool(self._hurries) or self._given_up.is_set()
                if is_last or (is_over and failures > 1):
                    if isinstance(problem, RedisTimeoutError):
                        rest = math.inf if self._hurries else self._rest
                        self._rests_until = time.monotonic() + rest
                    raise
            else:
                self._rests_until = -math.inf
                self._within.was_again = failures > 0
                if self._outage is not None:
                    self._outage.works()
                return came
            finally:
                self._within.a_try = False
            if failures > 1 or self.is_endless:
                self._given_up.wait(_PAUSE)


class PublishDeadline(threading.local):
    """Ends kombu's tries to publish once their time is up, which kombu only counts.

    It is kombu's `errback`, which hears of each try that failed.
    """

    _until = math.inf

    @contextlib.contextmanager
    def of(self, seconds: float) -> Generator[None]:
        """While this lasts, no try of this thread begins after so many seconds."""
        self._until = time.monotonic() + seconds
        try:
            yield
        finally:
            self._until = math.inf

    def __call__(self, problem: Exception, interval: float) -> None:
        """See `kombu.Connection.ensure`."""
        if time.monotonic() >= self._until:
            raise problem


def redis_at(url: str, timeouts: Timeouts, again: Again) -> Redis:
    """A client of the Redis at a URL, whose query may say otherwise; threads may share it."""
    options: dict[str, Any] = {
        "max_connections": OF_WORKER if again.is_endless else OF_CLIENT,
        # What a worker has to say must not be lost for want of a connection.
        "timeout": None if again.is_endless else timeouts.turn,
        "retry": again,
        **timeouts.of_redis(),
    }
    if address.is_sentinel(url):
        pool: Any = BlockingConnectionPool  # redis-py has no types for it
        return Redis.from_pool(pool(**options, **primary_at(url, timeouts).options))
    url = address.of_redis(url)
    if url.startswith("unix:"):  # which has no network to keep alive
        options = {name: each for name, each in options.items() if "keepalive" not in name}
    return Redis.from_pool(BlockingConnectionPool.from_url(url, **options))


def primary_at(url: str, timeouts: Timeouts) -> Primary:
    """What is asked for the address of a Redis that Sentinels watch over."""
    return Primary(address.sentinels_at(url), timeouts.of_redis())
