"""The laws of submitted calls: refs, keys, results, status, delay, deadline, cancel."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from returns.result import Failure, Success

from onward import aio
from onward.backend import Backend, Cancels, Status
from onward.backends.local import local
from onward.fault import (
    Cancelled,
    Expired,
    TimedOut,
    Unknown,
)
from onward.flows.combinators import given as given_
from onward.interpret import (
    cancel,
    result,
    results,
    run,
    status,
    submit,
    submit_all,
)
from onward.testing import tasks
from onward.testing.kinds import Choice, Odd
from onward.testing.tools import Tools


class CallLaws(Tools):
    """The laws of submitted calls, as a part of `BackendSuite`."""

    def test_a_ref_can_be_made_of_its_text(self, backend: Backend, traces: Path) -> None:
        """As another process would."""
        flow = tasks.inc >> tasks.halve
        text = str(submit(flow(2), on=backend).unwrap())
        assert result(flow.ref(text), on=backend, timeout=self.patience) == Failure(Odd(3))

    def test_an_id_that_nobody_knows_is_unknown(self, backend: Backend, traces: Path) -> None:
        """For result, results and status alike."""
        ref = tasks.inc.ref("0" * 32)
        assert isinstance(result(ref, on=backend).failure(), Unknown)
        assert isinstance(status(ref, on=backend).failure(), Unknown)
        [(_, found)] = results([ref], on=backend)
        assert isinstance(found.failure(), Unknown)

    def test_a_key_is_submitted_once(self, backend: Backend, traces: Path) -> None:
        """And every submission gives the same ref, also after the call has an outcome."""
        key = os.urandom(8).hex()
        first = submit(tasks.inc(1), on=backend, key=key).unwrap()
        again = submit(tasks.inc(1), on=backend, key=key).unwrap()
        assert again == first
        assert result(first, on=backend, timeout=self.patience) == Success(2)
        assert submit(tasks.inc(1), on=backend, key=key).unwrap() == first
        assert run(tasks.inc(1), on=backend, key=key) == Success(2)
        assert self.trace_of(first.id, traces) == Counter(["inc 1 1"])

    def test_a_key_belongs_to_its_flow(self, backend: Backend, traces: Path) -> None:
        """The same key on another flow is another call."""
        key = os.urandom(8).hex()
        assert run(tasks.inc(1), on=backend, key=key) == Success(2)
        assert run((tasks.inc >> tasks.inc)(1), on=backend, key=key) == Success(3)

    def test_a_key_gives_the_same_ref_in_every_process(
        self, backend: Backend, traces: Path
    ) -> None:
        """With any hash seed, and any order of a dict's entries."""
        key = os.urandom(8).hex()
        words = frozenset({"red", "green", "blue", "black"})
        flow = given_(tasks.among, Choice(words, {"a": 1, "b": 2}, "n"))
        ref = submit(flow("red"), on=backend, key=key).unwrap()
        here = local()
        id = submit(flow("red"), on=here, key=key).unwrap().id
        here.close()
        program = (
            "import sys; from onward import given, local, submit; from onward.testing import tasks;"
            "w = frozenset({'black', 'blue', 'green', 'red'});"
            "flow = given(tasks.among, tasks.Choice(w, {'b': 2, 'a': 1}, 'n'));"
            "print(submit(flow('red'), on=local(), key=sys.argv[1]).unwrap())"
        )
        elsewhere = subprocess.run(
            [sys.executable, "-c", program, key],
            env=os.environ | {"PYTHONHASHSEED": "1"},
            capture_output=True,
            text=True,
            check=True,
        )
        assert elsewhere.stdout.strip() == id
        shuffled = given_(tasks.among, Choice(words, {"b": 2, "a": 1}, "n"))
        assert submit(shuffled("red"), on=backend, key=key).unwrap().id == ref.id
        assert result(ref, on=backend, timeout=self.patience) == Success(True)
        other = given_(tasks.among, Choice(words, {"a": 1, "b": 2}, "m"))
        assert submit(other("red"), on=backend, key=key).unwrap().id != ref.id

    def test_many_results_come_as_they_complete(self, backend: Backend, traces: Path) -> None:
        """Each comes once, and the progress counts up to all of them."""
        seen: list[tuple[int, int]] = []
        refs = submit_all([tasks.inc(n) for n in range(20)], on=backend).unwrap()
        found = dict(
            results(
                refs,
                on=backend,
                timeout=self.patience,
                progress=lambda done, total: seen.append((done, total)),
            )
        )
        assert [found[ref] for ref in refs] == [Success(n + 1) for n in range(20)]
        assert seen == [(done, 20) for done in range(1, 21)]
        assert backend.settled([]) == Success({})

    def test_a_wait_that_ends_leaves_the_call_alone(self, backend: Backend, traces: Path) -> None:
        """It is TimedOut and still running, and its outcome comes later."""
        n = int.from_bytes(os.urandom(4))
        ref = submit(tasks.hold(n), on=backend).unwrap()
        fault = result(ref, on=backend, timeout=0.0).failure()
        assert isinstance(fault, TimedOut)
        assert fault.still_running
        [(_, early)] = results([ref], on=backend, timeout=0.0)
        assert early == Failure(fault)
        Path(traces, f"go.{n}").touch()
        assert result(ref, on=backend, timeout=self.patience) == Success(n)

    def test_status_says_where_a_call_is(self, backend: Backend, traces: Path) -> None:
        """Queued, running with its step and progress, done, or failed."""
        waiting = submit(tasks.inc(1), on=backend, delay=600).unwrap()
        assert status(waiting, on=backend).unwrap().state == "queued"
        lingering = submit((tasks.linger >> tasks.linger)(1.0), on=backend).unwrap()
        seen: list[Status] = []

        def tells_progress() -> bool:
            seen.append(status(lingering, on=backend).unwrap())
            return seen[-1].progress is not None

        self.until(tells_progress)
        now = seen[-1]
        assert (now.state, now.task, now.attempt) == ("running", "linger", 1)
        assert now.progress is not None
        assert now.progress.note == "lingering"
        failed = submit(tasks.halve(1), on=backend).unwrap()
        result(failed, on=backend, timeout=self.patience)
        assert status(failed, on=backend).unwrap().state == "failed"
        assert result(lingering, on=backend, timeout=self.patience) == Success(1.0)
        assert status(lingering, on=backend).unwrap().state == "done"

    def test_a_delay_holds_a_call_back(self, backend: Backend, traces: Path) -> None:
        """For at least so long."""
        start = time.monotonic()
        assert run(tasks.inc(1), on=backend, delay=timedelta(seconds=0.5)) == Success(2)
        assert time.monotonic() - start >= 0.5
        assert run(tasks.inc(1), on=backend, delay=timedelta(seconds=-5)) == Success(2)

    def test_a_deadline_ends_a_call(self, backend: Backend, traces: Path) -> None:
        """As Expired: past already, while it waits, or while it runs."""
        past = datetime.now(UTC) - timedelta(seconds=1)
        assert isinstance(run(tasks.inc(1), on=backend, deadline=past).failure(), Expired)
        late = run(tasks.inc(1), on=backend, delay=600, deadline=0.3, timeout=self.patience)
        assert isinstance(late.failure(), Expired)
        ref = submit(tasks.linger(600.0), on=backend, deadline=0.5).unwrap()
        assert isinstance(result(ref, on=backend, timeout=self.patience).failure(), Expired)
        assert status(ref, on=backend).unwrap().state == "expired"

    def test_a_cancelled_call_ends(self, backend: Backend, traces: Path) -> None:
        """As Cancelled, whether it waits or runs; one that has an outcome keeps it."""
        if not isinstance(backend, Cancels):
            pytest.skip("this backend does not have the capability Cancels")
        on: Cancels = backend
        waiting = submit(tasks.inc(1), on=on, delay=600).unwrap()
        running = submit((tasks.linger >> tasks.linger)(600.0), on=on).unwrap()
        self.until(lambda: status(running, on=on).unwrap().progress is not None)
        for ref in (waiting, running):
            assert cancel(ref, on=on) == Success(None)
            found = result(ref, on=on, timeout=self.patience)
            assert isinstance(found.failure(), Cancelled)
            assert status(ref, on=on).unwrap().state == "cancelled"
        done = submit(tasks.inc(1), on=on).unwrap()
        assert result(done, on=on, timeout=self.patience) == Success(2)
        assert cancel(done, on=on) == Success(None)
        assert result(done, on=on) == Success(2)
        assert isinstance(cancel(tasks.inc.ref("0" * 32), on=on).failure(), Unknown)

    def test_awaiting_gives_the_same(self, backend: Backend, traces: Path) -> None:
        """On any loop, one after another."""

        async def main() -> None:
            assert await aio.run(tasks.inc(1), on=backend) == Success(2)
            ref = (await aio.submit((tasks.inc >> tasks.halve)(2), on=backend)).unwrap()
            assert await aio.result(ref, on=backend) == Failure(Odd(3))
            assert (await aio.status(ref, on=backend)).unwrap().state == "failed"
            refs = (await aio.submit_all([tasks.double(n) for n in range(5)], on=backend)).unwrap()
            found = {ref: got async for ref, got in aio.results(refs, on=backend)}
            assert [found[ref] for ref in refs] == [Success(2 * n) for n in range(5)]

        for _ in range(3):
            asyncio.run(main())
