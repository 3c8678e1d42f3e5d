"""Connections to Redis and RabbitMQ, all of them with timeouts and bounded retries.

If a peer vanishes without closing a connection, the connection is half-open: it accepts bytes and
never answers. Without a timeout the caller would wait forever.
"""

from __future__ import annotations

import contextlib
import math
import socket
import threading
import time
from collections.abc import Callable, Generator, Iterable, Sequence
from hashlib import sha1
from typing import Any, TypeVar

from msgspec import Struct
from redis.backoff import NoBackoff
from redis.client import Redis
from redis.connection import BlockingConnectionPool
from redis.exceptions import AuthenticationError, NoScriptError, RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.retry import Retry

from onward.backends.celery import urls
from onward.backends.celery.outage import Outage
from onward.backends.celery.sentinel import PrimaryFinder
from onward.fault import CLOSED

T = TypeVar("T")

CLIENT_CONNECTIONS = 10
WORKER_CONNECTIONS = 50
"""The most connections that a client and a worker have to the ledger. Their threads share them."""

_PAUSE = 0.2
"""The pause between two attempts of a retry, in seconds."""


class Timeouts(Struct, frozen=True):
    """How long a server may take, in seconds.

    Args:
        connect: To accept a connection.
        socket: To accept a request, and to answer it.
    """

    connect: float = 5.0
    socket: float = 5.0

    def redis_options(self) -> dict[str, Any]:
        """The options of redis-py and of kombu's Redis transport."""
        return {
            "socket_connect_timeout": self.connect,
            "socket_timeout": self.socket,
            "socket_keepalive": True,
            "socket_keepalive_options": _keepalive(self.socket),
        }

    def amqp_options(self) -> dict[str, Any]:
        """The options of py-amqp, which turns keepalive on by itself."""
        return {"read_timeout": self.socket, "write_timeout": self.socket}

    @property
    def pool_timeout(self) -> float:
        """How long a thread waits for a free connection of the pool."""
        return 2 * (self.connect + self.socket)

    @property
    def heartbeat(self) -> float:
        """The interval of heartbeats between RabbitMQ and a worker; two missed ones end it.

        It must exceed the time for which a step can block the interpreter. Otherwise RabbitMQ takes
        the worker for dead.
        """
        return max(2.0, 2 * self.socket)

    @property
    def check_interval(self) -> float:
        """How often a worker checks whether Redis, which answers each second, has answered."""
        return max(0.5, self.socket / 2)


def _keepalive(seconds: float) -> dict[int, int]:
    """Socket options that close a connection after so many seconds without its peer."""
    each = max(1, math.ceil(seconds / 3))
    known = {"TCP_KEEPIDLE": each, "TCP_KEEPALIVE": each, "TCP_KEEPINTVL": each, "TCP_KEEPCNT": 3}
    return {getattr(socket, name): n for name, n in known.items() if hasattr(socket, name)}


class BackendClosed(RedisError):
    """The backend was closed."""

    def __init__(self) -> None:
        super().__init__(CLOSED)


class ConnectionRetry(Retry):
    """Retries what failed because of the connection: at least once, and for a limited time.

    redis-py nests its retries: around a command, and within it around connecting. Only the outer
    ones retry here, because nested retries would multiply.

    Args:
        seconds: The time after which no further attempt begins. It is infinite for a worker, whose
            records must not be lost.
        outage: Logs when the server goes away and comes back.
        cooldown: For how long all further commands fail at once after the server did not answer, in
            seconds. Otherwise a caller of many commands would wait for each of them.
    """

    def __init__(self, seconds: float, outage: Outage | None = None, cooldown: float = 0.0) -> None:
        super().__init__(NoBackoff(), -1 if seconds == math.inf else 1)
        self._seconds = seconds
        self._cooldown = cooldown
        self._cooldown_until = -math.inf
        self._fail_fast_count = 0
        self._lock = threading.Lock()
        self._outage = outage
        self._thread = threading.local()
        self._stopped = threading.Event()

    def __deepcopy__(self, _: object) -> ConnectionRetry:
        return self  # redis-py copies it for each connection

    @property
    def is_unlimited(self) -> bool:
        """Whether it retries without a time limit."""
        return self._seconds == math.inf

    @property
    def failures(self) -> int:
        """How many attempts of this thread have failed. Each of them may have run all the same."""
        return getattr(self._thread, "failures", 0)

    @contextlib.contextmanager
    def failing_fast(self) -> Generator[None]:
        """While this is entered, nothing is retried, and after a timeout everything fails."""
        with self._lock:
            self._fail_fast_count += 1
        try:
            yield
        finally:
            with self._lock:
                self._fail_fast_count -= 1
                self._cooldown_until = -math.inf

    def stop(self) -> None:
        """Ends all retries, and lets no command begin."""
        self._stopped.set()

    def call_with_retry(
        self,
        do: Callable[[], T],
        fail: Callable[..., Any],
        is_retryable: Callable[[Exception], bool] | None = None,
        with_failure_count: bool = False,
    ) -> T:
        """See `redis.retry.Retry.call_with_retry`."""
        if getattr(self._thread, "is_attempt", False):
            return do()
        if self._stopped.is_set():
            raise BackendClosed
        began = time.monotonic()
        if began < self._cooldown_until:
            raise RedisTimeoutError("it did not answer a moment ago")
        failures = 0
        while True:
            self._thread.is_attempt = True
            try:
                answer = do()
            except self._supported_errors as problem:
                if is_retryable is not None and not is_retryable(problem):
                    raise
                failures += 1
                self._thread.failures = self.failures + 1
                fail(problem, failures) if with_failure_count else fail(problem)
                if self._outage is not None:
                    self._outage.fails(problem)
                is_over = time.monotonic() - began >= self._seconds
                # A worker goes on: the password of a server in use may just be about to change.
                is_refused = isinstance(problem, AuthenticationError) and not self.is_unlimited
                is_last = bool(self._fail_fast_count) or self._stopped.is_set() or is_refused
                if is_last or (is_over and failures > 1):
                    if isinstance(problem, RedisTimeoutError):
                        cooldown = math.inf if self._fail_fast_count else self._cooldown
                        self._cooldown_until = time.monotonic() + cooldown
                    raise
            else:
                self._cooldown_until = -math.inf
                if self._outage is not None:
                    self._outage.works()
                return answer
            finally:
                self._thread.is_attempt = False
            if failures > 1 or self.is_unlimited:
                self._stopped.wait(_PAUSE)


class Script:
    """A Lua script, which costs this process less to run than redis-py's own.

    Args:
        client: A client of Redis. (Any: redis-py's types cover two kinds of client at once.)
        text: The script.
    """

    def __init__(self, client: Any, text: str) -> None:
        self._client = client
        self._text = text
        self._sha = sha1(text.encode(), usedforsecurity=False).hexdigest()

    def __call__(self, keys: Sequence[str], args: Iterable[str | bytes | float]) -> Any:
        """Runs it; raises redis-py's errors."""
        try:
            return self._client.execute_command("EVALSHA", self._sha, len(keys), *keys, *args)
        except NoScriptError:
            return self._client.execute_command("EVAL", self._text, len(keys), *keys, *args)


class PublishDeadline(threading.local):
    """Ends kombu's retries of a publish after some time; kombu only limits their number.

    kombu calls it, as its `errback`, after each failed attempt.
    """

    _until = math.inf

    @contextlib.contextmanager
    def of(self, seconds: float) -> Generator[None]:
        """While this is entered, no attempt of this thread begins after so many seconds."""
        self._until = time.monotonic() + seconds
        try:
            yield
        finally:
            self._until = math.inf

    def __call__(self, problem: Exception, interval: float) -> None:
        """See `kombu.Connection.ensure`."""
        if time.monotonic() >= self._until:
            raise problem


def redis_at(url: str, timeouts: Timeouts, retry: ConnectionRetry) -> Redis:
    """Makes a thread-safe client of a Redis. The query of its URL overrides these options."""
    options: dict[str, Any] = {
        "max_connections": WORKER_CONNECTIONS if retry.is_unlimited else CLIENT_CONNECTIONS,
        # A worker waits for a connection as long as it takes, because its records must not be lost.
        "timeout": None if retry.is_unlimited else timeouts.pool_timeout,
        "retry": retry,
        **timeouts.redis_options(),
    }
    if urls.is_sentinel(url):
        pool: Any = BlockingConnectionPool  # redis-py has no types for it
        return Redis.from_pool(pool(**options, **primary_finder(url, timeouts).options))
    url = urls.redis_url(url)
    if url.startswith("unix:"):  # a Unix socket has no keepalive
        options = {name: each for name, each in options.items() if "keepalive" not in name}
    return Redis.from_pool(BlockingConnectionPool.from_url(url, **options))


def primary_finder(url: str, timeouts: Timeouts) -> PrimaryFinder:
    """Makes the finder for a Redis behind the Sentinels of a URL."""
    return PrimaryFinder(urls.parse_sentinels(url), timeouts.redis_options())
