"""Clients of both kinds, in threads, in forks and in great numbers."""

import asyncio
import os
import threading
import time
from pathlib import Path

from returns.result import Success

from onward import Expired, Unavailable, aio, result, results, run, status, submit, submit_all
from onward.backend import Submission
from onward.backends.sqlite import SqliteBackend, sqlite
from onward.plan import Args, Plan
from tests.sqlite.kept import CATALOG, inc

PATIENCE = 120.0


def test_one_backend_serves_many_threads(backend: SqliteBackend) -> None:
    worker = backend.serve(CATALOG).unwrap()
    found: list[object] = []

    def client(n: int) -> None:
        found.append(run(inc(n), on=backend, timeout=PATIENCE).unwrap())

    threads = [threading.Thread(target=client, args=(n,)) for n in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert sorted(map(str, found), key=int) == [str(n + 1) for n in range(20)]
    worker.stop()


def test_who_awaits_takes_no_thread(backend: SqliteBackend) -> None:
    worker = backend.serve(CATALOG).unwrap()

    async def main() -> None:
        assert await aio.run(inc(0), on=backend) == Success(1)
        before = threading.active_count()
        refs = (await aio.submit_all([inc(n) for n in range(50)], on=backend, delay=0.2)).unwrap()
        waits = [asyncio.create_task(aio.result(ref, on=backend)) for ref in refs]
        await asyncio.sleep(0.05)
        assert threading.active_count() < before + 10  # other tests' threads come and go
        given_up = waits.pop()
        given_up.cancel()
        found = await asyncio.gather(*waits)
        assert found == [Success(n + 1) for n in range(49)]

    for _ in range(2):
        asyncio.run(main())
    worker.stop()


def test_many_are_waited_for_at_once(backend: SqliteBackend) -> None:
    worker = backend.serve(CATALOG).unwrap()
    count = 3000
    refs = submit_all([inc(n) for n in range(count)], on=backend).unwrap()
    found = dict(results(refs, on=backend, timeout=PATIENCE))
    assert [found[ref] for ref in refs] == [Success(n + 1) for n in range(count)]
    worker.stop()


def test_of_many_calls_each_goes_to_its_queue_and_those_that_are_there_stay(
    backend: SqliteBackend,
) -> None:
    count, early = 1100, (0, 499, 500, 1099)

    def submission(n: int, value: int) -> Submission:
        queue = "far" if n // 3 % 2 else None
        args = inc(value).args
        assert isinstance(args, Args)
        plan = Plan(v=1, id=f"{n:032x}", flow=inc.name, root=inc.node, queue=queue, args=args)
        return Submission(plan)

    backend.submit_all(submission(n, -n) for n in early).unwrap()
    many = [*(submission(n, n) for n in range(count)), submission(7, 0)]
    ids = backend.submit_all(many).unwrap()
    assert ids == [each.plan.id for each in many]

    near = [n for n in range(count) if not n // 3 % 2]
    worker = backend.serve(CATALOG, queues=["onward"]).unwrap()
    found = dict(results([inc.ref(ids[n]) for n in near], on=backend, timeout=PATIENCE))
    values = {n: -n if n in early else n for n in range(count)}
    assert found == {inc.ref(ids[n]): Success(values[n] + 1) for n in near}
    far = inc.ref(ids[3])
    assert status(far, on=backend).unwrap().state == "queued"
    worker.stop()
    worker = backend.serve(CATALOG, queues=["far"]).unwrap()
    assert result(far, on=backend, timeout=PATIENCE) == Success(4)
    worker.stop()


def test_a_fork_can_go_on_with_it(backend: SqliteBackend) -> None:
    ref = submit(inc(1), on=backend).unwrap()
    child = os.fork()
    if not child:
        code = 1
        try:
            worker = backend.serve(CATALOG).unwrap()
            assert result(ref, on=backend, timeout=PATIENCE) == Success(2)
            submit(inc(2), on=backend, key="child").unwrap()
            worker.stop()
            backend.close()
            code = 0
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0
    assert result(ref, on=backend, timeout=PATIENCE) == Success(2)
    worker = backend.serve(CATALOG).unwrap()
    assert run(inc(2), on=backend, key="child", timeout=PATIENCE) == Success(3)
    worker.stop()


def test_a_deadline_passes_also_where_no_worker_is(backend: SqliteBackend) -> None:
    ref = submit(inc(1), on=backend, deadline=0.2).unwrap()
    assert isinstance(result(ref, on=backend, timeout=PATIENCE).failure(), Expired)


def test_a_backend_that_was_closed_says_so(backend: SqliteBackend) -> None:
    ref = submit(inc(1), on=backend, delay=PATIENCE).unwrap()
    answers: list[object] = []
    waiting = threading.Thread(
        target=lambda: answers.append(result(ref, on=backend, timeout=PATIENCE))
    )
    waiting.start()
    time.sleep(0.05)
    backend.close()
    waiting.join(PATIENCE)
    for answer in (submit(inc(1), on=backend), result(ref, on=backend)):
        fault = answer.failure()
        assert isinstance(fault, Unavailable)
        assert "closed" in str(fault)
    assert len(answers) == 1


def test_threads_end_with_who_holds_the_backend(path: Path) -> None:
    before = {thread for thread in threading.enumerate() if "sqlite" in thread.name}
    backend = sqlite(path)
    submit(inc(1), on=backend).unwrap()
    result(submit(inc(1), on=backend).unwrap(), on=backend, timeout=0.05)
    del backend
    end = time.monotonic() + PATIENCE
    while {thread for thread in threading.enumerate() if "sqlite" in thread.name} - before:
        assert time.monotonic() < end
        time.sleep(0.01)
