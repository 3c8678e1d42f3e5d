"""Tasks with limits, whose attempts write down when they began and ended.

They write into the folder of the traces, with the machine's monotonic clock. A task can also wait
there for a gate, which a test opens.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from onward.context import current
from onward.flows.define import task
from onward.flows.flow import Flow
from onward.flows.limiting import limited
from onward.flows.passing import spread
from onward.limit import Limit
from onward.policy import Constant, Retry
from onward.testing.traces import TRACE

AT_ONCE = 3
"""How many steps of `few_at_once` may run at a time."""

RATE = 4
"""How many attempts at `paced` may begin within a second."""

_PATIENCE = 120.0


def by_key(law: str, key: str) -> str:
    """The key of an attempt."""
    return key


@task(limit=Limit(concurrency=AT_ONCE))
def few_at_once(law: str, key: str) -> str:
    """A task of which a few may run at a time."""
    return _span(law, key)


@task(limit=Limit(rate=RATE, per="second"))
def paced(law: str, key: str) -> str:
    """A task of which so many may begin within a second."""
    return _span(law, key)


@task(limit=Limit(concurrency=1, key=by_key))
def own(law: str, key: str) -> str:
    """A task with a limit for each key."""
    return _span(law, key)


@task(limit=Limit(concurrency=1, key=by_key, fair=True))
def turns(law: str, key: str) -> str:
    """A task of which one may run at a time, in turn by key."""
    return _span(law, key)


@task(limit=Limit(concurrency=1, name="onward-suite"))
def one_of_two(law: str, key: str) -> str:
    """A task that shares a limit with another one."""
    return _span(law, key)


@task(limit=Limit(concurrency=1, name="onward-suite"))
def other_of_two(law: str, key: str) -> str:
    """The other one."""
    return _span(law, key)


@task(
    limit=Limit(concurrency=1),
    retry=Retry(attempts=2, backoff=Constant(60.0), on=(ConnectionError,)),
)
def stumbles(law: str, key: str) -> str:
    """A task that fails in its first attempt if its key says so."""
    _span(law, key)
    if key == "stumble" and current().attempt == 1:
        raise ConnectionError("the first attempt fails")
    return key


def no_key(law: str, key: str) -> str:
    """Raises for all keys but one."""
    return {"known": "key"}[key]


@task(limit=Limit(concurrency=1, key=no_key))
def unkeyed(law: str, key: str) -> str:
    """A task whose key raises for all arguments but one."""
    return _span(law, key)


@task
def free(law: str, key: str) -> str:
    """A task without a limit."""
    return key


@task
def same(key: str) -> str:
    """What it gets."""
    return key


@task
def opens(law: str, key: str) -> tuple[str, str, float]:
    """Begins what `closes` ends."""
    with (Path(os.environ[TRACE]) / f"began-{law}").open("a") as file:
        file.write(f"{key}\n")
    return law, key, time.monotonic()


@task
def closes(law: str, key: str, began: float) -> str:
    """Writes down when both steps of a call ran."""
    time.sleep(0.02)
    with (Path(os.environ[TRACE]) / f"spans-{law}").open("a") as file:
        file.write(f"{key} {began!r} {time.monotonic()!r}\n")
    return key


whole_calls: Flow[[str, str], str] = limited(
    (opens >> spread(closes)).named("onward-suite-calls"), Limit(concurrency=1), key=by_key
)
"""A flow with a limit of its calls."""


class Span:
    """An attempt: its key, and when it began and ended."""

    def __init__(self, line: str) -> None:
        key, began, ended = line.split(" ")
        self.key: str = key
        self.began: float = float(began)
        self.ended: float = float(ended)


def _span(law: str, key: str) -> str:
    """Takes a moment, or until the gate of its key opens, and writes down when that was."""
    began = time.monotonic()
    folder = Path(os.environ[TRACE])
    with (folder / f"began-{law}").open("a") as file:
        file.write(f"{key}\n")
    gate = folder / f"gate-{law}-{key}"
    time.sleep(0.02)
    while gate.exists() and time.monotonic() - began < _PATIENCE:
        time.sleep(0.01)
    with (folder / f"spans-{law}").open("a") as file:
        file.write(f"{key} {began!r} {time.monotonic()!r}\n")
    return key
