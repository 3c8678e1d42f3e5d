"""The laws of composition."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import cast

from hypothesis import strategies as st
from returns.result import Failure, Success

from onward.backend import Backend
from onward.backends.local import local
from onward.fault import Fault
from onward.flows.cases import case
from onward.flows.combinators import fused, identity
from onward.flows.combinators import given as given_
from onward.flows.fanouts import each, together
from onward.flows.flow import AnyFlow
from onward.flows.passing import fixed, keep, spread, tee
from onward.interpret import (
    run,
)
from onward.testing import choices, tasks
from onward.testing.kinds import Beyond, Even, Odd, Uneven
from onward.testing.oracle import Observed, comparable, expect
from onward.testing.strategies import flows, numbers, pure_steps, steps
from onward.testing.tools import Tools


class CompositionLaws(Tools):
    """The laws of composition, as a part of `BackendSuite`."""

    def test_every_flow_means_what_the_oracle_says(self, backend: Backend, traces: Path) -> None:
        """Law 9, and most others: the result and the steps are those of plain calls."""

        @self.holds(flows(features=self.features(backend)), numbers())
        def law(flow: AnyFlow, n: int) -> None:
            assert self.observe(flow(n), backend, traces) == expect(flow, n)

    def test_run_and_submit_are_the_same(self, backend: Backend, traces: Path) -> None:
        """Law 9: `run` is `submit` and `result`, on every backend and on local()."""
        here = local()

        @self.holds(flows(features=self.features(backend)), numbers())
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
        """Law 3: both values; all branches finish; the leftmost failure is the outcome."""

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

    def test_keep_gives_the_input_and_the_value(self, backend: Backend, traces: Path) -> None:
        """Law 3: keep(f) is together(identity, f)."""

        @self.holds(flows(4), numbers())
        def law(a: AnyFlow, n: int) -> None:
            kept = self.observe(keep(a)(n), backend, traces)
            assert kept == self.observe(together(identity, a)(n), backend, traces)

    def test_tee_runs_the_step_and_passes_the_input_on(
        self, backend: Backend, traces: Path
    ) -> None:
        """tee(f)(x) is x if f(x) has a value, and fails as f(x) does otherwise."""

        @self.holds(flows(4), numbers())
        def law(a: AnyFlow, n: int) -> None:
            alone = self.observe(a(n), backend, traces)
            seen = self.observe(tee(a)(n), backend, traces)
            assert seen.trace == alone.trace
            passed = alone.result.map(lambda _: n)
            assert comparable(seen.result) == comparable(passed)

    def test_spread_is_the_call_with_all_items(self, backend: Backend, traces: Path) -> None:
        """Law 6: spread(f)((x, y)) is f(x, y)."""

        @self.holds(flows(3), numbers(), st.integers(0, 5))
        def law(after: AnyFlow, n: int, by: int) -> None:
            whole = tasks.shrink >> after
            seen = self.observe(spread(whole)((n, by)), backend, traces)
            assert seen == self.observe(whole(n, by), backend, traces)
            joined = self.observe(
                (together(tasks.inc, tasks.double) >> spread(tasks.shrink))(n), backend, traces
            )
            alone = self.observe(tasks.shrink(n + 1, 2 * n), backend, traces)
            assert comparable(joined.result) == comparable(alone.result)

    def test_fixed_is_the_call_with_its_own_arguments(self, backend: Backend, traces: Path) -> None:
        """Law 6: fixed(f, *k)(x) is f(*k), whatever x is."""

        @self.holds(flows(4), numbers(), st.integers(0, 5))
        def law(a: AnyFlow, n: int, by: int) -> None:
            alone = self.observe(a(by), backend, traces)
            assert self.observe(fixed(a, by)(n), backend, traces) == alone
            whole = self.observe(tasks.shrink(n, by), backend, traces)
            assert self.observe(fixed(tasks.shrink, n, by=by)("any"), backend, traces) == whole

        seen = self.observe((tasks.halve >> fixed(tasks.inc, 1))(3), backend, traces)
        assert seen == Observed(Failure(Odd(3)), Counter(["halve 3 1"]))

    def test_case_is_the_step_for_the_type(self, backend: Backend, traces: Path) -> None:
        """Law 6: case(A, f).case(B, g)(x) is f(x) if x is an A, and g(x) if it is a B."""

        @self.holds(flows(3), flows(3), numbers())
        def law(a: AnyFlow, b: AnyFlow, n: int) -> None:
            even, uneven = choices.of_even >> a, choices.of_uneven >> b
            choice = case(Even, even).case(Uneven, uneven)
            for chosen, alone in (
                (choice(Even(n)), even(Even(n))),
                (choice(Uneven(n)), uneven(Uneven(n))),
            ):
                seen = self.observe(chosen, backend, traces)
                assert seen == self.observe(alone, backend, traces)

    def test_a_case_is_told_by_what_travels(self, backend: Backend, traces: Path) -> None:
        """By its name or its JSON, alone or in a list, also what a branch gives, and failures."""
        sorted_out = case(int, tasks.inc).case(str, choices.of_text).case(None, choices.of_nothing)
        found = run(each(choices.sort >> sorted_out)([0, 1, 2]), on=backend)
        assert found == Success([1000, 101, 3])
        swapped = (
            case(Even, choices.next_to_even)
            .case(Uneven, choices.next_to_uneven)
            .case(None, fixed(choices.next_to_even, Even(6)))
        )
        numbered = case(Even, choices.of_even).case(Uneven, choices.of_uneven)
        whole = choices.sift >> swapped
        assert run(whole(2), on=backend) == Success(Uneven(3))
        assert run(each(whole >> numbered)([0, 1, 2]), on=backend) == Success([-7, 2, -3])
        passed = choices.sift >> case(Even, identity).case(Uneven, choices.next_to_uneven).case(
            None, fixed(choices.next_to_even, Even(6))
        )
        both = together(tasks.inc, passed >> numbered)
        assert run(both(4), on=backend) == Success((5, 4))
        assert run(both(0), on=backend) == Success((1, -7))
        handler = case(Odd, choices.mend_odd).case(Fault, choices.mend_fault)
        for flow, n, mended in ((tasks.halve, 3, 4), (tasks.picky, 3, -len("picky"))):
            assert run(flow.rescue(handler)(n), on=backend) == Success(mended)

    def test_nothing_runs_after_a_tee_that_failed(self, backend: Backend, traces: Path) -> None:
        """Law 2, also after a step whose value is dropped."""
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
        numbers = [*range(5)]
        pairs = [(n, n + 1) for n in numbers]
        assert run(each(keep(tasks.inc), limit=1)(numbers), on=backend) == Success(pairs)
        rows = [[1 + m for m in row] for row in (numbers, numbers, numbers)]
        inner = each(each(tasks.inc, limit=2), limit=1)
        assert run(inner([numbers] * 3), on=backend) == Success(rows)

    def test_each_keeps_to_its_limit(self, backend: Backend, traces: Path) -> None:
        """At most so many items run at a time; without a limit, several run side by side."""
        limited = run(each(tasks.crowd, limit=2)(range(6)), on=backend).unwrap()
        assert max(limited) <= 2
        assert run(each(tasks.meet)(range(2)), on=backend) == Success([True, True])

    def test_each_fails_with_its_first_failure(self, backend: Backend, traces: Path) -> None:
        """All items finish, and the failure of the first one in the list is the outcome."""
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
        announced = tasks.halve.rescue(tee(tasks.mend) >> tasks.mend)
        assert run(announced(3), on=backend) == Success(4)
        both = tasks.halve.rescue(together(tasks.mend, tasks.mend) >> tasks.add)
        assert run((both >> tasks.inc)(3), on=backend) == Success(9)

    def test_a_handler_takes_what_went_in(self, backend: Backend, traces: Path) -> None:
        """Law 5: with its input, a failure is the handler applied to the pair of both."""
        for flow, n, mended in (
            (tasks.halve, 3, 304),
            (tasks.inc >> tasks.halve, 2, 204),
            (given_(tasks.shrink, by=5), 1, 104),
            (tasks.picky, 3, 300 - len("picky")),
            (tasks.halve, 4, 2),
        ):
            rescued = cast(AnyFlow, flow).rescue(tasks.mend_pair, with_input=True)
            assert run(rescued(n), on=backend) == Success(mended), rescued
            among = (tasks.inc >> rescued >> tasks.double)(n - 1)
            assert run(among, on=backend) == Success(2 * mended), rescued
        spread_out = tasks.picky.rescue(spread(tasks.mend_both), with_input=True)
        assert run(spread_out(3), on=backend) == Failure(Beyond("picky"))
        assert run(spread_out(4), on=backend) == Success(4)

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

    def test_a_sync_wrapper_is_called_as_it_is(self, backend: Backend, traces: Path) -> None:
        """The called function decides whether it is awaited, and not the one that it wraps."""
        assert run((tasks.bridged >> tasks.wrapped)(1), on=backend) == Success(3)
