"""Resources: what is opened once, what is fresh for each attempt, and what callers see of them."""

import asyncio
import copy
import dataclasses
import inspect
import logging
import sqlite3
import subprocess
import sys
import textwrap
import threading
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import (
    AbstractContextManager,
    asynccontextmanager,
    closing,
    contextmanager,
    nullcontext,
)
from functools import partial
from types import ModuleType
from typing import Any

import pytest
from returns.result import Failure, Result, Success

from onward import (
    BadPayload,
    Catalog,
    Constant,
    Fault,
    Misconfigured,
    Raised,
    Resource,
    Retry,
    TimedOut,
    Unavailable,
    aio,
    current,
    each,
    explain,
    fused,
    given,
    local,
    results,
    run,
    submit_all,
    task,
    uses,
    work,
)

PATIENCE = 120.0


class Db:
    def insert(self, rows: list[int]) -> int:
        return len(rows)


@contextmanager
def open_db() -> Generator[Db]:
    yield Db()


db = Resource(open_db)
other = Resource(lambda: nullcontext("other"))


@uses(db, queue="db", retry=Retry(attempts=2))
def save(db: Db, rows: list[int], table: str = "rows") -> int:
    return db.insert(rows)


@task
def parse(raw: str) -> list[int]:
    return [int(part) for part in raw.split(",")]


def diary(log: list[str], name: str, value: object = None) -> Callable[..., Any]:
    """What opens a resource that writes down its life."""

    @contextmanager
    def opened(*needs: object) -> Generator[object]:
        log.append(f"open {name}")
        try:
            yield name if value is None else value
        except BaseException as problem:
            log.append(f"{name} saw {type(problem).__name__}")
            raise
        finally:
            log.append(f"close {name}")

    return opened


# -- what callers see ------------------------------------------------------------------------------


def test_a_resource_is_no_parameter() -> None:
    assert str(inspect.signature(save)) == "(rows: list[int], table: str = 'rows') -> int"
    assert (save.name, save.policy.queue, save.policy.retry.attempts) == ("save", "db", 2)
    assert save.fn(Db(), [1, 2]) == 2
    assert run((parse >> given(save, table="x"))("1,2,3"), on=local()) == Success(3)
    assert set(Catalog(parse >> save)) == {"parse", "save"}
    assert explain(parse >> save, on=local())


def test_a_task_with_resources_is_a_value_like_others() -> None:
    assert dataclasses.replace(save, policy=parse.policy).resources == (db,)
    assert run(dataclasses.replace(save, policy=parse.policy)([1]), on=local()) == Success(1)
    assert save.with_(timeout=3).resources == (db,)
    assert copy.deepcopy(save) is save
    assert copy.deepcopy(db) is db
    assert save == uses(db, queue="db", retry=Retry(attempts=2))(save.fn)
    assert save != uses(Resource(open_db), queue="db", retry=Retry(attempts=2))(save.fn)
    assert dataclasses.replace(db, check_every=1.0).check_every == 1.0
    assert {db: 1}[db] == 1


def test_a_resource_that_a_caller_passes_is_refused_with_a_hint() -> None:
    passed: Any = save
    with pytest.raises(TypeError, match=r"Leave out open_db, which the worker gives"):
        passed(Db(), [1], "x")
    refused = run(passed(Db()), on=local()).failure()
    assert isinstance(refused, BadPayload)
    assert "Leave out open_db" in str(refused)


def test_several_resources_stack_from_the_function_up() -> None:
    @uses(db, timeout=3)
    @uses(other, queue="x", name="named")
    def both(text: str, db: Db, n: int) -> str:
        return f"{text} {db.insert([n])}"

    assert (both.name, both.policy.queue, both.policy.timeout) == ("named", "x", 3)
    assert both.resources == (other, db)
    assert run(both(1), on=local()) == Success("other 1")


def test_an_annotation_of_a_resource_need_not_be_importable() -> None:
    source = """
        from __future__ import annotations
        from typing import TYPE_CHECKING
        from contextlib import nullcontext
        from onward import Resource, uses
        if TYPE_CHECKING:
            from nowhere import Pool

        pool = Resource(lambda: nullcontext(1))

        @uses(pool)
        def count(pool: Pool, n: int) -> int:
            return n + 1
        """
    module = ModuleType("shop")
    exec(textwrap.dedent(source), vars(module))
    assert run(module.count(1), on=local()) == Success(2)


def test_mistakes_in_a_definition_are_named_where_they_stand() -> None:
    anything: Any = None
    with pytest.raises(TypeError, match=r"takes a function that opens it, not .*: write @|write a"):
        Resource(anything)
    with pytest.raises(TypeError, match=r"write lambda: \.\.\., so that each worker opens its own"):
        Resource(nullcontext(1))  # type: ignore[call-overload]  # on purpose
    with pytest.raises(ValueError, match="scope is 'process' or 'attempt'"):
        Resource(open_db, scope=anything)
    session = Resource(open_db, scope="attempt")
    with pytest.raises(ValueError, match="write scope='attempt' here too"):
        Resource(nullcontext, needs=(session,))
    with pytest.raises(TypeError, match=r"write needs=\(open_db,\)"):
        Resource(nullcontext, needs=db)  # type: ignore[call-overload]  # on purpose
    with pytest.raises(ValueError, match="leave out check"):
        Resource(open_db, scope="attempt", check=bool)
    with pytest.raises(ValueError, match="from 0 up"):
        Resource(open_db, check_every=-1)
    with pytest.raises(TypeError, match="uses takes a Resource, not <function open_db"):
        uses(open_db)  # type: ignore[arg-type]  # on purpose
    with pytest.raises(TypeError, match="has no parameter for a resource"):

        @uses(db)  # type: ignore[arg-type]  # on purpose
        def none() -> int:
            return 1

    with pytest.raises(TypeError, match="resources is a mapping"):
        local(resources=anything)
    with pytest.raises(TypeError, match="the keys of resources are Resources, not 'db'"):
        local(resources={"db": 1})  # type: ignore[dict-item]  # on purpose


def test_a_parameter_that_only_another_resource_can_fill_is_an_error_when_it_is_used() -> None:
    @uses(other)
    def unfinished(text: str, db: Db, n: int) -> int:
        return n

    pattern = r"parameter 'db' .* write one more @uses\(\.\.\.\) above"
    task: Any = unfinished
    module = ModuleType("shop")
    vars(module)["unfinished"] = unfinished
    for use in (
        lambda: task(1),
        lambda: save >> task,
        lambda: task >> save,
        lambda: Catalog(task),
        lambda: Catalog.of(module),
        lambda: task.name_,
        lambda: each(task),
    ):
        with pytest.raises(TypeError, match=pattern):
            use()


def test_a_resource_without_a_context_manager_says_so() -> None:
    opens: Any = Db
    broken = uses(Resource(opens))(save.fn)
    fault = run(broken([1]), on=local()).failure()
    assert isinstance(fault, Raised)
    assert "Db is not a context manager: put @contextmanager" in fault.message


# -- in this process -------------------------------------------------------------------------------


def test_a_resource_is_opened_once_however_many_need_it_first() -> None:
    opened = list[int]()

    @asynccontextmanager
    async def slow() -> AsyncGenerator[int]:
        await asyncio.sleep(0.01)
        opened.append(1)
        yield len(opened)

    number = Resource(slow)

    @uses(number)
    def one(number: int, n: int) -> int:
        return number

    @uses(number)
    async def one_async(number: int, n: int) -> int:
        return number

    backend = local(workers=32)
    refs = submit_all([flow(n) for n in range(16) for flow in (one, one_async)], on=backend)
    values = [value for _, value in results(refs.unwrap(), on=backend, timeout=PATIENCE)]
    assert values == [Success(1)] * 32
    assert opened == [1]
    backend.close()


def test_async_tasks_run_on_the_loop_of_their_resources_and_see_their_context() -> None:
    loop = Resource(lambda: nullcontext(asyncio.get_running_loop()))

    @uses(loop, timeout=PATIENCE)
    async def where(loop: asyncio.AbstractEventLoop, n: int) -> tuple[bool, str, int]:
        return asyncio.get_running_loop() is loop, current().task, n

    assert run(where(1), on=local()) == Success((True, "where", 1))


def test_a_sync_task_gets_what_an_async_resource_opened() -> None:
    @asynccontextmanager
    async def open_number() -> AsyncGenerator[int]:
        yield 42

    @uses(Resource(open_number, scope="attempt"))
    def double(number: int, n: int) -> int:
        return number * n

    assert run(double(2), on=local()) == Success(84)
    assert run(fused(double)(2), on=local()) == Success(84)


def test_an_attempt_that_times_out_leaves_its_resources() -> None:
    log, left = list[str](), threading.Event()

    @asynccontextmanager
    async def open_it() -> AsyncGenerator[int]:
        try:
            yield 1
        except BaseException as problem:
            log.append(type(problem).__name__)
            left.set()
            raise

    @uses(Resource(open_it, scope="attempt"), timeout=0.05)
    async def hang(it: int, n: int) -> int:
        await asyncio.sleep(PATIENCE)
        return n

    backend = local()
    assert isinstance(run(hang(1), on=backend).failure(), TimedOut)
    assert left.wait(PATIENCE)
    assert log == ["CancelledError"]


def test_a_block_cannot_hide_how_its_attempt_ended() -> None:
    log = list[str]()

    @contextmanager
    def hide() -> Generator[int]:
        try:
            yield 1
        except BaseException:
            log.append("hidden")

    @uses(Resource(hide, scope="attempt"))
    def fail(it: int, n: int) -> Result[int, str]:
        if n:
            raise ValueError(n)
        return Failure("no")

    @uses(Resource(hide, scope="attempt"))
    async def fail_async(it: int, n: int) -> Result[int, str]:
        return fail.fn(it, n)

    for flow in (fail, fail_async):
        assert run(flow(0), on=local()) == Failure("no")
        fault = run(flow(1), on=local()).failure()
        assert isinstance(fault, Raised)
        assert fault.error_type == "ValueError"
    assert log == ["hidden"] * 4


def test_an_attempt_whose_commit_fails_fails() -> None:
    @contextmanager
    def commit() -> Generator[int]:
        yield 1
        raise OSError("the database is gone")

    @uses(Resource(commit, scope="attempt"), retry=Retry(attempts=2, backoff=Constant(0.0)))
    def pay(it: int, n: int) -> int:
        return n

    fault = run(pay(1), on=local()).failure()
    assert isinstance(fault, Raised)
    assert (fault.error_type, fault.attempts) == ("OSError", 2)
    assert "onward/" not in fault.traceback


def test_a_resource_of_an_attempt_is_shared_within_it() -> None:
    log = list[str]()
    session = Resource(diary(log, "session", []), scope="attempt")
    users = Resource(nullcontext, needs=(session,), scope="attempt")

    @uses(session)
    @uses(users)
    def same(users: list[int], session: list[int], n: int) -> bool:
        return users is session

    assert run(same(1), on=local()) == Success(True)
    assert log == ["open session", "close session"]


def test_a_resource_that_does_not_open_fails_the_attempt_and_is_tried_again() -> None:
    tries = list[int]()

    @contextmanager
    def open_late() -> Generator[int]:
        tries.append(1)
        if len(tries) < 2:
            raise ConnectionRefusedError("not yet")
        yield 7

    policy = Retry(attempts=2, backoff=Constant(0.0), on=(OSError,))

    @uses(Resource(open_late), retry=policy)
    def late(it: int, n: int) -> int:
        return it + n

    assert run(late(1), on=local()) == Success(8)


def test_a_broken_resource_is_closed_and_opened_again(caplog: pytest.LogCaptureFixture) -> None:
    log, healthy = list[str](), list[object]()

    async def look(it: object) -> object:
        return healthy.pop() if healthy else None

    pool = Resource(diary(log, "pool"), check=look, check_every=0)
    view = Resource(diary(log, "view"), needs=(pool,))

    @uses(pool)
    @uses(view)
    def use(view: str, pool: str, n: int) -> int:
        return n

    backend = local()
    assert run(use(1), on=backend) == Success(1)
    assert run(use(2), on=backend) == Success(2)
    assert log == ["open pool", "open view"]
    healthy.append(False)
    assert run(use(3), on=backend) == Success(3)
    backend.close()
    assert log.count("open pool") == log.count("close pool") == 2
    assert "its check returned False" in caplog.text


def test_fakes_take_the_place_of_resources() -> None:
    log = list[str]()
    engine = Resource(diary(log, "engine"))
    session = Resource(lambda engine: nullcontext(f"on {engine}"), needs=(engine,), scope="attempt")

    @uses(session)
    def which(session: str, n: int) -> str:
        return session

    @uses(engine)
    async def which_async(engine: str, n: int) -> str:
        return engine

    replaced = local(resources={engine: "fake"})
    assert run(which(1), on=replaced) == Success("on fake")
    assert run(which_async(1), on=replaced) == Success("fake")
    assert run(which(1), on=local(resources={session: "mine"})) == Success("mine")
    instead = Resource(diary(log, "sqlite"))
    assert run(which(1), on=local(resources={engine: instead})) == Success("on sqlite")
    assert log == ["open sqlite"]


def open_real() -> AbstractContextManager[str]:
    raise AssertionError("the real one is opened")


real = Resource(open_real)


@uses(Resource(nullcontext, needs=(real,), scope="attempt"), isolate=True)
def apart(session: str, n: int) -> str:
    return session


def test_an_isolated_step_does_not_open_what_has_a_fake() -> None:
    """Its child process cannot get the fake, and a test must not reach the real one."""
    fakes = {real: "fake"}
    for refused in (
        run(apart(1), on=local(resources=fakes)).failure(),
        work(Catalog(apart), on=local(), stop=threading.Event(), resources=fakes).failure(),
    ):
        assert isinstance(refused, Misconfigured)
        assert refused.task == "apart"
        assert "apart.with_(isolate=False)" in str(refused)
    here = apart.with_(isolate=False)
    assert run(here(1), on=local(resources=fakes)) == Success("fake")


def test_a_fake_stays_on_the_thread_of_the_test() -> None:
    @uses(db)
    def count(db: Any, n: int) -> int:
        return int(db.execute("select ?", [n]).fetchone()[0])

    with closing(sqlite3.connect(":memory:")) as fake:
        assert run((count >> count)(3), on=local(resources={db: fake})) == Success(3)


def test_a_program_closes_its_resources_when_it_ends() -> None:
    program = """
        from contextlib import contextmanager
        from onward import Resource, local, run, submit, task, uses

        @contextmanager
        def open_it():
            yield 1
            print("closed")

        it = Resource(open_it)

        @uses(it)
        def use(it: int, n: int) -> int:
            return n

        backend = local()
        print(run(use(1), on=backend).unwrap())
        """
    ended = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, check=True
    )
    assert ended.stdout.split() == ["1", "closed"]


# -- workers ---------------------------------------------------------------------------------------


def test_a_worker_opens_before_it_serves_and_closes_in_reverse() -> None:
    log = list[str]()
    pool = Resource(diary(log, "pool"))
    view = Resource(diary(log, "view"), needs=(pool,))
    gpu = Resource(diary(log, "gpu"))

    @uses(view)
    def use(view: str, n: int) -> str:
        return view

    @uses(gpu, queue="gpu")
    def render(gpu: str, n: int) -> str:
        return gpu

    catalog = Catalog(use, render)
    stop = threading.Event()
    stop.set()
    assert work(catalog, on=local(), stop=stop) == Success(None)
    assert log == ["open pool", "open view", "open gpu", "close gpu", "close view", "close pool"]
    log.clear()
    assert work(catalog, on=local(), stop=stop, queues=["default"]) == Success(None)
    assert log == ["open pool", "open view", "close view", "close pool"]
    log.clear()
    assert work(catalog, on=local(), stop=stop, resources={view: 1, gpu: 2}) == Success(None)
    assert log == []


def test_a_worker_whose_resource_does_not_open_does_not_start(
    caplog: pytest.LogCaptureFixture,
) -> None:
    log = list[str]()
    pool = Resource(diary(log, "pool"))

    @contextmanager
    def open_bad(pool: str) -> Generator[int]:
        if pool:
            raise ConnectionRefusedError("no database at db:5432")
        yield 1

    @uses(Resource(open_bad, needs=(pool,)))
    def use(bad: int, n: int) -> int:
        return n

    fault = work(Catalog(use), on=local()).failure()
    assert isinstance(fault, Unavailable)
    assert str(fault) == (
        "use: its resource open_bad could not be opened: ConnectionRefusedError: no database at "
        "db:5432. The worker has not started: check what the resource connects to."
    )
    assert log == ["open pool", "close pool"]
    assert "in open_bad" in caplog.text
    assert asyncio.run(aio.work(Catalog(use), on=local())) == Failure(fault)


def test_a_worker_can_be_stopped_while_it_opens() -> None:
    opening, stop, let_go = threading.Event(), threading.Event(), threading.Event()

    @contextmanager
    def hang() -> Generator[int]:
        opening.set()
        let_go.wait(PATIENCE)
        yield 1

    @uses(Resource(hang))
    def use(it: int, n: int) -> int:
        return n

    def serve() -> None:
        answers.append(work(Catalog(use), on=local(), stop=stop))

    answers = list[Result[None, Fault]]()
    thread = threading.Thread(target=serve)
    thread.start()
    assert opening.wait(PATIENCE)
    stop.set()
    thread.join(PATIENCE)
    assert answers == [Success(None)]
    let_go.set()


def test_a_resource_that_does_not_close_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    log = list[str]()

    @contextmanager
    def open_bad(pool: str) -> Generator[int]:
        yield 1
        raise OSError("already gone")

    pool = Resource(diary(log, "pool"))

    @uses(Resource(open_bad, needs=(pool,)))
    def use(bad: int, n: int) -> int:
        return n

    stop = threading.Event()
    stop.set()
    with caplog.at_level(logging.ERROR, logger="onward.resource"):
        assert work(Catalog(use), on=local(), stop=stop) == Success(None)
    assert log == ["open pool", "close pool"]
    assert "open_bad could not be closed" in caplog.text


def test_an_awaiting_worker_opens_and_closes_too() -> None:
    log, is_open = list[str](), threading.Event()
    pool = Resource(diary(log, "pool"))

    @contextmanager
    def opened(pool: str) -> Generator[str]:
        is_open.set()
        yield pool

    @uses(Resource(opened, needs=(pool,)))
    def use(pool: str, n: int) -> str:
        return pool

    async def cancelled() -> None:
        serving = asyncio.create_task(aio.work(Catalog(use), on=local()))
        await asyncio.to_thread(is_open.wait, PATIENCE)
        serving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await serving

    asyncio.run(cancelled())
    assert log == ["open pool", "close pool"]


def test_a_name_says_which_resource_it_is() -> None:
    assert Resource(open_db).name == "open_db"
    assert Resource(partial(open_db)).name == "open_db"
    assert "test_resources.py" in Resource(lambda: nullcontext(1)).name
    assert repr(Resource(open_db, scope="attempt")) == "Resource(open_db, scope='attempt')"
