"""Workers, for callers that block."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Generator

from returns.result import Failure, Result, Success

from onward.backend import Backend, StopsRemotely, Worker
from onward.backend.guard import call_backend
from onward.catalog import Catalog
from onward.fault import Fault, Unavailable
from onward.interpret import core
from onward.interpret.prepare import Stop, check_backend, check_stop, wrong_work


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
    """Serves a catalog until it is told to stop: by a signal, or by an event.

    The signals are SIGTERM and SIGINT (Ctrl-C), and SIGHUP and SIGQUIT where they are not ignored.

    What is running when it is told so has a grace time to end, and is else another worker's. A
    second signal ends the grace time.

    Args:
        catalog: The tasks and flows to serve; nothing else is run.
        on: Whose plans to take up.
        concurrency: How many steps to run at a time; None leaves it to the backend.
        queues: The queues to take steps from; None for the backend's own, where steps wait that
            name none, and those that the catalog names.
        grace: How long what is running may take to end, in seconds, once it is to stop.
        stop: Set by another thread to end it; signals reach the main thread alone.

    Returns:
        None once it has stopped; or the `Fault` why it could not start.

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
    wrong = wrong_work(catalog, concurrency, queues, grace)
    if wrong is not None:
        return Failure(wrong)
    with _stop_signals() as came:
        catalog = core.served_catalog(catalog, on)
        served = call_backend(on.serve, catalog, concurrency=concurrency, queues=queues)
        if isinstance(served, Failure):
            return served
        worker = served.unwrap()
        while not (came or (stop is not None and stop.is_set()) or is_stopping(worker)):
            if worker.wait(0.1) and not is_stopping(worker):
                return Failure(Unavailable("", "the worker ended, and nobody had asked it to"))
        _leave(worker, grace, came)
    return Success(None)


def is_stopping(worker: Worker) -> bool:
    """Whether the engine's own tools are stopping a worker."""
    return isinstance(worker, StopsRemotely) and worker.is_stopping


def _leave(worker: Worker, grace: float, came: list[int]) -> None:
    """Stops a worker; at once if another stop signal comes meanwhile."""
    import threading
    from concurrent.futures import Future, wait

    left: Future[None] = Future()

    def leave() -> None:
        try:
            worker.stop(grace)
            left.set_result(None)
        except BaseException as problem:
            left.set_exception(problem)

    told = len(came)
    threading.Thread(target=leave, name="onward-leave", daemon=True).start()
    while not left.done() and len(came) == told:
        wait([left], 0.1)
    if left.done():
        left.result()  # it raises what `stop` did
    else:
        worker.stop(0)


@contextlib.contextmanager
def _stop_signals() -> Generator[list[int]]:
    """The stop signals that came meanwhile; what handled them before is put back afterwards."""
    import signal
    import threading

    came: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield came
        return
    # The handler only takes note: an event's lock may be held by the very code it interrupts.
    # Windows has not all of them. What is ignored stays so: `nohup` ignores SIGHUP.
    names = ("SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT")
    known = [getattr(signal, name) for name in names if hasattr(signal, name)]
    before = {
        each: signal.signal(each, lambda number, _: came.append(number))
        for each in known
        if signal.getsignal(each) is not signal.SIG_IGN
    }
    try:
        yield came
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
