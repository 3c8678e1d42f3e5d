"""Workers, for callers that block."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Generator
from typing import TYPE_CHECKING

from returns.result import Failure, Result, Success

from onward.backend import Backend, StopsRemotely, Worker
from onward.backend.guard import call_backend
from onward.fault import Fault, Unavailable
from onward.interpret import core
from onward.interpret.prepare import Stop, check_backend, check_stop, work_fault

if TYPE_CHECKING:
    from onward.catalog import Catalog


def work(
    catalog: Catalog,
    /,
    on: Backend,
    *,
    concurrency: int | None = None,
    queues: Collection[str] | None = None,
    grace: float = 30.0,
    stop: Stop | None = None,
) -> Result[None, Fault]:
    """Serves a catalog as a worker until a signal or an event stops it.

    The signals are SIGTERM and SIGINT (Ctrl-C), and SIGHUP and SIGQUIT unless they are ignored.

    The worker then takes nothing more. Running steps have a grace time to finish; the engine gives
    the others to another worker. A second signal ends the grace time.

    Args:
        catalog: The tasks and flows to serve. The worker runs nothing else.
        on: The backend to serve.
        concurrency: How many steps run at a time; None leaves it to the backend.
        queues: The queues to take steps from. None means the backend's own queue, where steps
            without a queue wait, and the queues that the catalog names.
        grace: How long running steps may take to finish after the stop, in seconds.
        stop: An event that another thread sets to stop the worker. Only the main thread gets
            signals.

    Returns:
        None after the worker has stopped, or the `Fault` that kept it from starting.

    Example:
        >>> import threading
        >>> from onward import Catalog, local, task, work
        >>> @task
        ... def double(n: int) -> int:
        ...     return 2 * n
        >>> stop = threading.Event()
        >>> stop.set()
        >>> work(Catalog(double), on=local(), stop=stop)
        <Success: None>
    """
    check_backend(on, "serve")
    check_stop(stop)
    invalid = work_fault(catalog, concurrency, queues, grace)
    if invalid is not None:
        return Failure(invalid)
    with _stop_signals() as signals:
        catalog = core.served_catalog(catalog, on)
        served = call_backend(on.serve, catalog, concurrency=concurrency, queues=queues)
        if isinstance(served, Failure):
            return served
        worker = served.unwrap()
        while not (signals or (stop is not None and stop.is_set()) or is_stopping(worker)):
            if worker.wait(0.1) and not is_stopping(worker):
                return Failure(Unavailable("", "the worker ended without being asked to"))
        _stop_worker(worker, grace, signals)
    return Success(None)


def is_stopping(worker: Worker) -> bool:
    """Whether one of the engine's own tools has told the worker to stop."""
    return isinstance(worker, StopsRemotely) and worker.is_stopping


def _stop_worker(worker: Worker, grace: float, signals: list[int]) -> None:
    """Stops a worker within its grace time, or at once when a further signal arrives."""
    import threading
    from concurrent.futures import Future, wait

    stopped: Future[None] = Future()

    def stop() -> None:
        try:
            worker.stop(grace)
            stopped.set_result(None)
        except BaseException as problem:
            stopped.set_exception(problem)

    count = len(signals)
    threading.Thread(target=stop, name="onward-stop", daemon=True).start()
    while not stopped.done() and len(signals) == count:
        wait([stopped], 0.1)
    if stopped.done():
        stopped.result()  # raises what `stop` raised
    else:
        worker.stop(0)


@contextlib.contextmanager
def _stop_signals() -> Generator[list[int]]:
    """Collects stop signals, and restores their former handlers at the end."""
    import signal
    import threading

    received: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield received
        return
    # The handler only appends to a list: the code that it interrupts may hold an event's lock.
    # Windows lacks some of these signals. An ignored one stays ignored, as SIGHUP under `nohup`.
    names = ("SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT")
    known = [getattr(signal, name) for name in names if hasattr(signal, name)]
    before = {
        each: signal.signal(each, lambda number, _: received.append(number))
        for each in known
        if signal.getsignal(each) is not signal.SIG_IGN
    }
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
