"""Tasks that use resources, for the laws of resources."""

from __future__ import annotations

import asyncio
import os
import uuid
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass

from returns.result import Failure, Result, Success

from onward.context import current
from onward.flows.using import uses
from onward.policy import Constant, Retry
from onward.resource import Resource
from onward.testing.kinds import Odd
from onward.testing.traces import note

_TWICE = Retry(attempts=2, backoff=Constant(0.0), on=(ConnectionError,))


@dataclass(frozen=True)
class Desk:
    """What is opened once for a process."""

    token: str
    loop: asyncio.AbstractEventLoop


@asynccontextmanager
async def open_desk() -> AsyncGenerator[Desk]:
    """Opens a desk, asynchronously."""
    await asyncio.sleep(0.01)  # so that several attempts ask for it meanwhile
    yield Desk(uuid.uuid4().hex, asyncio.get_running_loop())


@contextmanager
def open_form(desk: Desk) -> Generator[Desk]:
    """Opens a form for one attempt, and notes how the attempt ends."""
    note("opened")
    try:
        yield desk
    except BaseException as problem:
        note(type(problem).__name__)
        raise
    note("kept")


@asynccontextmanager
async def open_sheet(desk: Desk) -> AsyncGenerator[Desk]:
    """Opens a sheet for one attempt, asynchronously, and notes how the attempt ends."""
    note("opened")
    try:
        yield desk
    except BaseException as problem:
        note(type(problem).__name__)
        raise
    note("kept")


desk: Resource[Desk] = Resource(open_desk)
form: Resource[Desk] = Resource(open_form, needs=(desk,), scope="attempt")
sheet: Resource[Desk] = Resource(open_sheet, needs=(desk,), scope="attempt")


@uses(desk)
def at_desk(desk: Desk, n: int) -> tuple[int, str]:
    """The process, and its desk."""
    return os.getpid(), desk.token


@uses(desk)
async def at_desk_async(desk: Desk, n: int) -> tuple[int, str]:
    """The same, asynchronously, on the loop that opened the desk."""
    if asyncio.get_running_loop() is not desk.loop:
        raise RuntimeError("the desk belongs to another loop")
    return os.getpid(), desk.token


def _filled(n: int) -> Result[int, Odd]:
    if current().attempt == 1:
        raise ConnectionResetError("the first attempt")
    return Failure(Odd(n)) if n % 2 else Success(n)


@uses(form, retry=_TWICE)
def fill_form(form: Desk, n: int) -> Result[int, Odd]:
    """The same, of an even number, at the second attempt."""
    return _filled(n)


@uses(form, retry=_TWICE)
async def fill_form_async(form: Desk, n: int) -> Result[int, Odd]:
    """The same, asynchronously."""
    return _filled(n)


@uses(desk, retry=_TWICE)
@uses(sheet)
def fill_sheet(sheet: Desk, desk: Desk, n: int) -> Result[int, Odd]:
    """The same with an async resource, and with the desk that this one uses."""
    return _filled(n if sheet is desk else -1)


@uses(sheet, retry=_TWICE)
async def fill_sheet_async(sheet: Desk, n: int) -> Result[int, Odd]:
    """The same with an async resource, asynchronously."""
    return _filled(n)
