"""`work`: a worker serves until it is stopped, and stops in order."""

import asyncio
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Collection, Iterator

import pytest
from returns.result import Result, Success

from onward import (
    Catalog,
    Fault,
    TimedOut,
    aio,
    local,
    run,
    work,
)
from onward.backend import Worker
from onward.backends.local.worker import LocalWorker
from tests.unit.interpreters import PATIENCE, halve, inc, never, whose
from tests.unit.third_party import Postal

STOPS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)


@pytest.fixture
def post() -> Iterator[Postal]:
    post = Postal()
    worker = post.serve(Catalog(inc, halve, whose, never)).unwrap()
    yield post
    worker.stop(grace=0)
    post.close()


def test_a_worker_serves_until_its_event_is_set() -> None:
    post = Postal()
    stop = threading.Event()
    serving = threading.Thread(
        target=work, args=(Catalog(inc),), kwargs={"on": post, "stop": stop, "concurrency": 2}
    )
    serving.start()
    assert run(inc(1), on=post, timeout=PATIENCE) == Success(2)
    stop.set()
    serving.join(PATIENCE)
    assert not serving.is_alive()
    assert isinstance(run(inc(1), on=post, timeout=0.05).failure(), TimedOut)
    post.close()


def test_the_signals_are_handled_as_before_once_a_worker_has_stopped() -> None:
    before = [signal.getsignal(number) for number in STOPS]
    stop = threading.Event()
    stop.set()
    assert work(Catalog(inc), on=local(), stop=stop) == Success(None)
    assert [signal.getsignal(number) for number in STOPS] == before


def test_a_signal_that_is_ignored_stays_so() -> None:
    """As `nohup` has it, a worker outlives its terminal."""
    seen: list[object] = []

    class Stop(threading.Event):
        def is_set(self) -> bool:
            seen.append(signal.getsignal(signal.SIGHUP))
            return True

    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert work(Catalog(inc), on=local(), stop=Stop()) == Success(None)
        assert {*seen} == {signal.SIG_IGN}
    finally:
        signal.signal(signal.SIGHUP, before)


def test_what_stopping_raises_is_not_taken_for_an_end_in_good_order(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def stop(self: Worker, grace: float = 30.0) -> None:
        raise OSError("the engine hung up")

    backend = local()
    monkeypatch.setattr(LocalWorker, "stop", stop)
    told = threading.Event()
    told.set()
    with pytest.raises(OSError, match="hung up"):
        work(Catalog(inc), on=backend, stop=told)


def test_an_awaited_worker_serves_until_it_is_cancelled() -> None:
    post = Postal()

    async def main() -> None:
        serving = asyncio.create_task(aio.work(Catalog(inc), on=post))
        assert await aio.run(inc(1), on=post, timeout=PATIENCE) == Success(2)
        serving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await serving

    asyncio.run(main())
    assert isinstance(run(inc(1), on=post, timeout=0.05).failure(), TimedOut)
    post.close()


def test_a_worker_that_was_cancelled_while_it_started_does_not_serve_on() -> None:
    starting, go_on = threading.Event(), threading.Event()

    class Slow(Postal):
        def serve(
            self,
            catalog: Catalog,
            /,
            *,
            concurrency: int | None = None,
            queues: Collection[str] | None = None,
        ) -> Result[Worker, Fault]:
            starting.set()
            assert go_on.wait(PATIENCE)
            return super().serve(catalog, concurrency=concurrency, queues=queues)

    post = Slow()

    async def main() -> None:
        serving = asyncio.create_task(aio.work(Catalog(inc), on=post))
        assert await asyncio.to_thread(starting.wait, PATIENCE)
        serving.cancel()
        await asyncio.sleep(0)
        go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await serving

    asyncio.run(main())
    assert isinstance(run(inc(1), on=post, timeout=0.05).failure(), TimedOut)
    post.close()


def test_the_loop_goes_on_while_a_worker_stops_that_was_cancelled_while_it_started() -> None:
    starting, go_on, stopping, released = (threading.Event() for _ in range(4))
    was_released: list[bool] = []

    class Stops:
        def stop(self, grace: float = 30.0) -> None:
            stopping.set()
            was_released.append(released.wait(PATIENCE))

        def wait(self, timeout: float | None = None) -> bool:
            return False

    class Slow(Postal):
        def serve(
            self,
            catalog: Catalog,
            /,
            *,
            concurrency: int | None = None,
            queues: Collection[str] | None = None,
        ) -> Result[Worker, Fault]:
            starting.set()
            assert go_on.wait(PATIENCE)
            return Success(Stops())

    async def main() -> None:
        serving = asyncio.create_task(aio.work(Catalog(inc), on=Slow()))
        assert await asyncio.to_thread(starting.wait, PATIENCE)
        serving.cancel()
        await asyncio.sleep(0)
        go_on.set()
        assert await asyncio.to_thread(stopping.wait, PATIENCE)
        released.set()  # by the loop, which the worker's end does not block
        with pytest.raises(asyncio.CancelledError):
            await serving

    asyncio.run(main())
    assert was_released == [True]


SERVING = textwrap.dedent(
    """
    import sys, time
    from onward import *
    from onward.backend import Submission
    from onward.plan import VERSION, Args, Plan
    from msgspec import Raw

    @task
    def lasts(seconds: float) -> str:
        print("started", flush=True)
        time.sleep(seconds)
        print("finished", flush=True)
        return "done"

    backend = local()
    arguments = Args((Raw(sys.argv[1].encode()),))
    backend.submit(Submission(Plan(v=VERSION, id="a", flow="a", root=lasts.node, args=arguments)))
    print(work(Catalog(lasts), on=backend, grace=float(sys.argv[2])), flush=True)
    print(status(lasts.ref("a"), on=backend).unwrap().state, flush=True)
    """
)


@pytest.mark.parametrize("number", STOPS)
@pytest.mark.parametrize(
    ("lasts", "grace", "said"),
    [(0.5, 30, "finished\n<Success: None>\ndone\n"), (3600, 0.2, "<Success: None>\nrunning\n")],
    ids=["in time", "too long"],
)
def test_a_signal_ends_a_worker_within_its_grace(
    number: signal.Signals, lasts: float, grace: float, said: str
) -> None:
    with subprocess.Popen(
        [sys.executable, "-W", "error", "-c", SERVING, str(lasts), str(grace)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "started\n"
        process.send_signal(number)
        out, err = process.communicate(timeout=PATIENCE)
    assert (out, err, process.returncode) == (said, "", 0)
