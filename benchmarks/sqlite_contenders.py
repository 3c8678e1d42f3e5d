"""What is timed on SQLite: one contender's worker, or its client, in a process of its own.

`python sqlite_contenders.py NAME worker|client PLACE` runs with that contender's libraries alone. A
client does what it reads, line by line: what, and how many times; and answers with the seconds that
it took. A worker touches the file PLACE.done when it has done all that was put there.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from time import perf_counter, process_time
from typing import Any, NamedTuple

THREADS = 4
ONE, CHAIN, PUT, PUT_ALL = "one", "chain", "put", "put_all"
"""What clients can do: submit one task, or three in a row, and wait for it; submit many one by one,
or all together."""


class Side(NamedTuple):
    """A contender: what its client can do so many times, and what its worker does for ever."""

    client: Mapping[str, Callable[[int], object]]
    work: Callable[[], object]


_lock = threading.Lock()
_finished = 0


def pass_on(n: int) -> int:
    return n


def finish(calls: int, place: str) -> int:
    """Notes it when as many have finished as were put there."""
    global _finished  # noqa: PLW0603 - a worker's tasks have nothing else in common
    with _lock:
        _finished += 1
        if _finished == calls:
            _finished = 0
            Path(f"{place}.done").touch()
    return calls


def _times(work: Callable[[], object]) -> Callable[[int], Sequence[object]]:
    return lambda times: [work() for _ in range(times)]


def _onward(url: str, place: str) -> Side:
    from onward import Catalog, connect, run, submit, submit_all, task

    backend = connect(url).unwrap()
    step, last = task(pass_on), task(finish)

    def work() -> object:
        return backend.serve(Catalog(step, last), concurrency=THREADS).unwrap().wait()

    def put(n: int) -> object:
        return [submit(last(n, place), on=backend).unwrap() for _ in range(n)]

    return Side(
        {
            ONE: _times(lambda: run(step(1), on=backend).unwrap()),
            CHAIN: _times(lambda: run((step >> step >> step)(1), on=backend).unwrap()),
            PUT: put,
            PUT_ALL: lambda n: submit_all([last(n, place)] * n, on=backend).unwrap(),
        },
        work,
    )


def _celery(url: str, place: str) -> Side:
    from celery import Celery, chain
    from celery.exceptions import TimeoutError as CeleryTimeout

    app = Celery("benchmarks", broker=url, backend=url)
    one, last = app.task(name="pass_on")(pass_on), app.task(name="finish")(finish)

    def get(result: Any) -> object:
        while True:
            with suppress(CeleryTimeout):  # now and then it does not hear that there is a result
                return result.get(timeout=2)

    def work() -> None:
        threads = ("--pool=threads", f"--concurrency={THREADS}", "--loglevel=WARNING")
        app.worker_main(["worker", *threads])

    def in_a_batch(n: int) -> object:
        with app.producer_pool.acquire(block=True) as producer:
            batch = producer.batch()  # type: ignore[attr-defined]  # the stubs are older than it
            with batch:
                return [last.apply_async((n, place), producer=producer) for _ in range(n)]

    return Side(
        {
            ONE: _times(lambda: get(one.delay(1))),
            CHAIN: _times(lambda: get(chain(one.s(1), one.s(), one.s()).apply_async())),
            PUT: lambda n: [last.delay(n, place) for _ in range(n)],
            PUT_ALL: in_a_batch,
        },
        work,
    )


def _huey(place: str, patience: float) -> Side:
    """By default, an idle worker and who waits for a result look again after 0.1 s and more."""
    from huey import SqliteHuey  # type: ignore[import-not-found, unused-ignore]  # not installed
    from huey.consumer import Consumer  # type: ignore[import-not-found, unused-ignore]

    huey = SqliteHuey(filename=place)
    one, last = huey.task(name="pass_on")(pass_on), huey.task(name="finish")(finish)

    def get(result: Any) -> object:
        return result.get(blocking=True, backoff=1.15, max_delay=patience)

    def work() -> None:
        quick = {} if patience >= 1 else {"initial_delay": patience, "max_delay": patience}
        Consumer(huey, workers=THREADS, periodic=False, **quick).run()

    return Side(
        {
            ONE: _times(lambda: get(one(1))),
            CHAIN: _times(lambda: get(huey.enqueue(one.s(1).then(one).then(one)))),
            PUT: lambda n: [last(n, place) for _ in range(n)],
        },
        work,
    )


def _dbos(place: str) -> Side:
    from dbos import DBOS, DBOSClient  # type: ignore[import-not-found, unused-ignore]  # as above

    url, queue = f"sqlite:///{place}", "benchmarks"
    step = DBOS.step(name="step")(pass_on)
    DBOS.workflow(name="pass_on")(pass_on)
    DBOS.workflow(name="finish")(finish)

    @DBOS.workflow(name="chain")  # type: ignore[untyped-decorator, unused-ignore]
    def chain(n: int) -> int:
        return int(step(step(step(n))))

    def work() -> None:
        config = {"name": "benchmarks", "system_database_url": url, "log_level": "WARNING"}
        DBOS(config=config)
        DBOS.listen_queues([queue])
        DBOS.launch()
        # By default, a worker looks once a second.
        DBOS.register_queue(queue, worker_concurrency=THREADS, polling_interval_sec=0.01)
        threading.Event().wait()

    client: list[Any] = []

    def enqueue(name: str, *arguments: object) -> Any:
        if not client:
            client.append(DBOSClient(system_database_url=url))
        options = {"workflow_name": name, "queue_name": queue}
        return client[0].enqueue(options, *arguments)

    return Side(
        {
            ONE: _times(lambda: enqueue("pass_on", 1).get_result(polling_interval_sec=0.01)),
            CHAIN: _times(lambda: enqueue("chain", 1).get_result(polling_interval_sec=0.01)),
            PUT: lambda n: [enqueue("finish", n, place) for _ in range(n)],
        },
        work,
    )


CONTENDERS: Mapping[str, Callable[[str, str], Side]] = {
    "Onward": lambda url, place: _onward(f"sqlite:///{place}", place),
    "huey": lambda url, place: _huey(place, 1.0),
    "huey, looks every 5 ms": lambda url, place: _huey(place, 0.005),
    "DBOS": lambda url, place: _dbos(place),
    "Onward on Celery": lambda url, place: _onward(f"celery+{url}", place),
    "Celery on Valkey": _celery,
}
"""By name; each with a Valkey's URL and the place of a file."""


def main(name: str, what: str, url: str, place: str) -> None:
    """Works, or does what it is told."""
    side = CONTENDERS[name](url, place)
    if what == "worker":
        side.work()
        return
    print(*side.client, flush=True)
    for line in sys.stdin:
        how, times = line.split()
        work = side.client[how]
        start, began = perf_counter(), process_time()
        kept = work(int(times))  # what it gives is not to be thrown away within the time
        print(perf_counter() - start, process_time() - began, flush=True)
        del kept


if __name__ == "__main__":
    main(*sys.argv[1:])
