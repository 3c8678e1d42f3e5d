"""Middleware surrounds the attempts of a worker of each engine; its laws are in `tests/unit`."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Generator
from contextlib import ExitStack, asynccontextmanager, closing, contextmanager
from contextvars import ContextVar
from typing import Any
from uuid import uuid4

import pytest
from returns.result import Success

from onward import Backend, Catalog, Context, run, task, work
from onward.backends.celery import celery
from onward.backends.temporal import temporal as temporal_at
from onward.middleware import with_middleware
from tests.engines.server import HOST
from tests.hatchet.served import PATIENCE, backend_on, fresh

TENANT: ContextVar[str] = ContextVar("tenant", default="nobody")


@contextmanager
def set_tenant(context: Context) -> Generator[None]:
    token = TENANT.set("acme")
    yield
    TENANT.reset(token)


@asynccontextmanager
async def add_task(context: Context) -> AsyncGenerator[None]:
    await asyncio.sleep(0)
    token = TENANT.set(f"{TENANT.get()}/{context.task}")
    yield
    TENANT.reset(token)


@task
def who(names: list[str]) -> list[str]:
    return [*names, TENANT.get()]


@task
async def who_async(names: list[str]) -> list[str]:
    return [*names, TENANT.get()]


@pytest.fixture(params=["celery", "temporal", "hatchet"])
def on(request: pytest.FixtureRequest) -> Generator[Backend]:
    backend: Any
    match request.param:
        case "celery":
            backend = celery(request.getfixturevalue("valkey").url, queue=uuid4().hex)
        case "temporal":
            port = request.getfixturevalue("temporal").port
            backend = temporal_at(HOST, port, task_queue=uuid4().hex)
        case _:
            engine = request.getfixturevalue("hatchet")
            backend = backend_on(engine, namespace=fresh(), undeclared=PATIENCE)
    with closing(backend):
        yield backend


@pytest.mark.timeout(3 * PATIENCE)
def test_a_worker_goes_through_its_middleware_in_order(on: Backend) -> None:
    """Whether the task is sync or async, and so is the middleware."""
    stop, surrounded = threading.Event(), with_middleware(on, set_tenant, add_task)
    serving = threading.Thread(
        target=work, args=(Catalog(who, who_async), surrounded), kwargs={"stop": stop}
    )
    with ExitStack() as stack:
        stack.callback(serving.join)
        stack.callback(stop.set)
        serving.start()
        found = run((who >> who_async)([]), on=on, timeout=PATIENCE)
    assert found == Success(["acme/who", "acme/who_async"])
