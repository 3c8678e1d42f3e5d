"""The laws and promises of Onward as one test class, which every backend's tests subclass."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar, TypeVar, cast
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy
from msgspec import Raw
from msgspec.structs import replace
from returns.result import Failure, Result, Success

from onward import aio
from onward.backend import Backend, Cancels, Schedule, Schedules, Submission
from onward.backends.local import local
from onward.catalog import Catalog
from onward.fault import (
    BadPayload,
    Cancelled,
    Expired,
    Fault,
    Raised,
    TimedOut,
    Unknown,
    Unsupported,
)
from onward.flows.combinators import each, fused, identity, keep, tee, together
from onward.flows.combinators import given as given_
from onward.flows.flow import AnyFlow, Call
from onward.interpret import (
    cancel,
    pause_schedule,
    result,
    results,
    resume_schedule,
    run,
    schedule,
    schedules,
    status,
    submit,
    submit_all,
    unschedule,
)
from onward.plan import VERSION, Args, ChainNode, Plan, StepNode
from onward.testing import tasks
from onward.testing.attempts import AttemptLaws, until
from onward.testing.oracle import Observed, comparable, expect
from onward.testing.strategies import flows, numbers, parcels, pure_steps, steps
from onward.testing.tasks import Choice, Odd, Patch, TooSmall

Law = TypeVar("Law", bound=Callable[..., None])


class BackendSuite(AttemptLaws):
    """What users rely on, whichever the backend.

    Subclass it in a test module, and give the backend as a fixture. Where the backend needs a
    worker, the fixture starts one that serves `BackendSuite.catalog`, in whichever process.

    Example:
        >>> import pytest
        >>> from onward import local
        >>> from onward.testing import BackendSuite
        >>> class TestLocal(BackendSuite):
        ...     @pytest.fixture(scope="class")
        ...     @classmethod
        ...     def backend(cls, traces):
        ...         return local()
    """

    examples: ClassVar[int] = 50
    """How many examples each law is tried with."""

    patience: ClassVar[float] = 60.0
    """How long a result is waited for, in seconds, before that counts as a hang."""

    catalog: ClassVar[Catalog] = Catalog.of(tasks)
    """What the backend's workers serve."""

    @pytest.fixture(scope="class")
    @classmethod
    def traces(cls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
        """The folder in which tasks leave their traces; workers must inherit the environment."""
        folder = tmp_path_factory.mktemp("traces")
        before = os.environ.get(tasks.TRACE)
        os.environ[tasks.TRACE] = str(folder)
        yield folder
        if before is None:
            del os.environ[tasks.TRACE]
        else:
            os.environ[tasks.TRACE] = before

    @pytest.fixture(scope="class")
    @classmethod
    def backend(cls, traces: Path) -> Backend:
        """The backend under test."""
        raise NotImplementedError("give the backend as a class-scoped fixture named backend")

    # -- laws ---------------------------------------------------------------------------------

    def test_every_flow_means_what_the_oracle_says(self, backend: Backend, traces: Path) -> None:
        """Law 9, and with it most others: result and steps run are those of plain calls."""

        @self.holds(flows(), numbers())
        def law(flow: AnyFlow, n: int) -> None:
            assert self.observe(flow(n), backend, traces) == expect(flow, n)

    def test_run_and_submit_are_the_same(self, backend: Backend, traces: Path) -> None:
        """Law 9: `run` is `submit` and `result`, on every backend and on local()."""
        here = local()

        @self.holds(flows(), numbers())
        def law(flow: AnyFlow, n: int) -> None:
            ran = comparable(run(flow(n), on=backend, timeout=self.patience))
            assert ran == comparable(run(flow(n), on=backend))
            assert ran == comparable(run(flow(n), on=here))

    def test_chains_associate(self, backend: Backend, traces: Path) -> None:
        """Law 1: (a >> b) >> c is a >> (b >> c)."""

        @self.holds(steps(), flows(3), flows(3), numbers())
        def law(a: AnyFlow, b: AnyFlow, c: AnyFlow, n: int) -> None:
            left, right = (a >> b) >> c, a >> (b >> c)
            assert left == right
            assert self.observe(left(n), backend, traces) == self.observe(right(n), backend, traces)

    def test_identity_changes_nothing(self, backend: Backend, traces: Path) -> None:
        """Law 1: a >> identity is a, and so is identity >> a."""

        @self.holds(flows(4), numbers())
        def law(a: AnyFlow, n: int) -> None:
            alone = self.observe(a(n), backend, traces)
            assert self.observe((a >> identity)(n), backend, traces) == alone
            assert self.observe((identity >> a)(n), backend, traces) == alone

    def test_nothing_runs_after_a_failure(self, backend: Backend, traces: Path) -> None:
        """Law 2: short circuit."""

        @self.holds(flows(3), numbers())
        def law(after: AnyFlow, n: int) -> None:
            seen = self.observe((tasks.halve >> after)(2 * n + 1), backend, traces)
            assert seen == Observed(Failure(Odd(2 * n + 1)), Counter([f"halve {2 * n + 1} 1"]))

    def test_together_is_the_pair(self, backend: Backend, traces: Path) -> None:
        """Law 3: both values; all branches settle; the leftmost failure."""

        @self.holds(flows(4), flows(4), numbers())
        def law(a: AnyFlow, b: AnyFlow, n: int) -> None:
            one, other = (self.observe(flow(n), backend, traces) for flow in (a, b))
            both = self.observe(together(a, b)(n), backend, traces)
            assert both.trace == one.trace + other.trace
            failed = [seen.result for seen in (one, other) if isinstance(seen.result, Failure)]
            if failed:
                assert comparable(both.result) == comparable(failed[0])
            else:
                assert both.result == Success((one.result.unwrap(), other.result.unwrap()))

        assert run(together(tasks.inc)(1), on=backend) == Success((2,))

    def test_keep_gives_the_value_beside_the_steps(self, backend: Backend, traces: Path) -> None:
        """Law 3: keep(f) is together(identity, f)."""

        @self.holds(flows(4), numbers())
        def law(a: AnyFlow, n: int) -> None:
            kept = self.observe(keep(a)(n), backend, traces)
            assert kept == self.observe(together(identity, a)(n), backend, traces)

    def test_tee_runs_the_step_and_passes_the_value_on(
        self, backend: Backend, traces: Path
    ) -> None:
        """tee(f)(x) is x where f(x) has a value, and else fails as f does."""

        @self.holds(flows(4), numbers())
        def law(a: AnyFlow, n: int) -> None:
            alone = self.observe(a(n), backend, traces)
            seen = self.observe(tee(a)(n), backend, traces)
            assert seen.trace == alone.trace
            passed = alone.result.map(lambda _: n)
            assert comparable(seen.result) == comparable(passed)

    def test_nothing_runs_after_a_tee_that_failed(self, backend: Backend, traces: Path) -> None:
        """Law 2, also where it does not matter what the step gives."""
        for first, counted in ((keep(tasks.halve), tasks.add), (tee(tasks.halve), tasks.inc)):
            seen = self.observe((cast(AnyFlow, first) >> counted)(3), backend, traces)
            assert seen == Observed(Failure(Odd(3)), Counter(["halve 3 1"]))

    def test_each_of_a_chain_is_a_chain_of_eachs(self, backend: Backend, traces: Path) -> None:
        """Law 4: for pure steps, in order."""
        counts = st.none() | st.integers(1, 4)

        @self.holds(pure_steps(), pure_steps(), st.lists(numbers(), max_size=6), counts, counts)
        def law(
            a: AnyFlow, b: AnyFlow, ns: list[int], limit: int | None, chunk: int | None
        ) -> None:
            whole = each(a >> b, limit=limit, chunk=chunk)
            parts = each(a) >> each(b)
            seen = self.observe(whole(ns), backend, traces)
            assert seen == self.observe(parts(ns), backend, traces)
            assert seen.result == Success([expect(a >> b, n).result.unwrap() for n in ns])

    def test_each_of_nothing_is_nothing(self, backend: Backend, traces: Path) -> None:
        """Law 4: the empty list gives the empty list."""
        assert self.observe(each(tasks.inc)([]), backend, traces) == Observed(Success([]))

    def test_each_keeps_the_order(self, backend: Backend, traces: Path) -> None:
        """Law 4: however long the items take."""
        waits = [0.12, 0.0, 0.06, 0.0]
        assert run(each(tasks.linger)(waits), on=backend) == Success(waits)

    def test_each_keeps_to_its_limit(self, backend: Backend, traces: Path) -> None:
        """So many items in flight at a time, and no more; with no limit, side by side."""
        limited = run(each(tasks.crowd, limit=2)(range(6)), on=backend).unwrap()
        assert max(limited) <= 2
        assert max(run(each(tasks.crowd)(range(4)), on=backend).unwrap()) > 1

    def test_each_fails_with_its_first_failure(self, backend: Backend, traces: Path) -> None:
        """All items settle, and the first in the list that failed is the outcome."""
        seen = self.observe(each(tasks.halve)([2, 3, 4, 5]), backend, traces)
        assert seen == Observed(
            Failure(Odd(3)), Counter(["halve 2 1", "halve 3 1", "halve 4 1", "halve 5 1"])
        )

    def test_rescue_of_a_success_is_the_identity(self, backend: Backend, traces: Path) -> None:
        """Law 5."""

        @self.holds(pure_steps(), numbers())
        def law(a: AnyFlow, n: int) -> None:
            alone = self.observe(a(n), backend, traces)
            assert self.observe(a.rescue(tasks.mend)(n), backend, traces) == alone

    def test_rescue_of_a_failure_is_the_handler(self, backend: Backend, traces: Path) -> None:
        """Law 5: applied to the error as the value that it was."""
        for flow, n, mended in (
            (tasks.halve, 3, 4),
            (given_(tasks.shrink, by=5), 1, 4),
            (tasks.picky, 3, -len("picky")),
            (tasks.hopeless, 1, -len("hopeless")),
            (tasks.halve.rescue(tasks.mend_some) >> tasks.inc, 3, 1),
            (tasks.picky.rescue(tasks.mend_some), 3, len("picky")),
        ):
            rescued = cast(AnyFlow, flow).rescue(tasks.mend)
            assert run(rescued(n), on=backend) == Success(mended), rescued

    def test_given_is_the_call_with_all_arguments(self, backend: Backend, traces: Path) -> None:
        """Law 6."""

        @self.holds(numbers(), st.integers(0, 5))
        def law(n: int, by: int) -> None:
            whole = self.observe(tasks.shrink(n, by), backend, traces)
            assert self.observe(given_(tasks.shrink, by)(n), backend, traces) == whole
            assert self.observe(given_(tasks.shrink, by=by)(n), backend, traces) == whole

    def test_fused_is_the_flow(self, backend: Backend, traces: Path) -> None:
        """Law 7."""

        @self.holds(flows(5), numbers())
        def law(flow: AnyFlow, n: int) -> None:
            apart = self.observe(flow(n), backend, traces)
            assert self.observe(fused(flow)(n), backend, traces) == apart

    def test_values_survive_the_wire(self, backend: Backend, traces: Path) -> None:
        """Law 8: as what their annotation says."""

        @self.holds(parcels())
        def law(parcel: tasks.Parcel) -> None:
            back = run(tasks.echo(parcel), on=backend)
            assert back == Success(parcel)
            assert type(back.unwrap()) is tasks.Parcel

    def test_data_is_not_taken_for_a_type(self, backend: Backend, traces: Path) -> None:
        """Law 8: whatever its fields are called, and however it comes to who takes several."""
        assert run((tasks.measure >> tasks.name_kind)(2), on=backend) == Success("Reading")
        assert run((tasks.measure_some >> tasks.name_kind)(2), on=backend) == Success("Reading")
        assert run((tasks.measure_some >> tasks.name_kind)(3), on=backend) == Success("Gap")
        several = each(tasks.measure_some) >> tasks.name_kinds
        assert run(several([2, 3]), on=backend) == Success(["Reading", "Gap"])
        assert run(tasks.misread.rescue(tasks.name_error)(2), on=backend) == Success("Reading")

    def test_what_is_unset_stays_unset(self, backend: Backend, traces: Path) -> None:
        """Law 8: and what a constraint forbids is refused."""
        flow = tasks.patched >> tasks.patched
        assert run(flow(Patch(size=1)), on=backend) == Success(Patch(size=1))
        assert run(flow(Patch(name=None)), on=backend) == Success(Patch())
        assert isinstance(run(flow(Patch(size=-1)), on=backend).failure(), BadPayload)

    def test_what_is_called_is_what_counts(self, backend: Backend, traces: Path) -> None:
        """And not what it wraps: whether it is awaited."""
        assert run((tasks.bridged >> tasks.wrapped)(1), on=backend) == Success(3)

    def test_wrong_values_are_refused_first(self, backend: Backend, traces: Path) -> None:
        """Law 8: before anything is submitted."""
        before = set(traces.iterdir())
        wrong = cast(int, "three")
        refused = submit((tasks.inc >> tasks.inc)(wrong), on=backend).failure()
        assert isinstance(refused, BadPayload)
        assert (refused.task, refused.path) == ("inc >> inc", "$.n")
        assert isinstance(run(each(tasks.inc)([1, wrong]), on=backend).failure(), BadPayload)
        assert set(traces.iterdir()) == before

    # -- faults -------------------------------------------------------------------------------

    def test_domain_errors_arrive_as_themselves(self, backend: Backend, traces: Path) -> None:
        """And are not retried."""
        assert run(tasks.halve(3), on=backend) == Failure(Odd(3))
        assert run((tasks.inc >> given_(tasks.shrink, by=5))(1), on=backend) == Failure(
            TooSmall(2, 5)
        )

    def test_exceptions_arrive_as_raised(self, backend: Backend, traces: Path) -> None:
        """With the exception's type and text, the worker's traceback, and the attempts made."""
        fault = run(tasks.hopeless(1), on=backend).failure()
        assert isinstance(fault, Raised)
        assert (fault.task, fault.error_type, fault.message) == (
            "hopeless",
            "OSError",
            "no hope for 1",
        )
        assert fault.attempts == 2
        assert "in hopeless" in fault.traceback
        assert "OSError" in fault.kinds

    def test_what_a_task_promised_is_checked(self, backend: Backend, traces: Path) -> None:
        """A value that is not what the annotation says is a fault of the task that gave it."""
        fault = run((tasks.lie >> tasks.inc)(1), on=backend).failure()
        assert isinstance(fault, BadPayload)
        assert fault.task == "lie"

    def test_a_task_cannot_end_the_worker(self, backend: Backend, traces: Path) -> None:
        """SystemExit is a fault like another, and the next call runs."""
        fault = run(tasks.leave(3), on=backend).failure()
        assert isinstance(fault, Raised)
        assert fault.error_type == "SystemExit"
        assert run(tasks.inc(1), on=backend) == Success(2)

    def test_an_attempt_ends_with_its_timeout(self, backend: Backend, traces: Path) -> None:
        """As TimedOut; one in time is not touched."""
        fault = run(tasks.oversleep(2.0), on=backend).failure()
        assert isinstance(fault, TimedOut)
        assert (fault.task, fault.seconds, fault.still_running) == ("oversleep", 0.2, False)
        assert run(tasks.oversleep(0.0), on=backend) == Success(0.0)

    def test_a_task_that_nobody_serves_is_unknown(self, backend: Backend, traces: Path) -> None:
        """Within bounded time, wherever in a flow it is."""
        root = ChainNode((StepNode(task="inc"), StepNode(task="ghost")))
        plan = Plan(
            v=VERSION,
            id=os.urandom(16).hex(),
            flow="inc >> ghost",
            root=root,
            args=Args((Raw(b"1"),)),
        )
        id = backend.submit(Submission(plan)).unwrap()
        outcome = backend.outcome(id, self.patience).unwrap()
        assert outcome is not None
        fault = tasks.inc.read(outcome).failure()
        assert isinstance(fault, Unknown)
        assert fault.task == "ghost"

    # -- interpreters -------------------------------------------------------------------------

    def test_a_ref_is_taken_up_by_its_text(self, backend: Backend, traces: Path) -> None:
        """As another process would."""
        flow = tasks.inc >> tasks.halve
        text = str(submit(flow(2), on=backend).unwrap())
        assert result(flow.ref(text), on=backend, timeout=self.patience) == Failure(Odd(3))

    def test_an_id_that_nobody_knows_is_unknown(self, backend: Backend, traces: Path) -> None:
        """To result, results and status alike."""
        ref = tasks.inc.ref("0" * 32)
        assert isinstance(result(ref, on=backend).failure(), Unknown)
        assert isinstance(status(ref, on=backend).failure(), Unknown)
        [(_, found)] = results([ref], on=backend)
        assert isinstance(found.failure(), Unknown)

    def test_a_key_is_submitted_once(self, backend: Backend, traces: Path) -> None:
        """And gives the same ref each time, also once there is an outcome."""
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
        """Whatever its hash seed, and in whichever order a dict was filled."""
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
        for seed in ("1", "2"):
            elsewhere = subprocess.run(
                [sys.executable, "-c", program, key],
                env=os.environ | {"PYTHONHASHSEED": seed},
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

    def test_many_are_submitted_and_come_as_they_complete(
        self, backend: Backend, traces: Path
    ) -> None:
        """Each once, and the progress counts up to all of them."""
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
        ref = submit(tasks.linger(0.5), on=backend).unwrap()
        fault = result(ref, on=backend, timeout=0.0).failure()
        assert isinstance(fault, TimedOut)
        assert fault.still_running
        [(_, early)] = results([ref], on=backend, timeout=0.0)
        assert early == Failure(fault)
        assert result(ref, on=backend, timeout=self.patience) == Success(0.5)

    def test_status_tells_where_a_call_is(self, backend: Backend, traces: Path) -> None:
        """Queued, running with its step and progress, done, or failed."""
        waiting = submit(tasks.inc(1), on=backend, delay=600).unwrap()
        assert status(waiting, on=backend).unwrap().state == "queued"
        lingering = submit((tasks.linger >> tasks.linger)(1.0), on=backend).unwrap()
        self.until(lambda: status(lingering, on=backend).unwrap().progress is not None)
        now = status(lingering, on=backend).unwrap()
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

    # -- schedules ----------------------------------------------------------------------------

    @pytest.fixture
    @staticmethod
    def names(backend: Backend) -> Iterator[tuple[str, str]]:
        """Names for the schedules of one test, which are taken away after it."""
        names = (f"suite.{os.urandom(8).hex()}", f"suite.{os.urandom(8).hex()}")
        yield names
        if isinstance(backend, Schedules):
            for name in names:
                unschedule(name, on=backend)

    def test_a_schedule_is_declared_again_and_again(
        self, backend: Backend, names: tuple[str, str]
    ) -> None:
        """There is one of a name, as it was declared last, until it is taken away."""
        clock = self.clock(backend)
        name, other = names
        self.declare(Schedule(name, "inc", cron="0 0 1 1 *"), tasks.inc(1), clock)
        self.declare(Schedule(name, "double", cron="30 2 28 2 *"), tasks.double(1), clock)
        self.declare(Schedule(other, "inc", cron="0 0 1 1 *"), tasks.inc(2), clock)
        assert unschedule(name, on=clock) == Success(None)
        self.until(lambda: self.listed(name, clock) == [])
        assert len(self.listed(other, clock)) == 1
        assert isinstance(unschedule(name, on=clock).failure(), Unknown)
        assert asyncio.run(aio.unschedule(other, on=clock)) == Success(None)

    def test_a_schedule_goes_by_its_time_zone(
        self, backend: Backend, names: tuple[str, str]
    ) -> None:
        """Where the engine tells when it runs next, that is the hour there."""
        clock = self.clock(backend)
        name, _ = names
        made = schedule(
            tasks.inc(1), on=clock, name=name, cron="30 2 28 2 *", timezone="Asia/Tokyo"
        )
        if is_unsupported(made):
            pytest.skip("this backend knows no time zones")
        next_at = made.unwrap().next_at
        if next_at is not None:
            assert next_at.tzinfo is not None
            there = next_at.astimezone(ZoneInfo("Asia/Tokyo"))
            assert (there.month, there.day, there.hour, there.minute) == (2, 28, 2, 30)

    def test_a_paused_schedule_stays_paused(self, backend: Backend, names: tuple[str, str]) -> None:
        """Also when it is declared again, until it is resumed."""
        clock = self.clock(backend)
        name, unknown = names
        yearly = Schedule(name, "inc", cron="0 0 1 1 *")
        self.declare(yearly, tasks.inc(1), clock)
        if is_unsupported(pause_schedule(name, on=clock)):
            pytest.skip("this backend cannot pause a schedule")
        self.declare(replace(yearly, cron="30 2 28 2 *", paused=True), tasks.inc(1), clock)
        assert asyncio.run(aio.resume_schedule(name, on=clock)) == Success(None)
        self.declare(yearly, tasks.inc(1), clock)
        assert isinstance(pause_schedule(unknown, on=clock).failure(), Unknown)
        assert isinstance(resume_schedule(unknown, on=clock).failure(), Unknown)

    def test_each_run_of_a_schedule_is_a_call_of_its_own(
        self, backend: Backend, names: tuple[str, str], traces: Path
    ) -> None:
        """With an id by which its outcome can be had."""
        clock = self.clock(backend)
        name, _ = names
        n, times, patience = int.from_bytes(os.urandom(4)), 2, self.patience
        made = schedule(tasks.inc(n), on=clock, name=name, every=1)
        if is_unsupported(made):
            times, patience = 1, self.patience + 60
            made = schedule(tasks.inc(n), on=clock, name=name, cron="* * * * *")
        made.unwrap()
        self.until(lambda: len(self.calls_on(n, traces)) >= times, patience)
        for id in self.calls_on(n, traces):
            assert result(tasks.inc.ref(id), on=clock, timeout=self.patience) == Success(n + 1)

    def test_a_schedule_that_is_paused_or_taken_away_runs_nothing(
        self, backend: Backend, names: tuple[str, str], traces: Path
    ) -> None:
        """While another one goes on."""
        clock = self.clock(backend)
        name, metronome = names
        n, beat = int.from_bytes(os.urandom(4)), int.from_bytes(os.urandom(4))
        if is_unsupported(schedule(tasks.inc(n), on=clock, name=name, every=1)):
            pytest.skip("this backend's schedules go by cron alone")
        schedule(tasks.inc(beat), on=clock, name=metronome, every=1).unwrap()

        def comes_again(number: int, times: int = 1) -> None:
            more = len(self.calls_on(number, traces)) + times
            self.until(lambda: len(self.calls_on(number, traces)) >= more)

        def is_still() -> bool:
            comes_again(beat, 2)  # What had begun has arrived by then.
            before = len(self.calls_on(n, traces))
            comes_again(beat, 2)
            return len(self.calls_on(n, traces)) == before

        comes_again(n)
        if not is_unsupported(pause_schedule(name, on=clock)):
            assert is_still()
            assert resume_schedule(name, on=clock) == Success(None)
            comes_again(n)
        assert unschedule(name, on=clock) == Success(None)
        assert is_still()

    # -- tools --------------------------------------------------------------------------------

    def holds(self, *strategies: SearchStrategy[Any]) -> Callable[[Law], Law]:
        """Tries a law at once, on as many examples as the class says."""

        def attempt(law: Law) -> Law:
            tried = settings(
                max_examples=self.examples,
                deadline=None,
                suppress_health_check=[HealthCheck.too_slow, HealthCheck.nested_given],
            )(given(*strategies)(law))
            tried()
            return law

        return attempt

    def observe(self, call: Call[Any, Any], backend: Backend, traces: Path) -> Observed:
        """Runs a call; gives its result and the trace that its tasks left."""
        submitted = submit(call, on=backend)
        if isinstance(submitted, Failure):
            return Observed(submitted)
        ref = submitted.unwrap()
        found = result(ref, on=backend, timeout=self.patience)
        return Observed(found, self.trace_of(ref.id, traces))

    def trace_of(self, id: str, traces: Path) -> Counter[str]:
        """The trace that a call left; it is taken away."""
        file = traces / id
        if not file.exists():
            return Counter()
        lines = file.read_text().splitlines()
        file.unlink()
        return Counter(lines)

    def clock(self, backend: Backend) -> Schedules:
        """The backend under test, if it makes calls by the clock; else the test is skipped."""
        if not isinstance(backend, Schedules):
            pytest.skip("this backend does not have the capability Schedules")
        return backend

    def declare(self, expected: Schedule, call: Call[Any, Any], clock: Schedules) -> None:
        """Declares a schedule, and sees that it is what was expected, also in the list of all."""
        made = schedule(call, on=clock, name=expected.name, cron=expected.cron).unwrap()
        assert replace(made, next_at=None) == expected
        self.until(lambda: self.listed(expected.name, clock) == [expected])

    def listed(self, name: str, clock: Schedules) -> list[Schedule]:
        """What the list of all schedules has by this name, but for when it runs next."""
        found = schedules(on=clock).unwrap()
        return [replace(one, next_at=None) for one in found if one.name == name]

    def calls_on(self, n: int, traces: Path) -> list[str]:
        """The ids of the calls that have run `inc` on this number."""
        return [file.name for file in traces.iterdir() if file.read_text() == f"inc {n} 1\n"]

    def until(self, condition: Callable[[], bool], patience: float | None = None) -> None:
        """Waits for what has to come to be true, and fails if it does not."""
        until(condition, self.patience if patience is None else patience)


def is_unsupported(answer: Result[Any, Fault]) -> bool:
    """Whether this is something that the backend's engine cannot do."""
    return isinstance(answer, Failure) and isinstance(answer.failure(), Unsupported)
