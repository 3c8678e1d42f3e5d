"""The tasks of `flows()`, with those of `choices`. A backend's workers serve both.

If `ONWARD_TRACE` names a folder, each task writes its arguments to a file there. So a test sees
what ran, in any process.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Coroutine
from contextvars import ContextVar
from functools import wraps
from pathlib import Path
from typing import cast

from msgspec import UNSET
from returns.result import Failure, Result, Success

from onward.context import current, progress
from onward.fault import Fault
from onward.flows.define import task
from onward.flows.signals import Signal
from onward.policy import Constant, Retry
from onward.testing.kinds import Beyond, Choice, Gap, Odd, Parcel, Patch, Reading, TooSmall
from onward.testing.traces import TRACE
from onward.testing.traces import note as _note
from onward.unanswered import Unanswered

BY: Signal[int] = Signal("by", int)
"""A signal that flows of these tasks wait for."""

DONE: Signal[bool] = Signal("done", bool)
"""Another one."""


TENANT: ContextVar[str] = ContextVar("onward_testing_tenant", default="nobody")
"""A context variable that tasks read and set."""


@task
def inc(n: int) -> int:
    """One more."""
    _note(n)
    return n + 1


@task
async def double(n: int) -> int:
    """Twice as much, asynchronously."""
    _note(n)
    return 2 * n


@task
def halve(n: int) -> Result[int, Odd]:
    """Half as much, of an even number."""
    _note(n)
    return Failure(Odd(n)) if n % 2 else Success(n // 2)


@task
async def shrink(n: int, by: int) -> Result[int, TooSmall]:
    """So much less, asynchronously, of a number that is larger."""
    _note(n)
    return Failure(TooSmall(n, by)) if n < by else Success(n - by)


@task
def picky(n: int) -> int:
    """The same, of any number but the multiples of three."""
    _note(n)
    if n % 3 == 0:
        raise ValueError(f"{n} is a multiple of three")
    return n


@task(retry=Retry(attempts=3, backoff=Constant(0.0), on=(ConnectionError,)))
def flaky(n: int) -> int:
    """The same, but of an odd number only at the third attempt."""
    _note(n)
    if n % 2 and current().attempt < 3:
        raise ConnectionResetError(f"attempt {current().attempt} at {n}")
    return n


@task(retry=Retry(attempts=2, backoff=Constant(0.0)))
async def hopeless(n: int) -> int:
    """Fails at both attempts, asynchronously, unless the number is even."""
    _note(n)
    if n % 2:
        raise OSError(f"no hope for {n}")
    return n


@task
def span(n: int) -> list[int]:
    """A short list of numbers, none for some."""
    _note(n)
    return list(range(n, n + abs(n) % 4))


@task
def total(numbers: list[int]) -> int:
    """Their sum."""
    _note(numbers)
    return sum(numbers)


@task
def add(pair: tuple[int, int]) -> int:
    """The sum of two."""
    _note(pair)
    return pair[0] + pair[1]


@task
def mend(error: Odd | TooSmall | Beyond | Fault) -> int:
    """A number that depends on the error."""
    _note(type(error).__name__)
    return _mended(error)


@task
async def hold(n: int) -> int:
    """The same, once the folder of the traces has a file with the name `go.n`."""
    _note(n)
    while not _may_go(n):  # noqa: ASYNC110 - another process says so
        await asyncio.sleep(0.02)
    return n


def _may_go(n: int) -> bool:
    return Path(os.environ[TRACE], f"go.{n}").exists()


def _mended(error: Odd | TooSmall | Beyond | Fault) -> int:
    match error:
        case Odd(number):
            return number + 1
        case TooSmall(number, by):
            return by - number
        case Beyond(text):
            return len(text)
        case Fault():
            return -len(error.task)


@task
def instead(error: Unanswered | Fault) -> int:
    """A number that depends on whether nobody sent a signal in time."""
    _note(type(error).__name__)
    return -1 if isinstance(error, Unanswered) else -2


@task
def mend_some(error: Odd | TooSmall | Beyond | Fault) -> Result[int, Beyond]:
    """Like mend, except that it fails on faults."""
    _note(type(error).__name__)
    return Failure(Beyond(error.task)) if isinstance(error, Fault) else Success(0)


@task
def mend_pair(failed: tuple[int, Odd | TooSmall | Beyond | Fault]) -> int:
    """A number that tells what went in, and what the error was."""
    _note(type(failed).__name__)
    return 100 * failed[0] + _mended(failed[1])


@task
def mend_both(n: int, error: Odd | TooSmall | Beyond | Fault) -> Result[int, Beyond]:
    """Like mend_pair, with two arguments, but for faults, with which it fails itself."""
    _note(type(n).__name__)
    return Failure(Beyond(error.task)) if isinstance(error, Fault) else Success(n)


@task
def echo(parcel: Parcel) -> Parcel:
    """Its argument."""
    _note(parcel.id)
    return parcel


@task
def measure(n: int) -> Reading:
    """A reading, from a step that gives only readings."""
    _note(n)
    return Reading("Gap", {"seconds": n})


@task
def measure_some(n: int) -> Reading | Gap:
    """A reading for an even number, and a gap for an odd one."""
    _note(n)
    return Gap(n) if n % 2 else Reading("Gap", {"seconds": n})


@task
def misread(n: int) -> Result[str, Reading]:
    """Fails with a reading."""
    _note(n)
    return Failure(Reading("Gap", {"seconds": n}))


@task
def name_kind(value: Reading | Gap) -> str:
    """The type of its argument."""
    return type(value).__name__


@task
def name_kinds(values: list[Reading | Gap]) -> list[str]:
    """The types of the items of its argument."""
    return [type(value).__name__ for value in values]


@task
def name_error(error: Reading | Gap | Fault) -> str:
    """The type of its argument."""
    return type(error).__name__


@task
def patched(patch: Patch) -> Patch:
    """The same, with the name unset."""
    return patch if patch.name is UNSET else Patch(size=patch.size)


def _on_a_loop_of_its_own(
    fn: Callable[[int], Coroutine[None, None, int]],
) -> Callable[[int], int]:
    @wraps(fn)
    def run(n: int) -> int:
        return asyncio.run(fn(n))

    return run


def _only_called(
    fn: Callable[[int], Coroutine[None, None, int]],
) -> Callable[[int], Coroutine[None, None, int]]:
    @wraps(fn)
    def call(n: int) -> Coroutine[None, None, int]:
        return fn(n)

    return call


@task
@_on_a_loop_of_its_own
async def bridged(n: int) -> int:
    """One more, by an async function in a sync wrapper that runs it."""
    await asyncio.sleep(0)
    return n + 1


@task
@_only_called
async def wrapped(n: int) -> int:
    """One more, by an async function in a sync wrapper that only calls it."""
    await asyncio.sleep(0)
    return n + 1


@task
def lie(n: int) -> int:
    """Returns a text where it promised a number."""
    _note(n)
    return cast(int, str(n))


@task
def leave(n: int) -> int:
    """Tries to end the worker's process."""
    _note(n)
    raise SystemExit(n)


@task(timeout=0.2)
def oversleep(seconds: float) -> float:
    """Sleeps so long, which may be longer than its timeout."""
    _note(seconds)
    time.sleep(seconds)
    return seconds


@task
def crowd(n: int) -> int:
    """How many steps of this task run at the same time in the call."""
    folder = Path(os.environ[TRACE])
    mine = folder / f"{current().id}.{n}.{current().step}"
    mine.touch()
    time.sleep(0.05)
    count = sum(1 for _ in folder.glob(f"{current().id}.*"))
    time.sleep(0.05)
    mine.unlink()
    return count


@task
def meet(n: int) -> bool:
    """Whether another step of this task runs at the same time in the call, which it waits for."""
    folder, end = Path(os.environ[TRACE]), time.monotonic() + 60
    (folder / f"{current().id}.met.{n}").touch()
    while len([*folder.glob(f"{current().id}.met.*")]) < 2:
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


@task
def linger(seconds: float) -> float:
    """Takes so long, and reports progress; ends early if its call is cancelled."""
    _note(seconds)
    end = time.monotonic() + seconds
    while time.monotonic() < end and not current().cancelled:
        progress(seconds - (end - time.monotonic()), seconds, "lingering")
        time.sleep(0.01)
    return seconds


@task
def among(word: str, choice: Choice) -> bool:
    """Whether a word is among some."""
    return word in choice.words


@task
def where(n: int) -> str:
    """The step's place in its call."""
    return current().step


@task
def where_failed(error: Fault) -> str:
    """The place of the step that handles a failure."""
    return current().step


@task
def wheres_failed(error: Fault) -> list[str]:
    """Like where_failed, in a list."""
    return [current().step]


@task
def enter(name: str) -> str:
    """Sets the context variable, and gives its former value."""
    before = TENANT.get()
    TENANT.set(name)
    return before


@task
async def enter_async(name: str) -> str:
    """Like enter, and checks that the variable keeps its value across an await."""
    before = TENANT.get()
    TENANT.set(name)
    await asyncio.sleep(0.01)
    return before if TENANT.get() == name else f"changed to {TENANT.get()}"


@task(retry=Retry(attempts=2, backoff=Constant(0.0)))
def enter_again(name: str) -> str:
    """Like enter, at the second attempt; the first one sets it too."""
    before = TENANT.get()
    TENANT.set(name)
    if current().attempt == 1:
        raise OSError("once more")
    return before


@task(timeout=0.2)
def overrun(seconds: float) -> float:
    """Goes on after its timeout until it sees `cancelled`, or so much time has passed."""
    end = time.monotonic() + seconds
    while not current().cancelled and time.monotonic() < end:
        time.sleep(0.01)
    _note("cancelled" if current().cancelled else "never cancelled")
    return seconds


@task
async def rest(seconds: int) -> int:
    """Takes so long, and writes to the trace if it is interrupted."""
    _note("begun")
    try:
        await asyncio.sleep(seconds)
    except asyncio.CancelledError:
        _note("interrupted")
        raise
    return seconds


@task
def fragile(n: int) -> int:
    """The same number, once a file says that it is mended: the first call's id, and `.mended`."""
    _note(n)
    if not Path(os.environ[TRACE], f"{current().id}.mended").exists():
        raise RuntimeError(f"not mended for {n}")
    return n


@task
def tidy(n: int) -> int:
    """The same number, once a file says that it may end: the call's id, and `.tidy`."""
    end = time.monotonic() + 60
    allowed = Path(os.environ[TRACE], f"{current().id}.tidy")
    while not allowed.exists() and time.monotonic() < end:
        time.sleep(0.01)
    _note(n)
    return n


@task
def linger_for(error: Fault) -> float:
    """Takes two seconds, so that its call goes on."""
    end = time.monotonic() + 2.0
    while time.monotonic() < end and not current().cancelled:
        time.sleep(0.01)
    return 2.0


@task(retry=Retry(attempts=2, backoff=Constant(0.0)))
def relapse(seconds: float) -> float:
    """Reports progress in the first attempt, which fails; the second one takes so long."""
    if current().attempt == 1:
        progress(1, 2, "the first attempt")
        raise OSError("once more")
    end = time.monotonic() + seconds
    while time.monotonic() < end and not current().cancelled:
        time.sleep(0.01)
    return seconds
