"""Limits of tasks over all workers, as values: in a policy, and on the wire."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated, Final, Literal, TypeAlias

import msgspec
from msgspec import Meta

from onward.checks import MAX_SECONDS, NAME_LIMIT, check_name, check_policy_seconds

if TYPE_CHECKING:
    import inspect

Per: TypeAlias = Literal["second", "minute", "hour", "day"]
"""The length of a rate's window, by name."""

_SECONDS: Final[dict[str, float]] = {
    "second": 1.0,
    "minute": 60.0,
    "hour": 3600.0,
    "day": 86400.0,
}
_MOST_AT_ONCE = 1_000_000_000
_MOST_IN_A_WINDOW = 1_000_000
_LONGEST_KEY = 100

Selector: TypeAlias = Callable[..., str | int]
"""Gives a limit's key for the arguments of a task."""


class Limit(msgspec.Struct, frozen=True):
    """How many steps of a task may run at the same time, or begin within a time, over all workers.

    A step that waits for its limit holds no slot and no thread of a worker. It holds its place in
    the limit during each attempt, and gives it back between attempts. With `key`, each key has the
    limit for itself. With `key` and `fair=True`, all keys share the one limit, and what waits gets
    its turn key by key.

    Args:
        concurrency: How many may run at the same time.
        rate: How many attempts may begin in any window of the length `per`.
        per: The length of the rate's window: "second", "minute", "hour" or "day", or a number of
            seconds.
        key: Gives the key for a task's arguments: it takes the same parameters as the task, and
            returns a text or a whole number. `limited` lets type checkers compare both.
        fair: Whether all keys share the limit, in turn.
        name: The limit's name; the task's own if not given. Tasks with limits of one name share it.

    Raises:
        TypeError: If an argument is of the wrong type.
        ValueError: If it is out of bounds, or there is neither a concurrency nor a rate.

    Example:
        >>> from onward import Limit, task
        >>> @task(limit=Limit(concurrency=3, key=lambda url: url.split("/")[2]))
        ... def fetch(url: str) -> bytes: ...
        >>> @task(limit=Limit(rate=60, per="minute", name="openai"))
        ... def complete(prompt: str) -> str: ...
    """

    concurrency: int | None = None
    rate: int | None = None
    per: Per | float = "second"
    key: Selector | None = None
    fair: bool = False
    name: str | None = None

    def __post_init__(self) -> None:
        if self.concurrency is None and self.rate is None:
            raise ValueError(
                "a limit has a concurrency, a rate or both: write Limit(concurrency=5) or "
                'Limit(rate=60, per="minute")'
            )
        _check_count("concurrency", self.concurrency, _MOST_AT_ONCE, "5")
        _check_count("rate", self.rate, _MOST_IN_A_WINDOW, '60, per="minute"')
        if isinstance(self.per, str):
            if self.per not in _SECONDS:
                known = ", ".join(map(repr, _SECONDS))
                raise ValueError(
                    f"per is one of {known}, or a number of seconds, not {self.per!r}: write "
                    'rate=60, per="minute"'
                )
        else:
            check_policy_seconds("per", self.per, zero=False)
        if self.key is not None and not callable(self.key):
            raise TypeError(
                f"key is a function of the task's parameters, not {self.key!r}: write "
                "key=lambda customer, amount: customer"
            )
        if not isinstance(self.fair, bool):
            raise TypeError(
                f"fair is True or False, not {self.fair!r}: write key=... and fair=True"
            )
        if self.fair and self.key is None:
            raise ValueError(
                "fair=True gives each key its turn, so the limit needs a key: write "
                "Limit(concurrency=10, key=lambda customer, amount: customer, fair=True)"
            )
        if self.name is not None:
            check_name("limit", self.name)

    @property
    def seconds(self) -> float:
        """The length of the rate's window, in seconds."""
        return _SECONDS[self.per] if isinstance(self.per, str) else float(self.per)

    def __str__(self) -> str:
        words = [] if self.concurrency is None else [f"{self.concurrency} at a time"]
        if self.rate is not None:
            per = self.per if isinstance(self.per, str) else f"{self.per:g} s"
            words.append(f"{self.rate} per {per}")
        if self.key is not None:
            words.append("in turn by key" if self.fair else "for each key")
        return ", ".join(words)


def _check_count(what: str, count: int | None, most: int, example: str) -> None:
    if count is None:
        return
    if isinstance(count, bool) or not isinstance(count, int):
        raise TypeError(f"{what} is a whole number, not {count!r}: write {what}={example}")
    if not 1 <= count <= most:
        raise ValueError(
            f"{what} is from 1 to {most}, not {count}: write {what}={example}, or leave it out "
            "for no limit"
        )


class StepLimit(msgspec.Struct, frozen=True, omit_defaults=True):
    """The limit of a step, on the wire.

    Args:
        name: The limit's name.
        concurrency: How many steps may run at the same time.
        rate: How many attempts may begin in any window.
        per: The length of the window, in seconds.
        keyed: Whether the task has a selector, which gives a key for a step's arguments.
        fair: Whether all keys share the limit, in turn.
    """

    name: Annotated[str, Meta(min_length=1, max_length=NAME_LIMIT)]
    concurrency: Annotated[int, Meta(ge=1, le=_MOST_AT_ONCE)] | None = None
    rate: Annotated[int, Meta(ge=1, le=_MOST_IN_A_WINDOW)] | None = None
    per: Annotated[float, Meta(gt=0, le=MAX_SECONDS)] = 1.0
    keyed: bool = False
    fair: bool = False

    def pool(self, key: str) -> str:
        """The name of the places that a step with this key shares with others.

        Args:
            key: The step's key; empty without one.
        """
        return f"{self.name} {key}" if self.keyed and not self.fair else self.name


def on_wire(limit: Limit, task: str) -> StepLimit:
    """The limit of a task, or of a fused flow, on the wire.

    Args:
        limit: The limit.
        task: The name of the task or the flow.
    """
    return StepLimit(
        name=short(task, NAME_LIMIT) if limit.name is None else limit.name,
        concurrency=limit.concurrency,
        rate=limit.rate,
        per=1.0 if limit.rate is None else limit.seconds,
        keyed=limit.key is not None,
        fair=limit.fair,
    )


def key_text(value: object) -> str:
    """A key as text, of bounded length; raises TypeError if it is neither a text nor a number."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise TypeError(f"a key is a text or a whole number, not {type(value).__qualname__}")
    return short(str(value), _LONGEST_KEY)


def short(text: str, most: int) -> str:
    """A text, or its beginning and a hash of all of it if it is longer."""
    if len(text) <= most:
        return text
    return f"{text[: most - 33]}~{hashed(text)}"


def hashed(text: str) -> str:
    """A hash of a text, in 32 letters and digits."""
    from hashlib import sha256  # only long keys and those of secrets need it

    return sha256(text.encode("utf-8", "replace")).hexdigest()[:32]


def check_selector(
    selector: Selector, parameters: Mapping[str, inspect.Parameter], task: str
) -> None:
    """Raises TypeError if a selector cannot be called with the arguments of a task.

    Args:
        selector: The selector.
        parameters: The parameters of the task.
        task: The task's name.
    """
    import inspect  # only programs with such limits pay for it

    names = ", ".join(parameters)
    example = f"write key=lambda {names}: ..."
    if inspect.iscoroutinefunction(selector):
        raise TypeError(
            f"the key of the limit of task {task!r} is async, and a key is computed at once: "
            f"{example}"
        )
    try:
        taken = inspect.signature(selector)
    except ValueError:  # a function written in C that does not tell
        return
    kinds = inspect.Parameter
    given = [
        each
        for each in parameters.values()
        if each.kind not in (kinds.VAR_POSITIONAL, kinds.VAR_KEYWORD)
    ]
    args = [each.name for each in given if each.kind is not kinds.KEYWORD_ONLY]
    kwargs = {each.name: None for each in given if each.kind is kinds.KEYWORD_ONLY}
    try:
        taken.bind(*args, **kwargs)
    except TypeError as problem:
        raise TypeError(
            f"the key of the limit of task {task!r} does not take the task's parameters "
            f"({names}): {problem}. It gets all of them: {example}"
        ) from None
