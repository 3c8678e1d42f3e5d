"""Lists of calls, as Temporal's visibility store has them: some moments late."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from functools import reduce
from pathlib import Path
from uuid import uuid4

import pytest
from msgspec import Raw
from returns.result import Failure, Success
from temporalio.client import Client

from onward import Lost, calls, cancel, result, resume, submit
from onward import plan as plans
from onward.backend import CallQuery, CallRecord, Submission
from onward.backends.temporal import TemporalBackend
from onward.backends.temporal import temporal as temporal_at
from onward.backends.temporal.visibility import newest_first
from onward.plan import Args, ChainNode, Plan, StepNode
from tests.engines.process import until
from tests.engines.server import HOST
from tests.engines.temporal import Temporal
from tests.temporal.conftest import until_status
from tests.temporal.sdk import Sdk
from tests.temporal.served import (
    catalog,
    crash,
    hold,
    inc,
    same,
)

PATIENCE = 120.0
INC = StepNode(task="inc")


def listed(on: TemporalBackend, query: CallQuery, after: str = "") -> list[CallRecord]:
    """All that a query finds, page by page."""
    page = on.calls(query, after).unwrap()
    assert len(page.calls) <= query.limit
    return [*page.calls, *(listed(on, query, page.next) if page.next else ())]


def until_listed(
    on: TemporalBackend, query: CallQuery, is_right: Callable[[list[CallRecord]], bool]
) -> list[CallRecord]:
    seen: list[list[CallRecord]] = []

    def is_so() -> bool:
        seen.append(listed(on, query))
        return is_right(seen[-1])

    until(is_so, within=PATIENCE, otherwise=lambda: f"{seen[-1]}")
    return seen[-1]


@pytest.fixture
def own(temporal: Temporal) -> Iterator[TemporalBackend]:
    """A backend with a worker, on a task queue of its own."""
    with closing(temporal_at(HOST, temporal.port, task_queue=uuid4().hex)) as made:
        worker = made.serve(catalog).unwrap()
        yield made
        worker.stop(0)


def test_calls_are_listed_by_their_state_flow_and_tags(
    own: TemporalBackend, tmp_path: Path
) -> None:
    """A single task with tags is one of them, and so is a call with a key that waits."""
    flow, tag = f"flow-{uuid4().hex}", uuid4().hex
    done = submit((inc >> inc).named(flow)(1), on=own).unwrap()
    tagged = submit(inc(1), on=own, tags=[tag, "it's"]).unwrap()
    failed = submit((inc >> crash).named(flow)(1), on=own).unwrap()
    for ref in (done, tagged, failed):
        result(ref, on=own, timeout=PATIENCE)
    running = submit((same >> hold).named(flow)(str(tmp_path)), on=own).unwrap()
    cancelled = submit((same >> hold)(str(tmp_path)), on=own).unwrap()
    held = submit(inc(1), on=own, unique=tag, debounce=600).unwrap()
    late = submit((inc >> inc)(1), on=own, delay=600).unwrap()
    assert cancel(cancelled, on=own).unwrap() is None
    until_status(running, own, lambda now: now.step == "1")
    mine = {ref.id for ref in (done, tagged, failed, running, cancelled, held, late)}

    def ids(**query: object) -> list[str]:
        found = until_listed(own, CallQuery(**query), lambda _: True)  # type: ignore[arg-type]  # by name
        return [call.id for call in found if call.id in mine]

    every = until_listed(own, CallQuery(), lambda all_: mine <= {call.id for call in all_})
    states = {call.id: (call.state, call.fault, call.tags) for call in every if call.id in mine}
    starts = {call.id: call.starts for call in every if call.starts is not None}
    assert starts.keys() & mine == {late.id}
    assert states == {
        done.id: ("done", "", ()),
        tagged.id: ("done", "", (tag, "it's")),
        failed.id: ("failed", "Raised", ()),
        running.id: ("running", "", ()),
        cancelled.id: ("cancelled", "Cancelled", ()),
        held.id: ("queued", "", ()),
        late.id: ("queued", "", ()),
    }
    assert own.history(late.id).unwrap().call.starts == starts[late.id]
    assert (
        ids()
        == ids(limit=2)
        == [
            call.id
            for call in sorted(every, key=lambda call: str(call.submitted), reverse=True)
            if call.id in mine
        ]
    )
    assert ids(tags=frozenset({tag})) == ids(tags=frozenset({"it's", tag})) == [tagged.id]
    assert ids(tags=frozenset({tag, "other"})) == []
    assert ids(flow=flow) == [running.id, failed.id, done.id]
    assert ids(flow=flow, states=frozenset({"done", "running"})) == [running.id, done.id]
    assert ids(states=frozenset({"queued"})) == [late.id, held.id]
    assert ids(states=frozenset({"lost"})) == []
    assert ids(states=frozenset({"lost", "failed"})) == [failed.id]
    [begun] = [call.submitted for call in every if call.id == failed.id]
    assert begun is not None
    assert ids(flow=flow, since=begun) == [running.id, failed.id]
    assert ids(flow=flow, until=begun) == [done.id]


def test_parts_are_no_calls(short_histories: TemporalBackend, short_histories_sdk: Sdk) -> None:
    name = f"long-{uuid4().hex}"
    flow = reduce(lambda chain, step: chain >> step, [inc] * 39, inc >> inc).named(name)
    for unique in (None, name):
        ref = submit(flow(0), on=short_histories, unique=unique).unwrap()
        result(ref, on=short_histories, timeout=PATIENCE).unwrap()
        assert short_histories_sdk.children(ref.id)
    found = until_listed(short_histories, CallQuery(flow=name), lambda found: len(found) == 2)
    assert {call.state for call in found} == {"done"}


def test_the_newest_come_first_whatever_runs_and_ends_when(sdk: Sdk) -> None:
    """The store lists those that run first, and then those that ended last."""
    queue = uuid4().hex
    ids = [f"{queue}-{n:02}" for n in range(24)]
    ended = [*ids[20:4:-3], *ids[1:16:3]]

    async def start(client: Client) -> None:
        for id in ids:
            await client.start_workflow("none", id=id, task_queue=queue)
        for id in ended:
            await client.get_workflow_handle(id).terminate()

    async def found(client: Client, page_size: int) -> list[str]:
        pages = newest_first(client, f"TaskQueue = '{queue}'", None, None, page_size)
        return [each.id async for each in pages]

    async def is_listed(client: Client) -> bool:
        counts = [
            (await client.count_workflows(f"TaskQueue = '{queue}'{also}")).count
            for also in ("", " AND ExecutionStatus = 'Terminated'")
        ]
        return counts == [len(ids), len(ended)]

    sdk.run(start)
    until(
        lambda: sdk.run(is_listed),
        within=PATIENCE,
        otherwise=lambda: "they are not listed",
    )
    for page_size in (2, 7, 100):
        assert sdk.run(lambda client, size=page_size: found(client, size)) == ids[::-1]  # type: ignore[misc]  # bound


def test_a_call_of_a_later_release_is_a_dead_letter_that_goes_on_after_an_upgrade(
    backend: TemporalBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    tag, flow, root = uuid4().hex, inc >> inc, ChainNode((INC, INC))
    args = Args((Raw(b"1"),))
    later = Plan(v=plans.NEWEST + 1, id=tag, flow="later", root=root, args=args, tags=(tag,))
    ref = flow.ref(backend.submit(Submission(later)).unwrap())
    fault = result(ref, on=backend, timeout=PATIENCE).failure()
    assert isinstance(fault, Lost)
    assert "upgrade the workers" in fault.message
    assert resume(ref, on=backend) == Failure(fault)
    until(
        lambda: (
            [each.unwrap().ref.id for each in calls(backend, state="lost", tags=[tag])] == [ref.id]
        ),
        within=PATIENCE,
        otherwise=lambda: "it is not listed",
    )
    monkeypatch.setattr(plans, "NEWEST", plans.NEWEST + 1)  # as if this were that release
    again = resume(ref, on=backend).unwrap()
    assert result(again, on=backend, timeout=PATIENCE) == Success(3)
