"""Onward's workers run no tasks of other Celery apps in the process."""

from celery import Celery, shared_task
from returns.result import Success

from onward import Catalog, run, task
from onward.backends.celery import celery


@task(name="shared.before")
def before(n: int) -> int:
    return n + 1


@task(name="shared.after")
def after(n: int) -> int:
    return n + 1


def test_a_shared_task_of_the_same_name_does_not_replace_onwards() -> None:
    @shared_task(name="shared.before")
    def one(n: int) -> int:
        raise AssertionError("not ours")

    backend = celery("memory://")

    @shared_task(name="shared.after")
    def two(n: int) -> int:
        raise AssertionError("not ours")

    assert "shared.before" not in backend.app.tasks, "a worker runs only what its catalog names"
    assert "shared.after" not in backend.app.tasks
    worker = backend.serve(Catalog(before, after)).unwrap()
    try:
        assert run((before >> after)(1), on=backend, timeout=120) == Success(3)
    finally:
        worker.stop()
        backend.close()


def test_a_task_of_another_app_is_not_registered() -> None:
    other = Celery("other", set_as_current=False)

    @other.task(name="of.another")
    def third() -> None:
        raise AssertionError("not ours")

    backend = celery("memory://")
    assert "of.another" not in backend.app.tasks
    backend.close()
    other.close()
