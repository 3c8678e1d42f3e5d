"""Backends on an engine of the tests, with or without a worker."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
from collections.abc import Iterator, Mapping
from typing import Protocol

import pytest

from onward.backends.hatchet import HatchetBackend, hatchet, sdk
from onward.backends.hatchet.limits import Limits
from onward.backends.hatchet.settings import Address
from onward.catalog import Catalog
from tests.hatchet.double import Double


class Engine(Protocol):
    """What a client needs to know of an engine."""

    @property
    def client_environment(self) -> Mapping[str, str]: ...


def backend_on(
    engine: Engine,
    *,
    namespace: str = "",
    queue: str = "onward",
    lease: float = 60.0,
    server_url: str | None = None,
    limits: Limits | None = None,
    undeclared: float = 0.5,
    unserved: float = 120.0,
    holds: float | None = None,
) -> HatchetBackend:
    """A backend on an engine; the URL of the HTTP API can be changed.

    `holds` is how long its workers hold flows that only wait; by default, as long as others do.
    """
    environment = engine.client_environment
    made = hatchet(
        environment["HATCHET_CLIENT_TOKEN"],
        environment.get("HATCHET_CLIENT_HOST_PORT"),
        server_url=server_url or environment.get("HATCHET_CLIENT_SERVER_URL"),
        tls=environment.get("HATCHET_CLIENT_TLS_STRATEGY") != "none",
        namespace=namespace,
        queue=queue,
        lease=lease,
        limits=limits,
        undeclared=undeclared,
        unserved=unserved,
    )
    if holds is None:
        return made
    return HatchetBackend(dataclasses.replace(made.settings, holds=holds), repr(made))


PATIENCE = 250.0
"""How long a call may take: the engine stalls some DAGs for minutes."""

long_on_the_engine = pytest.mark.parametrize(
    "engine", [pytest.param("engine", marks=pytest.mark.long), "double"], indirect=True
)
"""For what takes long on the real engine, or is much like what `make test` runs there anyway."""


def fresh() -> str:
    """A new namespace."""
    return f"t{os.urandom(5).hex()}"


@contextlib.contextmanager
def serving(
    engine: Engine,
    catalog: Catalog,
    *,
    namespace: str = "",
    queue: str = "onward",
    concurrency: int | None = None,
    lease: float = 60.0,
    unserved: float = 120.0,
    holds: float | None = None,
) -> Iterator[HatchetBackend]:
    """A backend on an engine, and a worker that serves a catalog."""
    backend = backend_on(
        engine, namespace=namespace, queue=queue, lease=lease, unserved=unserved, holds=holds
    )
    worker = backend.serve(catalog, concurrency=concurrency).unwrap()
    try:
        yield backend
    finally:
        # A worker waits for what the engine may still assign to it. The double assigns at once.
        worker.stop(grace=0.1 if isinstance(engine, Double) else 5)
        backend.close()


def steps_of(engine: Engine, id: str) -> set[str]:
    """The names of a run's tasks, as the engine shows them."""
    sdk.load()
    from onward.backends.hatchet.client import Client

    async def look() -> set[str]:
        wire = Client(_address(engine))
        try:
            details = await wire.details(id)
            assert details is not None
            return set(details.task_runs)
        finally:
            await wire.close()

    return asyncio.run(look())


def is_evicted(engine: Engine, id: str) -> bool:
    """Whether the engine has taken a run from its worker, until something restores it."""
    sdk.load()
    from onward.backends.hatchet.client import Client

    async def look() -> bool:
        wire = Client(_address(engine))
        try:
            details = await wire.details(id)
            assert details is not None
            return bool(details.is_evicted)
        finally:
            await wire.close()

    return asyncio.run(look())


def foreign_run(engine: Engine, workflow: str, text: str) -> str:
    """Starts a run as another program would; returns its id."""
    sdk.load()
    from hatchet_sdk.contracts.v1.shared.trigger_pb2 import TriggerWorkflowRequest

    from onward.backends.hatchet.client import Client

    async def start() -> str:
        wire = Client(_address(engine))
        try:
            key = os.urandom(8).hex()
            metadata = f'{{"onward": "{key}", "hatchet__cron_scheduled_at": ""}}'
            request = TriggerWorkflowRequest(
                name=workflow, input=text, additional_metadata=metadata
            )
            return await wire.trigger(request)
        finally:
            await wire.close()

    return asyncio.run(start())


def _address(engine: Engine) -> Address:
    environment = engine.client_environment
    return Address(
        environment["HATCHET_CLIENT_HOST_PORT"], environment["HATCHET_CLIENT_TOKEN"], None
    )
