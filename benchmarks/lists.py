"""How long a page of a list of calls takes: `python -m benchmarks.lists --engine temporal [CALLS]`.

For Temporal and Hatchet, which have a store of their own for lists; `benchmarks.histories` has
SQLite, and `benchmarks.records` Celery. It prints the time of a page and how many requests the
engine gets for it, which must not depend on how many calls there are.
"""

from __future__ import annotations

import argparse
import logging
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from importlib import import_module
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any
from unittest.mock import patch

from returns.result import Failure

from onward import Call, Catalog, submit_all, task
from onward.backend import CallPage, CallQuery, Lists
from tests.engines.process import until
from tests.engines.server import HOST

PATIENCE = 3600.0
TIMES = 5
"""How often each page is read; the median counts."""
AT_ONCE = 1_000
"""How many calls are submitted at once."""
SOME = 100
"""How many calls of the rarer kinds there are: a page of each."""
PAUSE = 0.5
"""How long the engine is left alone between two pages, in seconds: it limits requests."""

COUNTED: Mapping[str, tuple[tuple[str, str], ...]] = {
    "temporal": (("temporalio.service._BridgeServiceClient", "_rpc_call"),),
    "hatchet": (
        ("onward.backends.hatchet.http_api.HttpApi", "fetch"),
        ("onward.backends.hatchet.client.Client", "details"),
    ),
}
"""The methods of clients through which all requests go."""


@task
async def step(n: int) -> int:
    return n


@task
async def fail(n: int) -> int:
    raise ValueError(n)


rare = (step >> step).named("rare")


@contextmanager
def temporal(folder: Path) -> Iterator[Lists]:
    """A backend on a server of its own, which keeps all in memory."""
    from onward.backends.temporal import temporal as temporal_at
    from tests.engines.temporal import Temporal

    with (
        Temporal.start_forgetful(folder) as server,
        closing(temporal_at(HOST, server.port)) as backend,
    ):
        yield backend


@contextmanager
def hatchet(folder: Path) -> Iterator[Lists]:
    """A backend on an engine of its own."""
    from onward.backends.hatchet import hatchet as hatchet_at
    from tests.engines.hatchet import Hatchet

    with (
        Hatchet.start(folder) as engine,
        patch.dict(os.environ, engine.client_environment),
        closing(hatchet_at()) as backend,
    ):
        yield backend


ENGINES: Mapping[str, Callable[[Path], Any]] = {"temporal": temporal, "hatchet": hatchet}


def main() -> None:
    """Measures one engine."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.lists", description=__doc__)
    parser.add_argument("calls", nargs="?", type=int, default=100_000, help="how many calls")
    parser.add_argument("--engine", choices=ENGINES, required=True, help="which engine")
    options = parser.parse_args()
    logging.disable()
    with (
        tempfile.TemporaryDirectory() as folder,
        ENGINES[options.engine](Path(folder)) as backend,
    ):
        worker = backend.serve(Catalog(step, fail, rare)).unwrap()
        _fill(backend, options.calls)
        _pages(backend, options.calls, COUNTED[options.engine])
        worker.stop()


def _fill(backend: Lists, count: int) -> None:
    """Submits the calls, and waits until they have ended and are listed."""
    usual = count - 2 * SOME - 1
    if usual < 1:
        raise SystemExit(f"there are {2 * SOME} calls of rarer kinds, so name more than those")
    parts: tuple[list[Call[Any, Any]], ...] = (
        [rare(1)] * SOME,
        [fail(1)] * SOME,
        [step(1)] * usual,
    )
    start = perf_counter()
    for part in parts:
        for first in range(0, len(part), AT_ONCE):
            _submit(part[first : first + AT_ONCE], backend)
    last = _submit([step(1)], backend)
    newest, still_open = CallQuery(), CallQuery(frozenset({"queued", "running"}), limit=1)
    _wait(lambda: any(call.id == last for call in _page(backend, newest).calls))
    _wait(lambda: not _page(backend, still_open).calls)
    print(f"{count:,} calls, which took {perf_counter() - start:.0f} s", flush=True)


def _submit(calls: Sequence[Call[Any, Any]], backend: Lists) -> str:
    """Submits calls; gives the id of the last one."""
    answer = submit_all(calls, on=backend)
    if isinstance(answer, Failure):
        raise SystemExit(str(answer.failure()))
    return answer.unwrap()[-1].id


def _wait(condition: Callable[[], bool]) -> None:
    """Waits, and asks once a second, because the engine limits requests."""

    def is_so() -> bool:
        time.sleep(1)
        return condition()

    until(is_so, within=PATIENCE, otherwise=lambda: "the calls do not end, or are not listed")


def _pages(backend: Lists, count: int, methods: tuple[tuple[str, str], ...]) -> None:
    middle = _page(backend, CallQuery(limit=min(1000, count // 2))).next
    pages: Mapping[str, Callable[[], CallPage]] = {
        "all": partial(_page, backend, CallQuery()),
        "done": partial(_page, backend, CallQuery(frozenset({"done"}))),
        "failed": partial(_page, backend, CallQuery(frozenset({"failed"}))),
        "of a flow that is rare": partial(_page, backend, CallQuery(flow="rare")),
        "that come later": partial(_page, backend, CallQuery(), middle),
    }
    for name, read in pages.items():
        time.sleep(PAUSE)
        found, requests = _requests(read, methods)
        milliseconds = median(_milliseconds(read) for _ in range(TIMES))
        print(
            f"{count:,} calls, a page of those {name}: {milliseconds:.0f} ms, {requests} requests "
            f"for {len(found.calls)} calls"
        )


def _milliseconds(read: Callable[[], object]) -> float:
    time.sleep(PAUSE)
    start = perf_counter()
    read()
    return (perf_counter() - start) * 1000


def _page(backend: Lists, query: CallQuery, after: str = "") -> CallPage:
    return backend.calls(query, after).unwrap()


def _requests(
    read: Callable[[], CallPage], methods: tuple[tuple[str, str], ...]
) -> tuple[CallPage, int]:
    """A page, and how many requests the engine gets for it."""
    count = 0
    with ExitStack() as stack:
        for path, name in methods:
            module, _, kind = path.rpartition(".")
            owner: Any = getattr(import_module(module), kind)
            whole = getattr(owner, name)

            def counted(*args: Any, whole: Any = whole, **kwargs: Any) -> Any:
                nonlocal count
                count += 1
                return whole(*args, **kwargs)

            stack.enter_context(patch.object(owner, name, counted))
        page = read()
    return page, count


if __name__ == "__main__":
    main()
