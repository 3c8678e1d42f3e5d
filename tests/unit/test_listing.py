"""`calls`, and what is done with many calls at once."""

import asyncio
import dataclasses
import math
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from returns.result import Failure, Result, Success

from onward import (
    Conflict,
    Fault,
    ListedCall,
    Misconfigured,
    Raised,
    Ref,
    Unavailable,
    Unknown,
    Unsupported,
    aio,
    calls,
    cancel_all,
    forget,
    local,
    result,
    resume_all,
    status,
    submit,
    submit_all,
    task,
)
from onward.backend import CallPage, CallQuery, CallRecord
from onward.backends.local import Local
from tests.unit.third_party import Postal


@task
def inc(n: int) -> int:
    return n + 1


@task
def inverse(n: int) -> float:
    return 1 / n


@pytest.fixture
def backend() -> Iterator[Local]:
    made = local()
    yield made
    made.close()


def ended(ref: Ref[Any, Any], backend: Local) -> Ref[Any, Any]:
    result(ref, on=backend, timeout=120)
    return ref


def listed(backend: Local, **asked: Any) -> list[ListedCall[object, object]]:
    return [each.unwrap() for each in calls(on=backend, **asked)]


def test_the_newest_come_first_and_say_what_is_known_of_them(backend: Local) -> None:
    before = datetime.now(UTC)
    first = ended(submit(inc(1), on=backend, tags=["a", "b"]).unwrap(), backend)
    second = ended(submit(inverse(0), on=backend).unwrap(), backend)
    newest, oldest = listed(backend)
    assert (newest.ref.id, newest.flow, newest.state) == (second.id, "inverse", "failed")
    assert (newest.fault, newest.tags) == ("Raised", ())
    assert (oldest.ref.id, oldest.state, oldest.fault) == (first.id, "done", "")
    assert oldest.tags == ("a", "b")
    assert oldest.submitted is not None
    assert oldest.ended is not None
    assert before <= oldest.submitted <= oldest.ended <= datetime.now(UTC)


def test_a_flow_types_the_refs_and_without_one_they_read_json(backend: Local) -> None:
    submit(inc(1), on=backend).unwrap()
    [typed] = [each.unwrap() for each in calls(on=backend, flow=inc)]
    assert typed.ref.flow is inc
    [plain] = listed(backend, flow="inc")
    assert plain.ref.id == typed.ref.id
    assert result(plain.ref, on=backend, timeout=120) == Success(2)


def test_they_are_listed_by_state_flow_tags_and_time(backend: Local) -> None:
    failed = ended(submit(inverse(0), on=backend, tags=["a", "b"]).unwrap(), backend)
    done = ended(submit(inverse(1), on=backend, tags=["a"]).unwrap(), backend)
    other = ended(submit(inc(1), on=backend).unwrap(), backend)
    now = datetime.now(UTC)

    def ids(**asked: Any) -> list[str]:
        return [each.ref.id for each in listed(backend, **asked)]

    assert ids(state="failed") == [failed.id]
    assert ids(state=["failed", "done"]) == [other.id, done.id, failed.id]
    assert ids(state="lost") == ids(state=["queued", "cancelled"]) == []
    assert ids(flow="inverse") == ids(flow=inverse) == [done.id, failed.id]
    assert ids(tags=["a"]) == [done.id, failed.id]
    assert ids(tags={"b", "a"}) == [failed.id]
    assert ids(since=3600) == ids(since=timedelta(hours=1)) == ids(until=now) == ids()
    assert ids(since=now) == ids(until=timedelta(hours=1)) == []


def test_all_pages_are_read_and_no_more_than_asked_for(backend: Local) -> None:
    refs = submit_all([inc(n) for n in range(250)], on=backend).unwrap()
    newest_first = [ref.id for ref in reversed(refs)]
    assert [each.ref.id for each in listed(backend)] == newest_first
    for limit in (1, 100, 101, 250, 251):
        assert [each.ref.id for each in listed(backend, limit=limit)] == newest_first[:limit]


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"state": "broken"}, "a state is one of queued, running, .*, lost, not 'broken'"),
        ({"state": ["failed", 5]}, "a state is one of"),
        ({"state": 5}, "state is a state or a list of them"),
        ({"flow": 5}, "flow is a flow or its name"),
        ({"flow": ""}, "leave flow out"),
        ({"tags": "nightly"}, "tags is a list of short texts"),
        ({"tags": [""]}, "a tag is 1 to 100 printable characters"),
        ({"since": datetime(2024, 1, 1)}, r"since .* has no time zone"),  # noqa: DTZ001 - tried
        ({"since": "1h"}, "since is a number of seconds"),
        ({"until": math.inf}, "until is from 0 seconds to ten years"),
        ({"limit": 0}, "from 1 up"),
        ({"limit": 2.5}, "limit is a whole number of calls"),
        ({"limit": True}, "limit is a whole number of calls"),
    ],
    ids=str,
)
def test_what_makes_no_sense_is_the_only_answer(
    backend: Local, asked: dict[str, Any], says: str
) -> None:
    [answer] = calls(on=backend, **asked)
    fault = answer.failure()
    assert isinstance(fault, Misconfigured)
    with pytest.raises(AssertionError, match=says):
        raise AssertionError(fault.message)


def test_an_engine_that_cannot_list_or_delete_says_so() -> None:
    there = Postal()
    can: Any = there
    [answer] = calls(on=can)
    assert isinstance(answer.failure(), Unsupported)
    cannot = forget(inc.ref("id"), on=can).failure()
    assert isinstance(cannot, Unsupported)
    assert "its own retention" in cannot.message
    there.close()


@dataclasses.dataclass
class Shaky:
    """A backend whose list is read for one page only, and that is away after some cancels."""

    cancels: int = 1000
    cancelled: list[str] = dataclasses.field(default_factory=list)
    pages: int = 1

    def submit(self, submission: object, /) -> Result[str, Fault]:
        return Failure(Unavailable("", "it is away"))

    def calls(self, query: CallQuery, /, after: str = "") -> Result[CallPage, Fault]:
        if len(after) >= self.pages:
            return Failure(Unavailable("", "it is away"))
        page = (CallRecord(f"id{after}", "inc", "queued"),)
        return Success(CallPage(page, "" if self.pages > 5 and len(after) == 4 else f"{after}n"))

    def cancel(self, id: str, /) -> Result[None, Fault]:
        self.cancelled.append(id)
        if len(self.cancelled) > self.cancels:
            return Failure(Unavailable("", "it is away"))
        return Success(None)


def test_the_fault_that_ends_a_list_is_its_last_item_and_nothing_is_done_then() -> None:
    shaky: Any = Shaky()
    call, fault = calls(on=shaky)
    assert call.unwrap().ref.id == "id"
    assert isinstance(fault.failure(), Unavailable)
    assert isinstance(cancel_all(calls(on=shaky), on=shaky).failure(), Unavailable)
    assert not shaky.cancelled


def test_after_an_engine_has_gone_away_the_rest_is_not_tried() -> None:
    shaky: Any = Shaky(cancels=2, pages=6)
    pairs = cancel_all(calls(on=shaky), on=shaky).unwrap()
    assert [isinstance(answer, Success) for _, answer in pairs] == [True, True] + [False] * 3
    assert shaky.cancelled == ["id", "idn", "idnn"]


def test_cancel_all_cancels_what_was_listed_and_reports_progress(backend: Local) -> None:
    refs = submit_all([inc(n) for n in range(3)], on=backend, delay=3600, tags=["a"]).unwrap()
    spared = submit(inc(9), on=backend, delay=3600).unwrap()
    planned = cancel_all(calls(on=backend, tags=["a"]), on=backend, dry_run=True).unwrap()
    assert [answer for _, answer in planned] == [Success(None)] * 3
    assert {status(ref, on=backend).unwrap().state for ref in refs} == {"queued"}
    seen: list[tuple[int, int]] = []
    pairs = cancel_all(
        calls(on=backend, tags=["a"], flow=inc),
        on=backend,
        progress=lambda done, total: seen.append((done, total)),
    ).unwrap()
    assert [ref for ref, _ in pairs] == refs[::-1]
    assert {status(ref, on=backend).unwrap().state for ref in refs} == {"cancelled"}
    assert status(spared, on=backend).unwrap().state == "queued"
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_resume_all_resumes_what_failed_and_says_what_it_cannot(backend: Local) -> None:
    failed = ended(submit(inverse(0), on=backend).unwrap(), backend)
    done = ended(submit(inverse(1), on=backend).unwrap(), backend)
    planned = resume_all(calls(on=backend, flow=inverse), on=backend, dry_run=True).unwrap()
    assert len(listed(backend)) == 2
    found = [each.unwrap() for each in calls(on=backend, flow=inverse)]
    pairs = resume_all(found, on=backend).unwrap()
    assert [ref for ref, _ in pairs] == [done, failed]
    (_, refused), (_, resumed) = pairs
    assert isinstance(refused.failure(), Conflict)
    again = resumed.unwrap()
    assert [ref for ref, _ in planned] == [ref for ref, _ in pairs]
    assert planned[1][1] == Success(again)
    assert planned[0][1].failure() == refused.failure()
    assert isinstance(result(again, on=backend, timeout=120).failure(), Raised)
    assert resume_all(found, on=backend).unwrap()[1][1] == Success(again)


def test_they_go_on_elsewhere(backend: Local) -> None:
    ended(submit(inverse(0), on=backend).unwrap(), backend)
    with_other = local()
    [(_, resumed)] = resume_all(calls(on=backend, flow=inverse), on=backend, to=with_other).unwrap()
    assert isinstance(result(resumed.unwrap(), on=with_other, timeout=120).failure(), Raised)
    assert len(listed(backend)) == len(listed(with_other)) == 1
    with_other.close()


def test_what_is_not_a_list_of_calls_is_refused(backend: Local) -> None:
    ref: Any = submit(inc(1), on=backend).unwrap()
    with pytest.raises(TypeError, match=r"write calls\(on=backend"):
        cancel_all(ref, on=backend)
    with pytest.raises(TypeError, match="is not a call that `calls` gave"):
        cancel_all([ref], on=backend)
    progress: Any = 5
    with pytest.raises(TypeError, match="progress is a function of two numbers"):
        cancel_all([], on=backend, progress=progress)
    nowhere: Any = None
    with pytest.raises(TypeError, match="is not a backend"):
        calls(on=nowhere)
    with pytest.raises(TypeError, match="is not a backend"):
        resume_all([], on=nowhere)


def test_a_call_that_has_ended_can_be_forgotten_and_one_that_goes_on_cannot(
    backend: Local,
) -> None:
    ref = ended(submit(inc(1), on=backend).unwrap(), backend)
    waits = submit(inc(1), on=backend, delay=3600).unwrap()
    assert forget(ref, on=backend) == Success(None)
    assert isinstance(result(ref, on=backend).failure(), Unknown)
    assert isinstance(forget(ref, on=backend).failure(), Unknown)
    assert isinstance(forget(waits, on=backend).failure(), Conflict)
    assert [each.ref.id for each in listed(backend)] == [waits.id]


def test_async_callers_have_the_same(backend: Local) -> None:
    async def main() -> None:
        ref = (await aio.submit(inverse(0), on=backend)).unwrap()
        await aio.result(ref, on=backend, timeout=120)
        found = [each.unwrap() async for each in aio.calls(on=backend, flow=inverse)]
        assert [call.ref for call in found] == [ref]
        listing = aio.calls(on=backend, state="failed", flow=inverse)
        [(old, resumed)] = (await aio.resume_all(listing, on=backend)).unwrap()
        assert old == ref
        await aio.result(resumed.unwrap(), on=backend, timeout=120)
        [(_, cancelled)] = (await aio.cancel_all(found, on=backend)).unwrap()
        assert cancelled == Success(None)
        assert await aio.forget(ref, on=backend) == Success(None)

    asyncio.run(main())
