"""Awaiting a call leaves the program its event loop's threads, and the program can end."""

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from uuid import uuid4

import pytest
from returns.result import Success

from onward import Catalog, Expired, aio, submit_all, task
from onward.backends.celery import CeleryBackend, celery
from tests.engines.valkey import Valkey

PATIENCE = 120.0

GIVES_UP = """
import asyncio
import sys
from onward import aio, connect, task

@task
def inc(n: int) -> int:
    return n + 1

async def main() -> None:
    asyncio.get_running_loop().slow_callback_duration = 60  # a busy machine is not what is tested
    try:
        async with asyncio.timeout(0.5):
            await aio.run(inc(1), on=backend)
    except TimeoutError:
        print("given up")

backend = connect(sys.argv[1]).unwrap()
asyncio.run(main())
print("ended")
backend.close()
"""


@task
def inc(n: int) -> int:
    return n + 1


@pytest.fixture(params=["memory", "redis"])
def url(request: pytest.FixtureRequest) -> str:
    if request.param == "memory":
        return "memory://"
    valkey: Valkey = request.getfixturevalue("valkey")
    return valkey.url


@pytest.fixture
def backend(url: str) -> Iterator[CeleryBackend]:
    with closing(celery(url, queue=uuid4().hex)) as backend:
        yield backend


def test_open_waits_leave_the_program_its_threads(backend: CeleryBackend) -> None:
    async def main() -> str:
        refs = submit_all([inc(n) for n in range(80)], on=backend).unwrap()
        waits = [asyncio.create_task(aio.result(ref, on=backend, timeout=PATIENCE)) for ref in refs]
        await asyncio.sleep(0)  # let all waits begin
        async with asyncio.timeout(PATIENCE / 2):
            name = await asyncio.to_thread(lambda: "its own")
        assert not any(wait.done() for wait in waits)
        return name

    assert asyncio.run(main()) == "its own"


def test_waits_take_turns_if_there_are_more_of_them_than_threads(backend: CeleryBackend) -> None:
    async def main() -> None:
        calls = [inc(n) for n in range(250)]
        refs = submit_all(calls, on=backend, queue=uuid4().hex).unwrap()
        waits = [asyncio.create_task(aio.result(ref, on=backend)) for ref in refs]
        await asyncio.sleep(0)
        assert await aio.run(inc(1), on=backend, timeout=PATIENCE) == Success(2)
        assert not any(wait.done() for wait in waits)

    worker = backend.serve(Catalog(inc)).unwrap()
    asyncio.run(main())
    worker.stop()


def test_a_program_that_gives_up_waiting_can_end(url: str, tmp_path: Path) -> None:
    script = [sys.executable, "-X", "dev", "-W", "error", "-c", GIVES_UP]
    done = subprocess.run(
        [*script, f"celery+{url}?queue={uuid4().hex}"],
        check=False,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert (done.stdout, done.stderr) == ("given up\nended\n", "")


def test_an_awaited_call_expires_without_any_worker(backend: CeleryBackend) -> None:
    answer = asyncio.run(aio.run(inc(1), on=backend, deadline=0.3, timeout=PATIENCE))
    assert isinstance(answer.failure(), Expired)
