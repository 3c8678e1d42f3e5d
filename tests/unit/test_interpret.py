"""Interpreters: what they hand to a backend, and what they make of its answers."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from returns.result import Failure, Result, Success

import onward
from onward import (
    BadPayload,
    Call,
    Catalog,
    Expired,
    Fault,
    Misconfigured,
    Raised,
    Ref,
    Status,
    TimedOut,
    Unavailable,
    Unknown,
    Unsupported,
    aio,
    cancel,
    check,
    each,
    given,
    local,
    result,
    results,
    run,
    status,
    submit,
    submit_all,
    task,
    work,
)
from onward.flows.flow import AnyFlow
from onward.plan import Plan, StepNode
from tests.unit.interpreters import PATIENCE, Odd, halve, inc, never, whose
from tests.unit.third_party import Postal


@pytest.fixture
def post() -> Iterator[Postal]:
    post = Postal()
    worker = post.serve(Catalog(inc, halve, whose, never)).unwrap()
    yield post
    worker.stop(grace=0)
    post.close()


# -- what a backend is handed -----------------------------------------------------------------


def test_a_call_is_handed_over_with_all_its_options(post: Postal) -> None:
    deadline = datetime.now(UTC) + timedelta(hours=1)
    flow = (inc >> halve).named("both")
    ref = submit(
        flow(1),
        on=post,
        key="order-7",
        delay=timedelta(milliseconds=1),
        deadline=deadline,
        queue="bulk",
        priority=9,
    ).unwrap()
    [sent] = post.sent
    assert sent.flow == flow
    assert sent.delay == 0.001
    assert (sent.plan.id, sent.plan.flow, sent.plan.key) == (ref.id, "both", "order-7")
    assert (sent.plan.queue, sent.plan.priority) == ("bulk", 9)
    assert sent.plan.deadline == pytest.approx(deadline.timestamp(), abs=0.001)
    assert sent.plan.root == flow.node
    assert result(ref, on=post, timeout=PATIENCE) == Success(1)


def test_what_is_not_asked_for_is_left_to_the_backend(post: Postal) -> None:
    submit(inc(1), on=post)
    [sent] = post.sent
    assert sent.delay == 0
    assert (sent.plan.key, sent.plan.deadline, sent.plan.queue, sent.plan.priority) == (None,) * 4


def test_a_deadline_may_be_a_number_of_seconds_a_timedelta_or_a_moment(post: Postal) -> None:
    now = time.time()
    for deadline in (60, 60.0, timedelta(minutes=1), datetime.fromtimestamp(now + 60, UTC)):
        submit(inc(1), on=post, deadline=deadline)
    for sent in post.sent:
        assert sent.plan.deadline is not None
        assert now + 59 < sent.plan.deadline < time.time() + 61


@pytest.mark.parametrize("deadline", [0, -1, timedelta(0), datetime(2020, 1, 1, tzinfo=UTC)])
def test_a_deadline_that_has_passed_is_expired_and_nothing_is_submitted(
    post: Postal, deadline: float | timedelta | datetime
) -> None:
    for answer in (
        run(inc(1), on=post, deadline=deadline),
        submit(inc(1), on=post, deadline=deadline),
        submit_all([inc(1)], on=post, deadline=deadline),
    ):
        assert isinstance(answer.failure(), Expired)
    assert post.sent == []


def test_every_call_has_an_id_of_its_own(post: Postal) -> None:
    refs = submit_all([inc(1)] * 100, on=post).unwrap()
    assert len({ref.id for ref in refs}) == 100


def test_calls_of_one_flow_and_of_others_keep_their_own_arguments(post: Postal) -> None:
    calls = [inc(1), halve(8), inc(2), (inc >> inc)(3), halve(4), inc(4)]
    refs = submit_all(calls, on=post).unwrap()
    assert [ref.flow for ref in refs] == [call.flow for call in calls]
    assert [result(ref, on=post).unwrap() for ref in refs] == [2, 4, 3, 5, 2, 5]


def test_a_key_gives_the_same_id_in_every_process(post: Postal) -> None:
    refs = [submit(inc(n), on=post, key="k").unwrap() for n in (1, 2)]
    assert refs[0] == refs[1]
    assert refs[0].id == submit(inc(1), on=local(), key="k").unwrap().id
    assert refs[0].id != submit(inc(1), on=post, key="other").unwrap().id
    assert refs[0].id != submit((inc >> inc)(1), on=post, key="k").unwrap().id


def test_a_task_knows_the_id_and_the_key_of_its_call(post: Postal) -> None:
    ref = submit(whose(), on=post, key="k").unwrap()
    assert result(ref, on=post) == Success((ref.id, "k"))
    ref = submit(whose(), on=post).unwrap()
    assert result(ref, on=post) == Success((ref.id, None))


def test_many_calls_are_handed_over_in_their_order(post: Postal) -> None:
    refs = submit_all((inc(n) for n in range(50)), on=post, queue="bulk", delay=0.001).unwrap()
    assert [sent.plan.id for sent in post.sent] == [ref.id for ref in refs]
    assert {(sent.plan.queue, sent.delay) for sent in post.sent} == {("bulk", 0.001)}
    assert [result(ref, on=post).unwrap() for ref in refs] == list(range(1, 51))
    assert submit_all([], on=post) == Success([])


def test_nothing_is_submitted_for_what_is_wrong_already(post: Postal) -> None:
    wrong: Any = "three"
    for answer in (
        run(inc(wrong), on=post),
        submit(inc(wrong), on=post),
        submit_all([inc(1), inc(wrong)], on=post),
        run(inc(1), on=post, timeout=-1),
        run(inc(1), on=post, timeout=wrong),
        asyncio.run(aio.run(inc(1), on=post, timeout=-1)),
        run(inc(1), on=post, priority=10),
    ):
        assert isinstance(answer.failure(), BadPayload | Misconfigured)
    assert post.sent == []


# -- what a backend answers -------------------------------------------------------------------


def test_values_errors_and_faults_come_as_what_they_are(post: Postal) -> None:
    assert run((inc >> halve)(1), on=post) == Success(1)
    assert run((inc >> halve)(2), on=post) == Failure(Odd(3))
    assert isinstance(run(inc.with_(timeout=1)(1), on=post, timeout=PATIENCE), Success)
    fault = run((inc >> task(name="ghost")(inc.fn))(1), on=post).failure()
    assert isinstance(fault, Unknown)


def test_a_wait_that_ends_leaves_the_call_running(post: Postal) -> None:
    fault = run(never(1), on=post, timeout=0.01).failure()
    assert isinstance(fault, TimedOut)
    assert (fault.still_running, fault.seconds, fault.attempts) == (True, 0.01, 0)
    ref = never.ref(post.sent[0].plan.id)
    assert ref.id in fault.message
    assert result(ref, on=post, timeout=0) == Failure(
        TimedOut("never", fault.message.replace("0.01", "0"), 0.0, 0, still_running=True)
    )
    assert cancel(ref, on=post) == Success(None)


def test_a_backend_out_of_reach_is_a_fault_of_every_interpreter(post: Postal) -> None:
    ref = submit(never(1), on=post).unwrap()
    post.is_down = True
    down = Failure(Unavailable("", "the post is closed"))
    assert run(inc(1), on=post) == down
    assert submit(inc(1), on=post) == down
    assert submit_all([inc(1)], on=post) == down
    assert result(ref, on=post) == down
    both = [ref, never.ref("b")]
    assert dict(results(both, on=post)) == dict.fromkeys(both, down)
    assert work(Catalog(inc), on=post) == down
    assert asyncio.run(aio.run(inc(1), on=post)) == down
    assert asyncio.run(aio.work(Catalog(inc), on=post)) == down


def test_results_of_nothing_are_nothing(post: Postal) -> None:
    none: list[Ref[int]] = []
    assert list(results(none, on=post)) == []
    assert list(results(iter(none), on=post, timeout=1)) == []


def test_results_tell_their_progress_and_give_each_ref_once(post: Postal) -> None:
    refs = submit_all([inc(n) for n in range(5)], on=post).unwrap()
    told: list[tuple[int, int]] = []
    found = list(results([*refs, *refs], on=post, progress=lambda *at: told.append(at)))
    assert sorted(answer.unwrap() for _, answer in found) == [1, 2, 3, 4, 5]
    assert told == [(n, 5) for n in range(1, 6)]


def test_results_of_which_some_are_unknown_give_the_others_too(post: Postal) -> None:
    known = submit(inc(1), on=post).unwrap()
    found = dict(results([inc.ref("nobody"), known], on=post, timeout=PATIENCE))
    assert found[known] == Success(2)
    assert isinstance(found[inc.ref("nobody")].failure(), Unknown)


def test_a_status_is_given_as_it_is(post: Postal) -> None:
    ref = submit(inc(1), on=post, delay=3600).unwrap()
    assert status(ref, on=post) == Success(Status("queued"))
    assert isinstance(status(inc.ref("nobody"), on=post).failure(), Unknown)


# -- check ------------------------------------------------------------------------------------


class Choosy(Postal):
    """A backend that cannot do everything."""

    def check(self, plan: Plan, /) -> list[Fault]:
        steps = [node for node in walk_steps(plan) if node.timeout is not None]
        return [Unsupported(step.task, "no timeouts here") for step in steps]


def walk_steps(sent: Plan) -> list[StepNode]:
    from onward.plan import walk

    return [node for node in walk(sent.root) if isinstance(node, StepNode)]


def test_check_tells_everything_that_a_backend_cannot_do() -> None:
    choosy = Choosy()
    flow = inc.with_(timeout=1) >> inc >> halve.with_(timeout=2)
    assert check(inc(1), on=choosy) == Success(None)
    assert check(flow(1), on=choosy) == Failure(
        (Unsupported("inc", "no timeouts here"), Unsupported("halve", "no timeouts here"))
    )
    assert choosy.sent == []
    choosy.close()


def test_check_tells_what_is_wrong_with_the_call_itself() -> None:
    wrong: Any = "three"
    found = check(inc(wrong), on=local()).failure()
    assert isinstance(found[0], BadPayload)
    other: Any = task(name="inc")(halve.fn)
    [fault] = check((inc >> other)(1), on=local()).failure()
    assert "two tasks are named 'inc'" in fault.message


# -- the two colours --------------------------------------------------------------------------


Ask: TypeAlias = Callable[[Call[Any, Any]], Result[Any, Any]]


def blocks(call: Call[Any, Any]) -> Result[Any, Any]:
    return run(call, on=SHARED)


def submits(call: Call[Any, Any]) -> Result[Any, Any]:
    ref = submit(call, on=SHARED)
    return result(ref.unwrap(), on=SHARED) if isinstance(ref, Success) else ref


def awaits(call: Call[Any, Any]) -> Result[Any, Any]:
    return asyncio.run(aio.run(call, on=SHARED))


def submits_and_awaits(call: Call[Any, Any]) -> Result[Any, Any]:
    async def main() -> Result[Any, Any]:
        ref = await aio.submit(call, on=SHARED)
        return await aio.result(ref.unwrap(), on=SHARED) if isinstance(ref, Success) else ref

    return asyncio.run(main())


SHARED = local()


@task
def explode(n: int) -> int:
    raise ValueError(f"no {n}")


@pytest.mark.parametrize("ask", [blocks, submits, awaits, submits_and_awaits])
def test_every_way_to_run_a_call_gives_the_same(ask: Ask) -> None:
    wrong: Any = "three"
    assert ask((inc >> halve)(1)) == Success(1)
    assert ask((inc >> halve)(2)) == Failure(Odd(3))
    assert ask(each(halve)([2, 4])) == Success([1, 2])
    assert ask(inc(wrong)) == Failure(BadPayload("inc", "Expected `int`, got `str`", "$.n"))
    fault = ask(explode(3)).failure()
    assert isinstance(fault, Raised)
    assert (fault.task, fault.error_type, fault.message) == ("explode", "ValueError", "no 3")
    assert "in explode" in fault.traceback
    assert str(Path(onward.__file__).parent) not in fault.traceback


def test_awaiting_interpreters_do_all_that_blocking_ones_do(post: Postal) -> None:
    async def main() -> None:
        ref = (await aio.submit(never(1), on=post, key="k")).unwrap()
        assert (await aio.status(ref, on=post)).unwrap().state in ("queued", "running")
        late = (await aio.result(ref, on=post, timeout=0)).failure()
        assert isinstance(late, TimedOut)
        assert await aio.cancel(ref, on=post) == Success(None)
        refs = (await aio.submit_all([inc(n) for n in range(3)], on=post)).unwrap()
        told: list[tuple[int, int]] = []
        found = {
            ref: answer
            async for ref, answer in aio.results(
                refs, on=post, timeout=PATIENCE, progress=lambda *at: told.append(at)
            )
        }
        assert [found[ref] for ref in refs] == [Success(1), Success(2), Success(3)]
        assert told == [(1, 3), (2, 3), (3, 3)]
        [(_, unknown)] = [pair async for pair in aio.results([inc.ref("nobody")], on=post)]
        assert isinstance(unknown.failure(), Unknown)
        assert aio.check(inc(1), on=post) == Success(None)

    asyncio.run(main())


def test_a_cancelled_await_leaves_the_call_alone(post: Postal) -> None:
    async def main() -> None:
        ref = (await aio.submit(never(1), on=post)).unwrap()
        waiting: Awaitable[object] = aio.result(ref, on=post)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(waiting, 0.05)
        assert not (await aio.status(ref, on=post)).unwrap().settled
        await aio.cancel(ref, on=post)

    asyncio.run(main())


def test_given_values_travel_with_the_plan(post: Postal) -> None:
    @task
    def add(n: int, by: int) -> int:
        return n + by

    flow: AnyFlow = given(add, by=2)
    worker = post.serve(Catalog(flow)).unwrap()
    assert run(flow(1), on=post, timeout=PATIENCE) == Success(3)
    worker.stop()
