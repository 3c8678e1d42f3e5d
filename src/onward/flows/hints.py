"""Advice for people who write what other libraries have: what to write here instead."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol

_SUBMIT = "submit({flow}(...), on=backend)"

METHODS: Mapping[str, str] = {
    "delay": _SUBMIT,
    "apply_async": "submit({flow}(...), on=backend, delay=..., queue=...)",
    "apply": "run({flow}(...), on=local())",
    "run": "run({flow}(...), on=backend)",
    "aio_run": "await aio.run({flow}(...), on=backend)",
    "kiq": "await aio.submit({flow}(...), on=backend)",
    "send": _SUBMIT,
    "enqueue": _SUBMIT,
    "s": "{flow} itself, and given({flow}, ...) for its further arguments",
    "si": "fixed({flow}, ...), which ignores the value of the step before",
    "signature": "{flow}(...)",
    "retry": "@task(retry=Retry(attempts=...)), and raise",
    "map": "each({flow})",
    "starmap": "each(spread({flow}))",
    "chunks": "each({flow}, chunk=...)",
}
"""What to write instead of a method that tasks of other libraries have."""

_OPTIONS: Mapping[str, str] = {
    **dict.fromkeys(
        ("retries", "max_retries", "attempts", "max_attempts", "maximum_attempts"),
        "retry=Retry(attempts=...), which counts the first attempt too",
    ),
    **dict.fromkeys(
        ("autoretry_for", "retry_on", "throws"), "retry=Retry(attempts=..., on=(OSError, ...))"
    ),
    **dict.fromkeys(("dont_autoretry_for", "retry_never"), "retry=Retry(..., never=(...))"),
    **dict.fromkeys(
        ("retry_backoff", "backoff", "backoff_factor", "retry_jitter"),
        "retry=Retry(attempts=..., backoff=Exponential(1.0, factor=2, jitter=0.2))",
    ),
    **dict.fromkeys(
        ("default_retry_delay", "retry_delay", "countdown"),
        "retry=Retry(attempts=..., backoff=Constant(30.0))",
    ),
    **dict.fromkeys(
        ("time_limit", "soft_time_limit", "execution_timeout", "start_to_close_timeout"),
        "timeout=30.0, in seconds",
    ),
    **dict.fromkeys(("bind",), "current() inside the task, which has the id and the attempt"),
    **dict.fromkeys(("task_queue", "queue_name", "routing_key"), 'queue="..."'),
}


class _Flow(Protocol):
    @property
    def name(self) -> str: ...


def missing(flow: _Flow, name: str) -> str:
    """The message for a method or attribute that a flow does not have."""
    problem = f"{type(flow).__name__} has no {name!r}"
    return (
        f"{problem}: write {METHODS[name].format(flow=flow.name)}" if name in METHODS else problem
    )


def options(of: str, unknown: Iterable[str], known: Iterable[str]) -> str:
    """The message for unknown options of a function."""
    names = list(unknown)
    problem = f"{of} has no option {', '.join(map(repr, names))}"
    advice = dict.fromkeys(_OPTIONS[name] for name in names if name in _OPTIONS)
    if advice:
        return f"{problem}: write {', and '.join(advice)}"
    return f"{problem}: it has {', '.join(known)}"


def piped(one: str, other: str) -> str:
    """The message for `one | other`."""
    return f"flows are chained with >>: write {one} >> {other}"
