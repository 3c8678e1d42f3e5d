"""Runs for which the engine found only dead workers are delivered again."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

from returns.result import Success

from onward import Catalog, result, status, submit
from onward.backends.hatchet import HatchetBackend
from tests.hatchet.double import Double
from tests.hatchet.served import backend_on, serving
from tests.hatchet.test_worker import inc

catalog = Catalog(inc, (inc >> inc).named("twice"))


def look_for_undelivered(backend: HatchetBackend) -> None:
    """Does what each worker does every few seconds."""
    from onward.backends.hatchet.connection import Connection

    async def look() -> None:
        connection = Connection(backend.settings)
        try:
            await connection.undelivered.look()
        finally:
            await connection.close()

    asyncio.run(look())


def test_whoever_asks_for_its_outcome_has_it_delivered_again() -> None:
    with Double() as double:
        with serving(double, catalog):
            pass
        client = backend_on(double)
        refs = [submit(flow(1), on=client).unwrap() for flow in (inc, inc >> inc)]
        for ref in refs:
            double.fail_to_send(ref.id, ago=60)
        with serving(double, catalog):
            found = [result(ref, on=client, timeout=120) for ref in refs]
        assert found == [Success(2), Success(3)]
        client.close()


def test_many_that_ask_at_once_have_it_delivered_again_once() -> None:
    """Of two deliveries at once, the engine would do neither, nor any other of its queue."""
    with Double() as double:
        with serving(double, catalog):
            pass
        clients = [backend_on(double) for _ in range(5)]
        ref = submit(inc(1), on=clients[0]).unwrap()
        double.fail_to_send(ref.id, ago=60)
        with ThreadPoolExecutor() as pool:
            for client in clients:
                pool.submit(look_for_undelivered, client)
        assert double.replays == [ref.id]
        for client in clients:
            client.close()


def test_a_worker_finds_what_nobody_asks_for() -> None:
    """And only that: what is given up because its workers die stays so."""
    with Double() as double:
        with serving(double, catalog):
            pass
        client = backend_on(double)
        undelivered, deadly = (submit(inc(1), on=client).unwrap() for _ in range(2))
        double.fail_to_send(undelivered.id, ago=60)
        double.fail_to_send(deadly.id, ago=60, error="its workers died")
        look_for_undelivered(client)
        states = [status(ref, on=client).unwrap().state for ref in (undelivered, deadly)]
        assert states == ["queued", "failed"]
        client.close()
