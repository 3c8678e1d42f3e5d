"""Workers, for callers that block."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Generator, Mapping
from typing import TYPE_CHECKING, Any

from returns.result import Failure, Result, Success

from onward.backend import Backend, StopsRemotely, Worker
from onward.backend.guard import call_backend
from onward.fault import Fault, Unavailable
from onward.interpret.opening import WorkerResources
from onward.interpret.prepare import Stop, check_backend, check_stop, work_fault
from onward.interpret.serving import DRAIN, Serving, limits_fault
from onward.isolation import Isolation

if TYPE_CHECKING:
    from concurrent.futures import Future

    from onward.catalog import Catalog
    from onward.health import Health
    from onward.health.watching import Watching
    from onward.observer import Observer
    from onward.resource import Resource


def work(
    catalog: Catalog,
    /,
    on: Backend,
    *,
    concurrency: int | None = None,
    queues: Collection[str] | None = None,
    grace: float = 30.0,
    stop: Stop | None = None,
    isolate: bool | Isolation = False,
    max_tasks: int | None = None,
    max_memory: float | None = None,
    health: Health | None = None,
    resources: Mapping[Resource[Any], object] | None = None,
) -> Result[None, Fault]:
    """Serves a catalog as a worker until a signal or an event stops it.

    The signals are SIGTERM and SIGINT (Ctrl-C), and SIGHUP and SIGQUIT unless they are ignored.

    The worker then takes nothing more. Running steps have a grace time to finish; the engine gives
    the others to another worker. A second signal ends the grace time.

    A worker that has reached `max_tasks` or `max_memory` takes nothing more, lets running steps
    finish, however long they take, and ends. Whatever supervises it starts a fresh one, as
    `onward worker` does by itself.

    Args:
        catalog: The tasks and flows to serve. The worker runs nothing else.
        on: The backend to serve.
        concurrency: How many steps run at a time; None leaves it to the backend.
        queues: The queues to take steps from. None means the backend's own queue, where steps
            without a queue wait, and the queues that the catalog names.
        grace: How long running steps may take to finish after the stop, in seconds.
        stop: An event that another thread sets to stop the worker. Only the main thread gets
            signals.
        isolate: Whether all steps run in child processes, not only those of tasks whose policy
            says so. An `Isolation` also says when a child is replaced.
        max_tasks: After how many steps the worker ends; None for no limit.
        max_memory: With how much resident memory the worker ends, in megabytes (10^6 bytes),
            without its child processes; None for no limit.
        health: What it reports of its health, and where; None for nothing.
        resources: What tasks get in place of their resources, for tests: `{db: fake}`. A fake is
            given as it is; another `Resource` is opened.

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
    return worked(
        catalog,
        on,
        concurrency=concurrency,
        queues=queues,
        grace=grace,
        stop=stop,
        isolate=isolate,
        max_tasks=max_tasks,
        max_memory=max_memory,
        health=health,
        resources=resources,
    ).map(lambda _: None)


def worked(
    catalog: Catalog,
    on: Backend,
    *,
    concurrency: int | None,
    queues: Collection[str] | None,
    grace: float,
    stop: Stop | None,
    isolate: bool | Isolation,
    max_tasks: int | None,
    max_memory: float | None,
    health: Health | None,
    resources: Mapping[Resource[Any], object] | None = None,
) -> Result[bool, Fault]:
    """Does what `work` does, and says whether the worker ended because it was worn."""
    check_backend(on, "serve")
    check_stop(stop)
    invalid = work_fault(catalog, concurrency, queues, grace, isolate, health)
    invalid = invalid or limits_fault(max_tasks, max_memory)
    if invalid is not None:
        return Failure(invalid)
    with _stop_signals() as signals, watching(health, catalog) as watched:
        if isinstance(watched, Failure):
            return Failure(watched.failure())
        watch = watched.unwrap()
        opens = WorkerResources(catalog, on, resources, isolate)

        def is_stopped() -> bool:
            return bool(signals) or (stop is not None and stop.is_set())

        try:
            problem = opens.open(queues, is_stopped)
            if problem is not None:
                return Failure(problem)
            if opens.is_stopped:
                return Success(False)
            catalog, observers = opens.catalog, watch.observers
            serving = Serving(catalog, on, isolate, concurrency, max_tasks, max_memory, observers)
            try:
                served = call_backend(
                    on.serve, serving.catalog, concurrency=concurrency, queues=queues
                )
                if isinstance(served, Failure):
                    return Failure(served.failure())
                worker = served.unwrap()
                watch.serve(worker)

                def is_told() -> bool:
                    return is_stopped() or is_stopping(worker)

                while not (told := is_told()) and not serving.is_worn():
                    if worker.wait(0.1) and not is_stopping(worker):
                        return Failure(Unavailable("", "the worker ended without being asked to"))
                if not told:
                    watch.drain()
                    if _drained(worker, is_told):
                        return Success(True)
                watch.stop()
                _stop_worker(worker, grace, signals)
            finally:
                serving.close()
        finally:
            count = len(signals)
            opens.close(lambda: len(signals) > count)
    return Success(False)


class Unwatched:
    """Reports nothing."""

    observers: tuple[Observer, ...] = ()
    """None."""

    def serve(self, worker: Worker) -> None:
        """See `Watching.serve`."""

    def drain(self) -> None:
        """See `Watching.drain`."""

    def stop(self) -> None:
        """See `Watching.stop`."""


@contextlib.contextmanager
def watching(
    health: Health | None, catalog: Catalog
) -> Generator[Result[Watching | Unwatched, Fault]]:
    """Reports the health of a worker that serves a catalog, if that is asked for."""
    if health is None:
        yield Success(Unwatched())
        return
    from onward.health.watching import watch_over  # only workers that report it pay for it

    watched = watch_over(health, {*catalog.tasks, *catalog.flows})
    try:
        yield watched.map(lambda watch: watch)
    finally:
        if isinstance(watched, Success):
            watched.unwrap().close()


def is_stopping(worker: Worker) -> bool:
    """Whether one of the engine's own tools has told the worker to stop."""
    return isinstance(worker, StopsRemotely) and worker.is_stopping


def _drained(worker: Worker, is_told: Callable[[], bool]) -> bool:
    """Lets a worker end with its running steps; False if it is told to stop meanwhile."""
    from concurrent.futures import wait

    stopped = _stopping(worker, DRAIN)
    while not stopped.done():
        if is_told():
            return False
        wait([stopped], 0.1)
    stopped.result()  # raises what `stop` raised
    return True


def _stop_worker(worker: Worker, grace: float, signals: list[int]) -> None:
    """Stops a worker within its grace time, or at once when a further signal arrives."""
    from concurrent.futures import wait

    count = len(signals)
    stopped = _stopping(worker, grace)
    while not stopped.done() and len(signals) == count:
        wait([stopped], 0.1)
    if stopped.done():
        stopped.result()  # raises what `stop` raised
    else:
        worker.stop(0)


def _stopping(worker: Worker, grace: float) -> Future[None]:
    """Stops a worker on a thread of its own."""
    import threading
    from concurrent.futures import Future

    stopped: Future[None] = Future()

    def stop() -> None:
        try:
            worker.stop(grace)
            stopped.set_result(None)
        except BaseException as problem:
            stopped.set_exception(problem)

    threading.Thread(target=stop, name="onward-stop", daemon=True).start()
    return stopped


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
