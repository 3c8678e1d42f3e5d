"""The laws of lists of calls, and of calls that are deleted."""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path

import pytest
from returns.result import Failure, Success

from onward.backend import Backend, Cancels, Forgets, Listed, Lists
from onward.backend.history import CallQuery
from onward.fault import Conflict, Raised, Unknown
from onward.flows.flow import AnyFlow, Ref
from onward.interpret import calls, cancel, forget, result, status, submit, submit_all
from onward.testing import tasks
from onward.testing.kinds import Odd
from onward.testing.tools import Tools


class ListingLaws(Tools):
    """The laws of `calls` and `forget`, as a part of `BackendSuite`.

    An engine may list a call a moment after it was submitted or has ended.
    """

    def test_calls_are_listed_by_what_they_are(self, backend: Backend, traces: Path) -> None:
        """By their state, their flow, their tags and the time of their submission."""
        on, tag = _listing(backend), os.urandom(8).hex()
        tags = [tag, "of two words"]
        good = submit(tasks.halve(2), on=backend, tags=tags).unwrap()
        odd = submit(tasks.halve(3), on=backend, tags=tags).unwrap()
        raised = submit(tasks.picky(3), on=backend, tags=[tag]).unwrap()
        assert result(good, on=backend, timeout=self.patience) == Success(1)
        assert result(odd, on=backend, timeout=self.patience) == Failure(Odd(3))
        fault = result(raised, on=backend, timeout=self.patience).failure()
        assert isinstance(fault, Raised)

        def ids(
            state: Listed | None = None,
            flow: AnyFlow | None = None,
            tags: Collection[str] = (tag,),
            since: float | None = None,
            until: float | None = None,
        ) -> set[str]:
            name = None if flow is None else flow.name
            found = calls(on, state=state, flow=name, tags=tags, since=since, until=until)
            return {each.unwrap().ref.id for each in found}

        self.until(lambda: ids("done") == {good.id} and ids("failed") == {odd.id, raised.id})
        assert ids() == ids(since=3600) == {good.id, odd.id, raised.id}
        assert ids("lost") == ids("cancelled") == ids(until=3600) == set()
        assert ids(flow=tasks.halve) == ids(tags=tags) == {good.id, odd.id}
        assert ids("failed", tasks.halve, tags) == {odd.id}
        [call] = [each.unwrap() for each in calls(on, flow=tasks.picky, tags=[tag])]
        assert (call.flow, call.state, call.tags, call.fault) == (
            "picky",
            "failed",
            (tag,),
            "Raised",
        )
        assert call.submitted is not None
        assert call.ended is None or call.submitted <= call.ended

    def test_calls_are_listed_in_pages(self, backend: Backend, traces: Path) -> None:
        """The newest first, each call once, however large a page is."""
        on, tag = _listing(backend), os.urandom(8).hex()
        refs = submit_all([tasks.inc(n) for n in range(5)], on=backend, tags=[tag]).unwrap()
        for ref in refs:
            result(ref, on=backend, timeout=self.patience)
        self.until(lambda: len([*calls(on, tags=[tag], state="done")]) == 5)

        def listed(limit: int) -> list[str]:
            query, after, found = CallQuery(tags=frozenset([tag]), limit=limit), "", list[str]()
            while True:
                page = on.calls(query, after).unwrap()
                assert len(page.calls) <= limit
                found += [call.id for call in page.calls]
                after = page.next
                if not after:
                    return found

        whole = listed(5)
        assert sorted(whole) == sorted(ref.id for ref in refs)
        assert listed(1) == listed(2) == whole
        submitted = [each.unwrap().submitted for each in calls(on, tags=[tag])]
        moments = [moment for moment in submitted if moment is not None]
        assert moments == sorted(moments, reverse=True)

    def test_a_forgotten_call_is_unknown(self, backend: Backend, traces: Path) -> None:
        """And it is listed no more. One that has not ended cannot be forgotten."""
        if not isinstance(backend, Forgets):
            pytest.skip("this backend does not have the capability Forgets")
        tag = os.urandom(8).hex()
        ref = submit(tasks.inc(1), on=backend, tags=[tag]).unwrap()
        assert result(ref, on=backend, timeout=self.patience) == Success(2)
        assert forget(ref, on=backend) == Success(None)
        self.until(lambda: _is_unknown(ref, backend))
        assert isinstance(forget(ref, on=backend).failure(), Unknown)
        if isinstance(backend, Lists):
            on: Lists = backend
            self.until(lambda: not [*calls(on, tags=[tag])])
        later = submit(tasks.inc(1), on=backend, delay=600).unwrap()
        assert isinstance(forget(later, on=backend).failure(), Conflict)
        assert status(later, on=backend).unwrap().state == "queued"
        if isinstance(backend, Cancels):
            cancel(later, on=backend).unwrap()


def _is_unknown(ref: Ref[int, object], backend: Backend) -> bool:
    seen = status(ref, on=backend)
    return isinstance(seen, Failure) and isinstance(seen.failure(), Unknown)


def _listing(backend: Backend) -> Lists:
    """The backend, as one that can list calls; skips the test otherwise."""
    if not isinstance(backend, Lists):
        pytest.skip("this backend does not have the capability Lists")
    on: Lists = backend
    return on
