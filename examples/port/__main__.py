"""Ports a Celery app one task at a time, and places an order at each step.

`python -m examples.port` needs no server: the Celery app has a broker in memory, and Onward a file.
With your own, each step is a commit and a deploy.
"""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from tempfile import TemporaryDirectory
from threading import Event, Thread

from celery import Celery
from celery.contrib.testing.worker import start_worker

from examples.port import before, steps
from onward import Backend, Catalog, Flow, connect, result, submit, unwrap, work
from onward.bridges import celery_calls

ORDER = 7


def main(folder: str) -> None:
    app = Celery("shop", broker="memory://shop", backend="cache+memory://", set_as_current=False)
    before.tasks_of(app)
    with (
        closing(unwrap(connect(f"sqlite:///{folder}/onward.db"))) as backend,
        celery_worker(app, backend),
    ):
        say("before", before.place(app, ORDER))
        with worker(steps.CATALOG, backend):
            say("ship is ported", steps.ship_is_ported(app, ORDER))
            say("charge is ported", steps.charge_is_ported(app, ORDER))
        say("the flow is ported", by_onward(steps.flow_is_ported(app), backend))
        say("check is ported", by_onward(steps.check_is_ported(), backend))


def by_onward(flow: Flow[[int], str], backend: Backend) -> object:
    """The result of a call, with a worker for it."""
    with worker(Catalog(flow), backend):
        return unwrap(result(unwrap(submit(flow(ORDER), on=backend)), on=backend, timeout=60))


@contextmanager
def celery_worker(app: Celery, backend: Backend) -> Iterator[None]:
    """A worker of the app, which may call Onward's flows."""
    celery_calls(app, on=backend)
    with start_worker(app, pool="threads", perform_ping_check=False, loglevel="ERROR"):
        yield


@contextmanager
def worker(catalog: Catalog, backend: Backend) -> Iterator[None]:
    """A worker of Onward's, in a thread. Yours is a process: `onward worker shop.tasks`."""
    stop = Event()
    thread = Thread(target=lambda: unwrap(work(catalog, on=backend, stop=stop)))
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def say(step: str, what: object) -> None:
    print(f"{step}: {what}", flush=True)


if __name__ == "__main__":
    with TemporaryDirectory(prefix="onward-port-") as folder:
        main(folder)
