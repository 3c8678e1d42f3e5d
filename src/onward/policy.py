"""Policies: retries, timeout, queue, priority and isolation of a step, as values.

Only this module lists the fields of a policy: in `Policy`, as options of `task`, `with_` and
`fused` (`PolicyOptions`), and on the wire (`Delivery`). It also lists the fields that a whole call
takes: as options of `submit` and its relatives (`CallOptions`), and on the wire (`CallDelivery`).
"""

from __future__ import annotations

from typing import Annotated, Any, TypeAlias

import msgspec
from msgspec import Meta
from typing_extensions import Doc, TypedDict

from onward.checks import MAX_SECONDS, NAME_LIMIT, check_name
from onward.checks import check_policy_seconds as _seconds
from onward.isolation import Isolation, check_isolate, isolation_of
from onward.limit import Limit, StepLimit, on_wire

MAX_ATTEMPTS = 10_000

Name: TypeAlias = Annotated[str, Meta(min_length=1, max_length=NAME_LIMIT)]
"""A name on the wire."""

_Priority: TypeAlias = Annotated[int, Meta(ge=0, le=9)]

_RESERVED = {
    "onward.": "Onward",
    "celery.": "Celery",
    "__temporal_": "Temporal",
    "__stack_trace": "Temporal",
    "__enhanced_stack_trace": "Temporal",
}
"""The prefixes of names that an engine's workers use for their own tasks, and their owners."""
_PREFIXES = tuple(_RESERVED)


def _jitter(value: float) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise ValueError(
            f"jitter is the share of a delay that is random, from 0 to 1, not {value!r}: "
            "write jitter=0.2 for up to 20 % more or less"
        )


class Constant(msgspec.Struct, frozen=True, tag="constant", tag_field="kind", omit_defaults=True):
    """A backoff that waits the same time before every further attempt.

    Args:
        seconds: The wait, in seconds.
        jitter: The share of the wait that is random, from 0 to 1: 0.2 is up to 20 % more or less.

    Example:
        >>> Constant(2.0).delay(attempt=7)
        2.0
    """

    seconds: float
    jitter: float = 0.0

    def __post_init__(self) -> None:
        _seconds("seconds", self.seconds)
        _jitter(self.jitter)

    def delay(self, attempt: int, chance: float = 0.5) -> float:
        """The wait after a failed attempt.

        Args:
            attempt: The number of the failed attempt, from 1.
            chance: A random number from 0 to 1 that places the wait within its jitter.

        Returns:
            The wait, in seconds.
        """
        return _spread(self.seconds, self.jitter, chance)


class Exponential(
    msgspec.Struct, frozen=True, tag="exponential", tag_field="kind", omit_defaults=True
):
    """A backoff whose wait grows by a factor with every attempt.

    Args:
        first: The wait after the first attempt, in seconds.
        factor: How many times longer each further wait is.
        max: The longest wait, in seconds, jitter included.
        jitter: The share of the wait that is random, from 0 to 1: 0.2 is up to 20 % more or less.

    Example:
        >>> backoff = Exponential(1.0, factor=2, max=5)
        >>> [backoff.delay(attempt) for attempt in (1, 2, 3, 4)]
        [1.0, 2.0, 4.0, 5.0]
    """

    first: float
    factor: float = 2.0
    max: float = 300.0
    jitter: float = 0.0

    def __post_init__(self) -> None:
        _seconds("first", self.first)
        _seconds("max", self.max)
        if not isinstance(self.factor, int | float) or not 1 <= self.factor <= 1000:
            raise ValueError(
                f"factor is from 1 to 1000, not {self.factor!r}: write factor=2 to double each wait"
            )
        _jitter(self.jitter)

    def delay(self, attempt: int, chance: float = 0.5) -> float:
        """The wait after a failed attempt.

        Args:
            attempt: The number of the failed attempt, from 1.
            chance: A random number from 0 to 1 that places the wait within its jitter.

        Returns:
            The wait, in seconds.
        """
        try:
            wait = self.first * self.factor ** (attempt - 1)
        except OverflowError:
            wait = self.max if self.first else 0.0
        return min(_spread(min(wait, self.max), self.jitter, chance), self.max)


def _spread(seconds: float, jitter: float, chance: float) -> float:
    return seconds * (1 + jitter * (2 * chance - 1))


Backoff: TypeAlias = Constant | Exponential
"""How long to wait before a further attempt."""


class Retry(msgspec.Struct, frozen=True):
    """How often a step is tried, and how long to wait in between.

    Only exceptions and timeouts are retried. A domain error (a `Failure` that the task returned) is
    an answer, and is never retried.

    Args:
        attempts: The number of all attempts, the first one included.
        backoff: The wait before each further attempt.
        on: The exceptions (and their subclasses) that are retried.
        never: The exceptions (and their subclasses) that are not retried, whatever `on` says.

    Raises:
        TypeError: If an argument is of the wrong kind.
        ValueError: If it is out of bounds.

    Example:
        >>> Retry(attempts=5, backoff=Constant(0.5), on=(OSError,), never=(FileNotFoundError,))
        Retry(attempts=5, backoff=Constant(seconds=0.5, jitter=0.0), on=(OSError,), \
never=(FileNotFoundError,))
    """

    attempts: int = 3
    backoff: Backoff = Exponential(1.0, jitter=0.2)
    on: tuple[type[BaseException], ...] = (Exception,)
    never: tuple[type[BaseException], ...] = ()

    def __post_init__(self) -> None:
        if isinstance(self.attempts, bool) or not isinstance(self.attempts, int):
            raise TypeError(f"attempts is a whole number, not {self.attempts!r}: write attempts=3")
        if not 1 <= self.attempts <= MAX_ATTEMPTS:
            raise ValueError(
                f"attempts counts all attempts, the first one included: from 1 to {MAX_ATTEMPTS}, "
                f"not {self.attempts}"
            )
        if not isinstance(self.backoff, Constant | Exponential):
            raise TypeError(
                f"backoff is Constant(seconds) or Exponential(first), not {self.backoff!r}"
            )
        for what, kinds in (("on", self.on), ("never", self.never)):
            if not isinstance(kinds, tuple) or not all(
                isinstance(kind, type) and issubclass(kind, BaseException) for kind in kinds
            ):
                raise TypeError(
                    f"{what} is a tuple of exception classes, not {kinds!r}: "
                    f"write {what}=(ConnectionError,)"
                )

    def __repr__(self) -> str:
        on, never = map(_names, (self.on, self.never))
        return f"Retry(attempts={self.attempts}, backoff={self.backoff!r}, on={on}, never={never})"


def _names(kinds: tuple[type[BaseException], ...]) -> str:
    names = ", ".join(kind.__qualname__ for kind in kinds)
    return f"({names},)" if len(kinds) == 1 else f"({names})"


ONCE = Retry(attempts=1)
"""The retry policy of a task that sets none."""


class Policy(msgspec.Struct, frozen=True):
    """How a task's steps are delivered. `@task` takes these fields as options.

    Args:
        retry: How often a step is tried.
        timeout: How long one attempt may take, in seconds; None for no limit.
        queue: The queue of its steps; None for the backend's own.
        priority: From 0 (least) to 9 (most urgent); None for the backend's default.
        limit: How many of its steps may run at the same time, or begin within a time, over all
            workers; None for no limit.
        isolate: Whether its steps run in child processes, which a timeout or a cancel kills. An
            `Isolation` also says when a process is replaced.

    Raises:
        TypeError: If an argument is of the wrong type.
        ValueError: If it is out of bounds.

    Example:
        >>> from onward import Policy, task
        >>> @task(timeout=30, queue="mail")
        ... def send(to: str) -> None: ...
        >>> send.policy == Policy(timeout=30, queue="mail")
        True
    """

    retry: Retry = ONCE
    timeout: float | None = None
    queue: str | None = None
    priority: int | None = None
    limit: Limit | None = None
    isolate: bool | Isolation = False

    def __post_init__(self) -> None:
        if not isinstance(self.retry, Retry):
            raise TypeError(f"retry is a Retry, not {self.retry!r}: write retry=Retry(attempts=3)")
        if self.timeout is not None:
            _seconds("timeout", self.timeout, zero=False)
        check_queue(self.queue)
        check_priority(self.priority)
        if self.limit is not None and not isinstance(self.limit, Limit):
            raise TypeError(
                f"limit is a Limit, not {self.limit!r}: write limit=Limit(concurrency=5)"
            )
        check_isolate(self.isolate)


class PolicyOptions(TypedDict, total=False, closed=True):
    """The fields of `Policy` as options; None stands for a field's default."""

    retry: Retry | None
    timeout: float | None
    queue: str | None
    priority: int | None
    limit: Limit | None
    isolate: bool | Isolation | None


class CallOptions(TypedDict, total=False, closed=True):
    """The policy options of a whole call, for the steps whose tasks do not set them."""

    queue: Annotated[str | None, Doc("The queue of the steps whose tasks name none.")]
    priority: Annotated[
        int | None, Doc("The priority of the steps whose tasks have none, from 0 (least) to 9.")
    ]


class Delivery(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A policy on the wire: how one step is delivered to a worker."""

    attempts: Annotated[int, Meta(ge=1, le=MAX_ATTEMPTS)] = 1
    backoff: Backoff = Constant(0.0)
    retry_on: tuple[str, ...] = ()
    retry_never: tuple[str, ...] = ()
    timeout: Annotated[float, Meta(gt=0, le=MAX_SECONDS)] | None = None
    queue: Name | None = None
    priority: _Priority | None = None
    limit: StepLimit | None = None
    isolate: Isolation | None = None


class CallDelivery(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """The policy options of a whole call, on the wire.

    Args:
        queue: The queue of the steps that name none.
        priority: The priority of the steps that have none.
    """

    queue: Name | None = None
    priority: _Priority | None = None


def delivery(policy: Policy, name: str) -> dict[str, Any]:
    """A policy as the fields of a `Delivery`.

    Args:
        policy: The policy.
        name: The name of the task or the fused flow, after which its limit is named.
    """
    retry = policy.retry
    if retry.attempts == 1:
        fields: dict[str, Any] = {}
    else:
        fields = {
            "attempts": retry.attempts,
            "backoff": retry.backoff,
            "retry_on": tuple(map(type_name, retry.on)),
            "retry_never": tuple(map(type_name, retry.never)),
        }
    timeout = None if policy.timeout is None else float(policy.timeout)
    return {
        **fields,
        "timeout": timeout,
        "queue": policy.queue,
        "priority": policy.priority,
        "limit": None if policy.limit is None else on_wire(policy.limit, name),
        "isolate": isolation_of(policy.isolate),
    }


def notes(policy: Policy) -> list[str]:
    """The fields of a policy in a few words each, for trees and charts."""
    words = [f"{policy.retry.attempts} attempts"] if policy.retry.attempts > 1 else []
    words += [f"timeout {policy.timeout:g} s"] if policy.timeout is not None else []
    words += [f"queue {policy.queue}"] if policy.queue is not None else []
    words += [f"priority {policy.priority}"] if policy.priority is not None else []
    words += [f"limit {policy.limit}"] if policy.limit is not None else []
    words += ["isolated"] if policy.isolate is not False else []
    return words


def check_queue(queue: str | None) -> None:
    """Raises TypeError or ValueError for an invalid name of a queue."""
    if queue is None:
        return
    check_name("queue", queue)


MOST_SECONDS = 946_728_000
"""The largest setting in seconds; engines that count in milliseconds overflow beyond it."""


def check_seconds(name: str, seconds: object, least: float) -> None:
    """Raises TypeError or ValueError for an invalid setting in seconds."""
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        raise TypeError(f"{name} is a number of seconds, not {seconds!r}")
    if not seconds >= least:
        raise ValueError(f"{name} is a number of seconds from {least:g} up, not {seconds}")
    if seconds > MOST_SECONDS:
        raise ValueError(f"{name} is at most {MOST_SECONDS} seconds, 30 years, not {seconds}")


def check_priority(priority: int | None) -> None:
    """Raises TypeError or ValueError for an invalid priority."""
    if priority is None:
        return
    if isinstance(priority, bool) or not isinstance(priority, int):
        raise TypeError(f"priority is a whole number from 0 to 9, not {priority!r}")
    if not 0 <= priority <= 9:
        raise ValueError(f"priority is from 0 (least) to 9 (most urgent), not {priority}")


def check_reserved(name: str) -> None:
    """Raises ValueError for a name of a task or flow that an engine's worker uses itself."""
    lower = name.lower()  # Hatchet ignores case
    if lower.startswith(_PREFIXES):
        [owner] = [owner for prefix, owner in _RESERVED.items() if lower.startswith(prefix)]
        raise ValueError(
            f"the name {name!r} is reserved: {owner} has its own tasks with this prefix. "
            f"Choose another one, such as {'my_' + lower.strip('_').replace('.', '_')!r}"
        )


def type_name(kind: type[BaseException]) -> str:
    """The name of an exception's class on the wire: `module.Name`, or `Name` for builtins."""
    if kind.__module__ == "builtins":
        return kind.__qualname__
    return f"{kind.__module__}.{kind.__qualname__}"


PLAIN = Policy()
"""The policy of a task that sets no option."""
