"""Middleware surrounds each attempt, and never changes what an attempt gives."""

import asyncio
import logging
import os
import threading
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import ExitStack, asynccontextmanager, closing, contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import pytest
from msgspec import Raw
from msgspec.structs import replace
from returns.result import Failure, Result, Success

from onward import (
    Backend,
    BadPayload,
    Catalog,
    Conflict,
    Constant,
    Context,
    Lost,
    Middleware,
    Raised,
    Resource,
    Retry,
    TimedOut,
    Unsupported,
    aio,
    current,
    each,
    fused,
    local,
    result,
    run,
    submit_all,
    task,
    together,
    uses,
    work,
)
from onward.answers import UnwrapError
from onward.backend import Submission
from onward.backends.celery import celery
from onward.backends.sqlite import sqlite
from onward.bridges import routed
from onward.interpret.core import served_catalog
from onward.middleware import Refused, with_middleware
from onward.observe import Attempt, Sending, observed
from onward.plan import VERSION, Args, Plan
from tests.isolation import steps

TENANT: ContextVar[str] = ContextVar("tenant", default="nobody")
PATIENCE = 120.0


@task
def double(n: int) -> int:
    return 2 * n


@task
async def inc(n: int) -> int:
    await asyncio.sleep(0)
    return n + 1


@task
def tenant(n: int) -> tuple[str, str]:
    return TENANT.get(), current().trace.get("tenant", "none")


@task
async def tenant_async(n: int) -> tuple[str, str]:
    await asyncio.sleep(0)
    return TENANT.get(), current().trace.get("tenant", "none")


@task(retry=Retry(attempts=2, backoff=Constant(0)))
def flaky(n: int) -> int:
    if current().attempt == 1:
        raise OSError("once")
    return n


@task
def odd(n: int) -> Result[int, str]:
    return Failure("odd")


@task
def explodes(n: int) -> int:
    raise ValueError(n)


@task
async def explodes_later(n: int) -> int:
    raise ValueError(n)


@task
def untrue(n: int) -> int:
    return "text"  # type: ignore[return-value]  # which is what is tried


@task(retry=Retry(attempts=3, backoff=Constant(0)))
def steady(n: int) -> int:
    return n


@task(retry=Retry(attempts=3, backoff=Constant(0)))
async def steady_async(n: int) -> int:
    return n


@task(timeout=0.1)
async def endless(n: int) -> int:
    await asyncio.sleep(30)
    return n


ALL = Catalog(
    double, inc, tenant, tenant_async, flaky, odd, explodes, explodes_later, steady, steady_async
)

Serves = Callable[..., Backend]


def diary(log: list[str], name: str) -> Middleware:
    @contextmanager
    def written(context: Context) -> Generator[None]:
        log.append(f"{name} before {context.task} {context.attempt}")
        try:
            yield
        except BaseException as problem:
            log.append(f"{name} saw {type(problem).__name__}")
            raise
        log.append(f"{name} after")

    return written


def diary_async(log: list[str], name: str) -> Middleware:
    @asynccontextmanager
    async def written(context: Context) -> AsyncGenerator[None]:
        await asyncio.sleep(0)
        log.append(f"{name} before {context.task} {context.attempt}")
        try:
            yield
        except BaseException as problem:
            log.append(f"{name} saw {type(problem).__name__}")
            raise
        log.append(f"{name} after")

    return written


@contextmanager
def set_tenant(context: Context) -> Generator[Context]:
    token = TENANT.set("acme")
    yield replace(context, trace={**context.trace, "tenant": "acme"})
    TENANT.reset(token)


@asynccontextmanager
async def set_tenant_async(context: Context) -> AsyncGenerator[Context]:
    await asyncio.sleep(0)
    token = TENANT.set("acme")
    yield replace(context, trace={**context.trace, "tenant": "acme"})
    TENANT.reset(token)


def hiding(_: Context) -> suppress:
    return suppress(BaseException)


@pytest.fixture(params=["local", "sqlite"])
def served(request: pytest.FixtureRequest, tmp_path: Path) -> Generator[Serves]:
    """Makes a backend whose tasks are surrounded by middleware, here or in a worker."""
    with ExitStack() as stack:

        def serve(*middleware: Middleware) -> Backend:
            if request.param == "local":
                here = stack.enter_context(closing(local()))
                return with_middleware(here, *middleware)
            durable = stack.enter_context(closing(sqlite(tmp_path / "onward.db")))
            stack.enter_context(worker(with_middleware(durable, *middleware)))
            return durable

        yield serve


@contextmanager
def worker(backend: Backend) -> Generator[None]:
    stop = threading.Event()
    serving = threading.Thread(target=work, args=(ALL, backend), kwargs={"stop": stop})
    serving.start()
    yield
    stop.set()
    serving.join(PATIENCE)
    assert not serving.is_alive()


@pytest.mark.parametrize("make", [diary, diary_async])
def test_each_attempt_goes_through_it_in_order(
    served: Serves, make: Callable[[list[str], str], Middleware]
) -> None:
    log: list[str] = []
    backend = served(make(log, "a"), make(log, "b"))
    assert run(double(1), on=backend, timeout=PATIENCE) == Success(2)
    assert log == ["a before double 1", "b before double 1", "b after", "a after"]
    log.clear()
    assert run(fused(inc >> flaky)(1), on=backend, timeout=PATIENCE) == Success(2)
    assert [each for each in log if each.startswith("a")] == [
        "a before inc 1",
        "a after",
        "a before flaky 1",
        "a saw OSError",
        "a before flaky 2",
        "a after",
    ]


@pytest.mark.parametrize("which", [set_tenant, set_tenant_async])
def test_a_task_sees_the_context_and_the_variables_of_its_middleware(
    served: Serves, which: Middleware
) -> None:
    backend = served(which)
    for each_task in (tenant, tenant_async):
        assert run(each_task(1), on=backend, timeout=PATIENCE) == Success(("acme", "acme"))
    assert (TENANT.get(), current().trace) == ("nobody", {})


@pytest.mark.parametrize("make", [diary, diary_async])
def test_it_sees_failures_and_cannot_hide_them(
    served: Serves, make: Callable[[list[str], str], Middleware]
) -> None:
    log: list[str] = []
    backend = served(hiding, make(log, "a"), hiding)
    assert run(odd(1), on=backend, timeout=PATIENCE) == Failure("odd")
    for each_task in (explodes, explodes_later):
        fault = run(each_task(1), on=backend, timeout=PATIENCE).failure()
        assert isinstance(fault, Raised)
        assert (fault.error_type, fault.message) == ("ValueError", "1")
    assert [each for each in log if "saw" in each] == [
        "a saw UnwrapError",
        "a saw ValueError",
        "a saw ValueError",
    ]


@pytest.mark.parametrize("when", ["enter", "exit"])
@pytest.mark.parametrize("is_async", [False, True])
def test_what_it_raises_fails_the_attempt_and_is_retried(
    served: Serves, when: str, is_async: bool
) -> None:
    attempts: list[int] = []

    def fail(at: str, context: Context) -> None:
        if at == when:
            attempts.append(context.attempt)
            if context.attempt < 3:
                raise LookupError(at)

    @contextmanager
    def fails(context: Context) -> Generator[None]:
        fail("enter", context)
        yield
        fail("exit", context)

    @asynccontextmanager
    async def fails_async(context: Context) -> AsyncGenerator[None]:
        fail("enter", context)
        yield
        fail("exit", context)

    backend = served(fails_async if is_async else fails)
    assert run(steady(7), on=backend, timeout=PATIENCE) == Success(7)
    assert run(steady_async(7), on=backend, timeout=PATIENCE) == Success(7)
    assert attempts == [1, 2, 3] * 2
    fault = run(double(1), on=backend, timeout=PATIENCE).failure()
    assert isinstance(fault, Raised)
    assert (fault.task, fault.error_type, fault.message) == ("double", "LookupError", when)
    assert fault.traceback.splitlines()[1].startswith(f'  File "{__file__}"')


@pytest.mark.parametrize("is_async", [False, True])
def test_it_refuses_an_attempt_without_retries(served: Serves, is_async: bool) -> None:
    log: list[str] = []

    make = diary_async if is_async else diary
    backend = served(make(log, "a"), refusing_async if is_async else refusing)
    for each_task in (steady, steady_async):
        fault = run(each_task(1), on=backend, timeout=PATIENCE).failure()
        assert isinstance(fault, Unsupported if is_async else Conflict)
        assert fault.message in ("the account is closed", "the flag is off")
        assert "lets it pass" in str(fault) or is_async
    assert log == ["a before steady 1", "a saw Refused", "a before steady_async 1", "a saw Refused"]


def test_refused_takes_a_text_or_a_fault_that_is_not_retried() -> None:
    for fault in (Raised("", "E", ""), TimedOut("", ""), Lost("", "")):
        with pytest.raises(ValueError, match="that is not retried"):
            Refused(fault)
    wrong: Any = 7
    with pytest.raises(TypeError, match="a fault or a text"):
        Refused(wrong)


def test_what_is_no_middleware_is_refused_where_it_is_added() -> None:
    def bare(context: Context) -> Generator[None]:
        yield

    async def bare_async(context: Context) -> AsyncGenerator[None]:
        yield

    wrong: Any
    for wrong in (bare, bare_async, "text", None):
        with pytest.raises(TypeError, match="put @contextmanager"):
            with_middleware(local(), wrong)


def test_it_yields_a_changed_context_of_the_same_attempt_or_none() -> None:
    def yields(value: object) -> Any:
        @contextmanager
        def other(_: Context) -> Generator[object]:
            yield value if value != "other" else replace(current(), attempt=9)

        return other

    for value, error in (("text", "TypeError"), ("other", "ValueError")):
        fault = run(double(1), on=with_middleware(local(), yields(value))).failure()
        assert isinstance(fault, Raised)
        assert fault.error_type == error
    no_manager: Any = str
    fault = run(double(1), on=with_middleware(local(), no_manager)).failure()
    assert isinstance(fault, Raised)
    assert "not a context manager" in fault.message


def test_each_layer_sees_its_own_context(served: Serves) -> None:
    seen: list[str] = []

    def adds(name: str) -> Middleware:
        @contextmanager
        def added(context: Context) -> Generator[Context]:
            assert current() == context
            yield replace(context, trace={"tenant": context.trace.get("tenant", "") + name})
            seen.append(current().trace.get("tenant", ""))

        return added

    backend = served(adds("a"), adds("b"), adds("c"))
    assert run(tenant(1), on=backend, timeout=PATIENCE).unwrap()[1] == "abc"
    assert run(tenant_async(1), on=backend, timeout=PATIENCE).unwrap()[1] == "abc"
    assert seen == ["ab", "a", ""] * 2


def test_faults_are_shown_too() -> None:
    log: list[str] = []
    faults: list[object] = []

    @contextmanager
    def looks(_: Context) -> Generator[None]:
        try:
            yield
        except UnwrapError as problem:
            faults.append(problem.error)

    backend = with_middleware(local(), diary(log, "a"), looks)
    assert isinstance(run(untrue(1), on=backend).failure(), BadPayload)
    assert isinstance(faults[0], BadPayload)
    assert log[-1] == "a saw UnwrapError"


def test_a_timeout_ends_what_is_inside_and_cannot_be_hidden() -> None:
    log: list[str] = []
    backend = with_middleware(local(), hiding, diary_async(log, "a"))
    assert isinstance(run(endless(1), on=backend).failure(), TimedOut)
    backend.close()
    assert log == ["a before endless 1", "a saw CancelledError"]


def test_a_later_exception_of_its_own_is_logged_and_changes_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    @contextmanager
    def worse(_: Context) -> Generator[None]:
        try:
            yield
        except BaseException:
            raise LookupError("worse") from None

    backend = with_middleware(local(), worse)
    with caplog.at_level(logging.ERROR, "onward.middleware"):
        assert run(odd(1), on=backend) == Failure("odd")
        fault = run(explodes(1), on=backend).failure()
    assert isinstance(fault, Raised)
    assert fault.error_type == "ValueError"
    assert [each.message for each in caplog.records if each.name == "onward.middleware"] == [
        "a middleware raised after the attempt had failed"
    ] * 2


def test_the_logged_traceback_is_that_of_the_task(caplog: pytest.LogCaptureFixture) -> None:
    run(explodes(1), on=with_middleware(local(), diary([], "a"), diary_async([], "b")))
    [record] = [each for each in caplog.records if each.name == "onward.step"]
    assert record.exc_info is not None
    frames = record.exc_info[2]
    assert frames is not None
    assert frames.tb_frame.f_code.co_name == "explodes"
    assert frames.tb_next is None


class Notes:
    """An observer that writes down the attempts."""

    def __init__(self, log: list[str]) -> None:
        self.attempts: list[Attempt] = []
        self._log = log

    @contextmanager
    def sending(self, sending: Sending) -> Generator[None]:
        yield

    @contextmanager
    def attempt(self, attempt: Attempt) -> Generator[None]:
        self.attempts.append(attempt)
        self._log.append("observer")
        yield
        self._log.append("observed")


@pytest.mark.parametrize("is_outer", [False, True])
def test_observers_are_outside_and_see_one_attempt(is_outer: bool) -> None:
    log: list[str] = []
    notes, through = Notes(log), (set_tenant, diary(log, "a"))
    backend = observed(with_middleware(local(), *through), notes)
    if is_outer:
        backend = with_middleware(observed(local(), notes), *through)
    for each_task in (tenant, tenant_async):
        log.clear()
        assert run(each_task(1), on=backend) == Success(("acme", "acme"))
        assert log == ["observer", f"a before {each_task.name} 1", "a after", "observed"]
    run(explodes(1), on=backend)
    assert isinstance(notes.attempts[-1].exception, ValueError)
    refused = with_middleware(backend, refusing)
    run(double(1), on=refused)
    assert isinstance(notes.attempts[-1].error, Conflict)
    assert len(notes.attempts) == 4


@contextmanager
def refusing(context: Context) -> Generator[None]:
    if context.id:
        raise Refused("the account is closed")
    yield


@asynccontextmanager
async def refusing_async(context: Context) -> AsyncGenerator[None]:
    if context.id:
        raise Refused(Unsupported("", "the flag is off"))
    yield


def test_resources_and_the_isolated_process_are_inside() -> None:
    log: list[str] = []

    @contextmanager
    def open_view() -> Generator[str]:
        log.append(f"open for {TENANT.get()}")
        yield "view"
        log.append("close")

    @uses(Resource(open_view, scope="attempt"))
    def views(view: str) -> str:
        return view

    backend = with_middleware(local(), set_tenant, diary(log, "a"))
    assert run(views(), on=backend) == Success("view")
    assert log == ["a before views 1", "open for acme", "close", "a after"]
    log.clear()
    assert run(steps.pid(1), on=backend).unwrap() != os.getpid()
    fault = run(steps.fails(1), on=backend).failure()
    assert isinstance(fault, Raised)
    assert log == ["a before pid 1", "a after", "a before fails 1", "a saw UnwrapError"]
    backend.close()


def test_it_is_added_to_what_is_there_already() -> None:
    log: list[str] = []
    once = with_middleware(local(), diary(log, "a"))
    assert with_middleware(once) is once
    backend = with_middleware(once, diary(log, "b"), diary_async(log, "c"))
    run(inc(1), on=backend)
    run(double(1), on=backend)
    order = ["a", "b", "c", "c", "b", "a"]
    assert [each[0] for each in log] == order * 2
    log.clear()
    run(double(1), on=once)
    assert [each[0] for each in log] == ["a", "a"]


def test_a_bridge_has_the_middleware_of_both_sides() -> None:
    log: list[str] = []
    one, other = (with_middleware(local(), diary(log, name)) for name in ("a", "b"))
    assert run(double(1), on=routed(one, other, by=100)) == Success(2)
    assert [each[0] for each in log] == ["a", "b", "b", "a"]


def test_awaiting_callers_and_many_calls_go_through_it() -> None:
    log: list[str] = []
    backend = with_middleware(local(), diary_async(log, "a"))
    call = each(together(inc, double))([1, 2])
    assert asyncio.run(aio.run(call, on=backend)) == Success([(2, 2), (3, 4)])
    assert len(log) == 8
    for ref in submit_all([double(1), double(2)], on=backend).unwrap():
        assert isinstance(result(ref, on=backend), Success)
    assert len(log) == 12


def test_a_caller_that_stops_waiting_ends_an_attempt_in_order() -> None:
    log: list[str] = []
    begun = threading.Event()

    @task
    async def waits() -> None:
        begun.set()
        await asyncio.sleep(30)

    backend = with_middleware(local(), diary_async(log, "a"))

    async def main() -> None:
        calling = asyncio.create_task(aio.run(waits(), on=backend))
        await asyncio.to_thread(begun.wait, PATIENCE)
        calling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await calling

    asyncio.run(main())
    backend.close()
    assert log == ["a before waits 1", "a saw CancelledError"]


def test_several_workers_of_one_process_keep_their_own() -> None:
    log: list[str] = []
    backend, flow = local(), double >> inc
    workers = [
        backend.serve(
            served_catalog(Catalog(each_task), with_middleware(backend, diary(log, name)))
        ).unwrap()
        for name, each_task in (("a", double), ("b", inc))
    ]
    plan = Plan(v=VERSION, id="x", flow=flow.name, root=flow.node, args=Args((Raw(b"1"),)))
    backend.submit(Submission(plan))
    assert result(flow.ref("x"), on=backend, timeout=PATIENCE) == Success(3)
    assert log == ["a before double 1", "a after", "b before inc 1", "b after"]
    for each_worker in workers:
        each_worker.stop()
    backend.close()


def test_a_worker_of_celery_goes_through_it() -> None:
    log: list[str] = []
    with (
        closing(celery("memory://")) as backend,
        worker(with_middleware(backend, diary(log, "a"), set_tenant_async)),
    ):
        for each_task in (tenant, tenant_async):
            assert run(each_task(1), on=backend, timeout=PATIENCE) == Success(("acme", "acme"))
        assert run(flaky(1), on=backend, timeout=PATIENCE) == Success(1)
    assert [each for each in log if "before" not in each] == [
        "a after",
        "a after",
        "a saw OSError",
        "a after",
    ]
