"""Tasks whose steps run in child processes, for these tests."""

import asyncio
import ctypes
import itertools
import logging
import os
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path

from returns.result import Failure, Result, Success

from onward import (
    Context,
    Isolation,
    Resource,
    Secret,
    current,
    progress,
    task,
    uses,
)
from onward.fault import Fault

SEEN: ContextVar[str] = ContextVar("seen", default="nothing")


@dataclass(frozen=True)
class Odd:
    number: int


@task(isolate=True)
def pid(n: int) -> int:
    return os.getpid()


@task
def here(n: int) -> int:
    return os.getpid()


@task(isolate=True)
async def pid_async(n: int) -> tuple[int, int]:
    await asyncio.sleep(0)
    return os.getpid(), id(asyncio.get_running_loop())


@task(isolate=True)
def halve(n: int) -> Result[int, Odd]:
    return Failure(Odd(n)) if n % 2 else Success(n // 2)


@task(isolate=True)
def mend(problem: Odd | Fault) -> int:
    return problem.number if isinstance(problem, Odd) else -1


@task(isolate=True)
def fails(n: int) -> int:
    raise LookupError(f"nothing at {n}")


@task(isolate=True)
def crash(n: int) -> int:
    return len(ctypes.string_at(0))


@task(isolate=True)
def leave(code: int) -> int:
    os._exit(code)


@task(isolate=True)
def exits(code: int) -> int:
    sys.exit(code)


@task(isolate=True)
def doubled(data: bytes) -> bytes:
    return data + data


@task(isolate=Isolation(max_tasks=2))
def worn(n: int) -> int:
    return os.getpid()


@task(isolate=Isolation(max_memory=1.0))
def heavy(n: int) -> int:
    return os.getpid()


@task(isolate=True)
def context(n: int) -> tuple[str, str, str, int, bool, dict[str, str]]:
    it: Context = current()
    has_deadline = it.deadline is not None and it.deadline.tzinfo is not None
    return it.id, it.task, it.step, it.attempt, has_deadline, dict(it.trace)


@task(isolate=True)
def set_seen(text: str) -> str:
    before = SEEN.get()
    SEEN.set("something")
    return before


@task(isolate=True)
def logs(n: int) -> int:
    try:
        raise ValueError("inside")
    except ValueError:
        logging.getLogger("tests.isolated").warning("number %d", n, exc_info=True, extra={"n": n})
    logging.getLogger("tests.isolated").debug("too quiet")
    return n


@task(isolate=True)
def reports(go: str) -> bool:
    """Reports progress, and ends when a file is there."""
    progress(3.0, None, "far")
    while not Path(go).exists():
        time.sleep(0.01)
    return True


@task(isolate=True)
def starts_another(file: str) -> int:
    """Starts a process that writes for ever, and waits for it."""
    import subprocess

    code = f"import time\nwhile True:\n open({file!r}, 'a').write('x'); time.sleep(.01)"
    return subprocess.call([sys.executable, "-c", code])


@task(isolate=True)
def reveals(token: Secret[str]) -> Secret[str]:
    return Secret(token.get_secret_value().upper())


@contextmanager
def open_place() -> Generator[tuple[int, int]]:
    yield os.getpid(), next(OPENED)


OPENED = itertools.count(1)


@uses(Resource(open_place), isolate=True)
def place(place: tuple[int, int], n: int) -> tuple[int, tuple[int, int]]:
    return os.getpid(), place


@uses(Resource(open_place), isolate=True)
async def place_async(place: tuple[int, int], n: int) -> tuple[int, tuple[int, int]]:
    return os.getpid(), place
