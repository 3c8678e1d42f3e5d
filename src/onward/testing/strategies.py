"""Hypothesis strategies for flows and values."""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, timedelta
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TypeAlias, cast

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from onward.backend.features import Feature
from onward.fault import Fault
from onward.flows.cases import case
from onward.flows.combinators import fused, given, identity
from onward.flows.fanouts import each, together
from onward.flows.flow import Flow
from onward.flows.nodes import Finally, Sleep, walk
from onward.flows.passing import fixed, keep, spread, tee
from onward.flows.waiting import sleep
from onward.testing import choices, tasks
from onward.testing.kinds import Beyond, Colour, Even, Odd, Parcel, TooSmall, Uneven

Numeric: TypeAlias = Flow[[int], int, Odd | TooSmall | Beyond]
"""A flow from a number to a number."""

Handler: TypeAlias = Flow[[Odd | TooSmall | Beyond | Fault], int, Beyond]
"""A flow from an error or fault to a number."""

MendingPair: TypeAlias = Flow[[tuple[int, Odd | TooSmall | Beyond | Fault]], int, Beyond]
"""A flow from a number, and what went wrong with it, to a number."""


def numbers() -> SearchStrategy[int]:
    """Numbers to start a flow with."""
    return st.integers(-20, 20)


def steps() -> SearchStrategy[Numeric]:
    """Single steps, sync and async: some fail, some raise, some retry."""
    plain = st.sampled_from(
        [
            tasks.inc,
            tasks.double,
            tasks.halve,
            tasks.picky,
            tasks.flaky,
            tasks.hopeless,
            cast(Numeric, identity),
        ]
    )
    return cast(
        SearchStrategy[Numeric],
        plain | st.integers(0, 5).map(lambda by: given(tasks.shrink, by=by)),
    )


def pure_steps() -> SearchStrategy[Numeric]:
    """Single steps that never fail."""
    return cast(SearchStrategy[Numeric], st.sampled_from([tasks.inc, tasks.double, tasks.flaky]))


def flows(max_leaves: int = 8, features: Collection[Feature] = ()) -> SearchStrategy[Numeric]:
    """A strategy for flows from a number to a number, with every combinator.

    Args:
        max_leaves: The approximate maximum number of steps.
        features: What else they may have, which not every backend can run: `sleep` for short
            sleeps, `finally` for cleanups, and `on_failure` for fan-outs that cancel. No branch of
            these fails, because which failure is the first may differ from run to run.

    Returns:
        A Hypothesis strategy. A worker that serves `BackendSuite.catalog` can run them.

    Example:
        >>> from onward.testing import flows
        >>> flows().example()  # doctest: +SKIP
        (halve >> given(shrink, 3)).rescue(mend)
    """
    return st.recursive(
        steps(), partial(_composed, features=frozenset(features)), max_leaves=max_leaves
    )


def handlers() -> SearchStrategy[Handler]:
    """Handlers of failures: one task, a choice, and flows that begin with a fan-out."""
    choice = case(Odd, choices.mend_odd).case(Fault, choices.mend_fault)
    return cast(
        SearchStrategy[Handler],
        st.sampled_from(
            [
                tasks.mend,
                tasks.mend_some,
                tee(tasks.mend) >> tasks.mend_some,
                together(tasks.mend, tasks.mend) >> tasks.add,
                choice.case(TooSmall, tasks.mend).case(Beyond, tasks.mend),
            ]
        ),
    )


def _composed(
    inner: SearchStrategy[Numeric], features: Collection[Feature]
) -> SearchStrategy[Numeric]:
    counts = st.none() | st.integers(1, 3)
    more: list[SearchStrategy[Numeric]] = []
    if "sleep" in features:
        more.append(st.builds(_slept, inner, inner, st.sampled_from([0.0, 0.002])))
    if "finally" in features:
        more.append(st.builds(_cleaned, inner, inner))
    if "on_failure" in features:
        more.append(st.builds(_paired_or_cancelled, inner, inner))
        more.append(st.builds(_spanned_or_cancelled, inner, counts))
    return st.one_of(
        *more,
        st.builds(_chained, inner, inner),
        st.builds(_paired, inner, inner),
        st.builds(_spanned, inner, counts, counts),
        st.builds(_rescued, inner, handlers()),
        st.builds(
            _rescued_with_input, inner, st.sampled_from([tasks.mend_pair, spread(tasks.mend_both)])
        ),
        st.builds(_fused, inner),
        st.builds(_named, inner),
        st.builds(_kept, inner),
        st.builds(_teed, inner),
        st.builds(_joined, inner, inner),
        st.builds(_fixed, inner, inner, numbers()),
        st.builds(_chosen, inner, inner),
    )


def cleaned_flows() -> SearchStrategy[Numeric]:
    """Flows from a number to a number, some with cleanups, in every place where one may stand."""

    def composed(inner: SearchStrategy[Numeric]) -> SearchStrategy[Numeric]:
        return st.one_of(
            st.builds(_cleaned, inner, inner),
            st.builds(_chained, inner, inner),
            st.builds(_paired, inner, inner),
            st.builds(_spanned, inner, st.none() | st.integers(1, 3), st.none()),
            st.builds(_rescued, inner, st.sampled_from([tasks.mend, tasks.mend_some])),
            st.builds(_named, inner),
            st.builds(_kept, inner),
        )

    return st.recursive(flows(2), composed, max_leaves=6)


def _cleaned(body: Numeric, cleanup: Numeric) -> Numeric:
    return body.finally_(cleanup)


def _chained(a: Numeric, b: Numeric) -> Numeric:
    return a >> b


def _paired(a: Numeric, b: Numeric) -> Numeric:
    return together(a, b) >> tasks.add


def _spanned(body: Numeric, limit: int | None, chunk: int | None) -> Numeric:
    size = chunk if _is_fusable(body) else None
    return tasks.span >> each(body, limit=limit, chunk=size) >> tasks.total


def _slept(a: Numeric, b: Numeric, delay: float) -> Numeric:
    return a >> sleep(delay) >> b


def _paired_or_cancelled(a: Numeric, b: Numeric) -> Numeric:
    first, second = a.rescue(tasks.mend), b.rescue(tasks.mend)
    return together(first, second, on_failure="cancel") >> tasks.add


def _spanned_or_cancelled(body: Numeric, limit: int | None) -> Numeric:
    whole = each(body.rescue(tasks.mend), limit=limit, on_failure="cancel")
    return tasks.span >> whole >> tasks.total


def _is_fusable(body: Numeric) -> bool:
    return not any(isinstance(part, Sleep | Finally) for part in walk(body))


def _rescued(body: Numeric, handler: Handler) -> Numeric:
    return body.rescue(handler)


def _rescued_with_input(body: Numeric, handler: MendingPair) -> Numeric:
    return body.rescue(handler, with_input=True)


def _fused(body: Numeric) -> Numeric:
    return fused(body) if _is_fusable(body) else body


def _named(body: Numeric) -> Numeric:
    return body.named("some-flow")


def _kept(body: Numeric) -> Numeric:
    return keep(body) >> tasks.add


def _teed(body: Numeric) -> Numeric:
    return tee(body)


def _joined(a: Numeric, b: Numeric) -> Numeric:
    return together(a, b) >> spread(tasks.shrink >> tasks.inc)


def _fixed(a: Numeric, b: Numeric, n: int) -> Numeric:
    return a >> fixed(b, n)


def _chosen(a: Numeric, b: Numeric) -> Numeric:
    choice = case(Even, choices.of_even >> a).case(Uneven, choices.of_uneven >> b)
    return choices.sift >> choice.case(None, fixed(tasks.inc, 0))


def parcels() -> SearchStrategy[Parcel]:
    """Values with most types that can travel."""
    text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
    names = st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=1, max_size=5)

    def build(inner: SearchStrategy[list[Parcel]]) -> SearchStrategy[Parcel]:
        return st.builds(
            Parcel,
            id=st.uuids(),
            at=st.datetimes(timezones=st.none() | st.just(UTC)),
            took=st.timedeltas(timedelta(days=-1000), timedelta(days=1000)),
            price=st.decimals(allow_nan=False, allow_infinity=False),
            colour=st.sampled_from(Colour),
            path=names.map(lambda name: Path(PurePosixPath("/", name))),
            raw=st.binary(max_size=50),
            weight=st.none() | st.floats(allow_nan=False, allow_infinity=False),
            tags=st.frozensets(text, max_size=3),
            sizes=st.tuples(st.integers(), text),
            inner=inner,
            counts=st.dictionaries(st.integers(-1000, 1000), st.booleans(), max_size=3),
        )

    return build(st.lists(build(st.just([])), max_size=2))
