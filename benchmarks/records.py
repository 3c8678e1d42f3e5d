"""What histories and lists cost on Celery: `python -m benchmarks.records [CALLS] [STEPS]`.

It prints how many bytes of Redis a call and a step take, with and without what only histories need;
how long the pages of a long call's history take; and how long the first page of a list takes.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

from redis import Redis

from benchmarks.waits_served import step
from onward import Catalog, each, result, submit, submit_all
from onward.backend import CallQuery
from onward.backends.celery import celery
from onward.backends.celery.backend import CeleryBackend
from onward.fault import Lost
from onward.outcome import faulted
from tests.engines.valkey import Valkey

FOR_HISTORIES = ("about", "ended", "l")
"""The fields of a call's record that only histories and lists need; and those that begin `l:`."""

ROUNDS = 11
STEPS = 3


def main(calls: int = 100_000, steps: int = 10_000) -> None:
    """Measures on a Valkey of its own, with a worker in this process."""
    with (
        tempfile.TemporaryDirectory() as folder,
        Valkey.start(Path(folder)) as server,
        Redis.from_url(server.url) as redis,
        closing(celery(server.url)) as backend,
    ):
        worker = backend.serve(Catalog(step)).unwrap()
        memory_of_small_calls(backend, redis)
        history_of_a_long_call(backend, redis, steps)
        worker.stop()
        lists(backend, redis, calls)


def memory_of_small_calls(backend: CeleryBackend, redis: Any) -> None:
    """Prints what a call of three steps takes."""
    ref = submit((step >> step >> step)(1), on=backend).unwrap()
    result(ref, on=backend, timeout=30).unwrap()
    key = f"onward:{ref.id}"
    whole, without = sizes(redis, key)
    print(f"a chain of {STEPS}: {whole:,} bytes, and {without:,} without what histories need")


def sizes(redis: Any, key: str) -> tuple[int, int]:
    """What a call's record takes, with and without the fields that only histories need."""
    copy = f"{key}:copy"
    whole = redis.memory_usage(key, samples=0)
    redis.copy(key, copy)
    fields = redis.hkeys(copy)
    redis.hdel(copy, *(name for name in fields if name.decode().startswith(FOR_HISTORIES)))
    without = redis.memory_usage(copy, samples=0)
    redis.delete(copy)
    return whole, without


def history_of_a_long_call(backend: CeleryBackend, redis: Any, steps: int) -> None:
    """Prints what each step of a long call takes, and how long the pages of its history take."""
    ref = submit(each(step)(list(range(steps))), on=backend).unwrap()
    result(ref, on=backend, timeout=600).unwrap()
    whole, without = sizes(redis, f"onward:{ref.id}")
    print(
        f"each of {steps:,} steps: {whole / steps:,.0f} bytes, "
        f"and {without / steps:,.0f} without what histories need"
    )
    after, seconds, found = "", [], 0
    while True:
        start = perf_counter()
        page = backend.history(ref.id, after).unwrap()
        seconds.append(perf_counter() - start)
        found += len(page.steps)
        after = page.next
        if not after:
            break
    print(f"  {found:,} steps in {len(seconds)} pages, {1000 * median(seconds):.0f} ms each")


def lists(backend: CeleryBackend, redis: Any, calls: int) -> None:
    """Prints what a list takes, and how long its first page takes."""
    refs = submit_all([step(n) for n in range(calls)], on=backend).unwrap()
    lost = faulted(Lost("step", "its workers died", 50))
    for ref in refs[:: max(1, calls // 1_000)]:
        backend.ledger.settle(ref.id, lost, "failed")
    size = redis.memory_usage("onward:calls", samples=0)
    listed = redis.zcard("onward:calls")
    print(f"a list of {listed:,} calls: {size / listed:,.0f} bytes each")
    queries = {
        "first page": CallQuery(),
        "first page of those that are lost": CallQuery(frozenset({"lost"})),
        "first page of those that are queued": CallQuery(frozenset({"queued"})),
        "first page of a flow that none has": CallQuery(flow="other"),
    }
    for what, query in queries.items():
        print(f"  {what}: {timed(partial(backend.calls, query)):.1f} ms")


def timed(run: Callable[[], object]) -> float:
    """The median of some runs, in milliseconds."""
    seconds = []
    for _ in range(ROUNDS):
        start = perf_counter()
        run()
        seconds.append(perf_counter() - start)
    return 1000 * median(seconds)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
