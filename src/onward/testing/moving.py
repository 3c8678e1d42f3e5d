"""The law of calls that change to another backend while they are under way."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from returns.result import Success

from onward.backend import Backend, Moves, Signals
from onward.backends.local import local
from onward.fault import Conflict, Moved
from onward.flows.passing import keep, spread
from onward.flows.waiting import awaits
from onward.interpret import history, move, result, send, status, submit
from onward.testing import tasks
from onward.testing.tasks import BY
from onward.testing.tools import Tools


class MovingLaws(Tools):
    """The law of `move`, as a part of `BackendSuite`."""

    def test_a_call_that_moves_goes_on(self, backend: Backend, traces: Path) -> None:
        """To a backend in this process and back: nothing runs twice, and its id stays."""
        if not isinstance(backend, Moves) or not isinstance(backend, Signals):
            pytest.skip("this backend does not have the capabilities Moves and Signals")
        if missing := {"awaits", "past"} - self.features(backend):
            pytest.skip(f"this backend has no {' and no '.join(sorted(missing))}")
        flow = tasks.inc >> keep(awaits(BY)) >> spread(tasks.shrink) >> tasks.inc
        here = local()
        ref = submit(flow(4), on=backend, tags=["nightly"]).unwrap()
        self.until(lambda: status(ref, on=backend).unwrap().state == "waiting")
        there = move(ref, on=backend, to=here).unwrap()
        assert move(ref, on=backend, to=here) == Success(there)
        assert isinstance(result(ref, on=backend, timeout=self.patience).failure(), Moved)
        assert history(ref, on=backend).unwrap().state == "moved"
        back = move(there, on=here, to=backend).unwrap()
        assert send(back, BY, 3, on=backend) == Success(None)
        assert result(back, on=backend, timeout=self.patience) == Success(3)
        found = history(back, on=backend).unwrap()
        assert (found.origin, found.tags) == (ref.id, ("nightly",))
        assert self.ran(ref.id, traces) == Counter(["0", "2", "3"])
        assert isinstance(move(back, on=backend, to=here).failure(), Conflict)
        here.close()
