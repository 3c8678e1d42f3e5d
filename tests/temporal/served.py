"""The tasks that the workers of these tests serve, in this process and in others."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from returns.result import Failure, Result, Success

from onward import Catalog, Fault, current, progress, task
from onward.policy import Constant, Exponential, Retry


@dataclass(frozen=True)
class Odd:
    """A number that cannot be halved."""

    number: int


@dataclass(frozen=True)
class Long:
    """An error with a long text."""

    text: str


def note(folder: str, text: str) -> None:
    """Appends a line to the folder's notes, in one atomic write."""
    with Path(folder, "notes").open("ab", buffering=0) as file:
        file.write(f"{text}\n".encode())


def noted(folder: Path) -> list[str]:
    """The lines of the folder's notes."""
    file = folder / "notes"
    return file.read_text().splitlines() if file.exists() else []


@task
def inc(n: int) -> int:
    return n + 1


@task
async def double(n: int) -> int:
    return 2 * n


@task
def halve(n: int) -> Result[int, Odd]:
    return Failure(Odd(n)) if n % 2 else Success(n // 2)


@task
def mend(error: Odd | Long | Fault) -> int:
    """Maps an error to a number."""
    match error:
        case Odd(number):
            return number - 1
        case Long(text):
            return len(text)
        case Fault():
            return -1


@task
def mend_pair(failed: tuple[int, Odd | Fault]) -> int:
    return 100 * failed[0] + mend.fn(failed[1])


@task
def sort(n: int) -> Odd | Long | None:
    """One of three types."""
    return None if n == 0 else Odd(n) if n % 2 else Long("x" * n)


@task
def number_of(odd: Odd) -> int:
    return odd.number


@task
def text_of(long: Long) -> str:
    return long.text


@task
def mend_all(error: Odd | Fault) -> list[int]:
    return [mend.fn(error)]


@task
def mended(error: Fault) -> str:
    return str(error)


@task
def soothed(error: Fault) -> float:
    return 0.0


@task
def shift(n: int, by: int, *, times: int = 1) -> int:
    return n + by * times


@task
def span(n: int) -> list[int]:
    return list(range(n))


@task
def total(numbers: list[int]) -> int:
    return sum(numbers)


@task
def blob(size: int) -> str:
    return "x" * size


@task
def same(text: str) -> str:
    return text


@task
def listed(numbers: list[int]) -> list[int]:
    return numbers


@task
def size(text: str) -> int:
    return len(text)


@task
def sizes(texts: list[str]) -> int:
    return sum(map(len, texts))


@task
def complain(size: int) -> Result[int, Long]:
    return Failure(Long("x" * size))


@task
def crash(size: int) -> int:
    raise ValueError("x" * size)


@task
def place(n: int) -> str:
    return f"{current().step} of {current().task}"


@task(retry=Retry(attempts=3, backoff=Constant(0.05)))
def twice_in_vain(folder: str) -> int:
    note(folder, f"attempt {current().attempt}")
    if current().attempt < 3:
        raise ConnectionResetError(f"attempt {current().attempt}")
    return current().attempt


@task(retry=Retry(attempts=3, backoff=Exponential(0.4, factor=2, jitter=0.1)))
def in_vain(folder: str) -> int:
    note(folder, f"{time.time()}")
    raise OSError("in vain")


@task(retry=Retry(attempts=9, on=(OSError,), never=(FileNotFoundError,)))
def fatal(kind: str) -> int:
    raise {"never": FileNotFoundError, "other": KeyError}[kind](kind)


@task
def hold(folder: str) -> str:
    """Says that it runs, and goes on until it is let go or cancelled."""
    note(folder, f"hold {current().attempt} {os.getpid()}")
    progress(1, 2, "holding")
    while not Path(folder, "let-go").exists():
        if current().cancelled:
            note(folder, "cancelled")
            return "cancelled"
        time.sleep(0.01)
    return folder


@task
async def hold_async(folder: str) -> str:
    note(folder, f"hold {current().attempt} {os.getpid()}")
    progress(1, 2, "holding")
    try:
        while not await asyncio.to_thread(Path(folder, "let-go").exists):  # noqa: ASYNC110 - a file
            await asyncio.sleep(0.01)
    except asyncio.CancelledError:
        note(folder, "cancelled")
        raise
    return folder


@task
def undone(folder: str) -> str:
    """A cleanup, which has no deadline."""
    assert current().deadline is None
    note(folder, "undone")
    return folder


@task
def mendable(folder: str) -> str:
    """Fails until somebody makes the file `mended`."""
    note(folder, f"{current().step} {current().id}")
    if not Path(folder, "mended").exists():
        raise OSError("not yet")
    return folder


@task
def fussy(item: tuple[str, int]) -> int:
    """Fails for the number 2 until somebody makes the file `mended`."""
    folder, number = item
    note(folder, current().step)
    if number == 2 and not Path(folder, "mended").exists():
        raise OSError("not yet")
    return number


@task
def copies(folder: str) -> list[str]:
    return [folder] * 3


@task
def die(folder: str) -> str:
    """Kills its own worker as `kill -9` does, while the file `deadly` exists."""
    note(folder, f"die {current().attempt}")
    if Path(folder, "deadly").exists():
        os.kill(os.getpid(), signal.SIGKILL)
    return folder


@task(retry=Retry(attempts=2, backoff=Constant(0.0)))
def die_and_fail(folder: str) -> int:
    """Kills its worker in the first attempt, and raises in all others."""
    note(folder, f"attempt {current().attempt}")
    if len(noted(Path(folder))) == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    raise OSError(f"attempt {current().attempt}")


@task
async def wait(seconds: float) -> float:
    await asyncio.sleep(seconds)
    return seconds


@task
async def rest(seconds: int) -> int:
    await asyncio.sleep(seconds)
    return seconds


@task(timeout=0.1)
async def overdue(n: int) -> int:
    await asyncio.sleep(60)
    return n


@task
def first(pair: tuple[int, int]) -> int:
    return pair[0]


@task(retry=Retry(attempts=2, backoff=Constant(0.01)))
def second_time(n: int) -> int:
    if current().attempt == 1:
        raise OSError("not yet")
    return n


@task
def unserved(n: int) -> int:
    return n


catalog = Catalog(
    listed,
    *(inc, double, halve, mend, shift, span, total, blob, same, size, sizes, complain, crash),
    *(place, twice_in_vain, in_vain, fatal, hold, hold_async, die, die_and_fail, wait),
    *(undone, copies, rest, mendable, fussy),
    *(first, second_time, mend_all, mend_pair, mended, soothed, overdue),
    *(sort, number_of, text_of),
)
