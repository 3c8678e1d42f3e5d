"""The flows whose histories are recorded. Together they use every feature of the workflow."""

from __future__ import annotations

from onward import Signal, awaits, case, each, fixed, fused, given, keep, sleep, spread, together
from onward.flows.flow import Call
from tests.temporal.served import (
    Long,
    Odd,
    crash,
    double,
    first,
    halve,
    inc,
    mend,
    mend_all,
    mend_pair,
    number_of,
    rest,
    second_time,
    shift,
    sort,
    span,
    text_of,
    total,
)

BY = Signal("by", int)

CALLS: dict[str, Call[object, object]] = {
    "chain": (inc >> double >> given(shift, 10, times=2))(1),
    "together": (inc >> together(double, inc >> double) >> first)(1),
    "together-cancel": (
        inc >> together(rest >> inc, sleep(0.3) >> crash, on_failure="cancel") >> first
    )(600),
    "each-cancel": each(halve, limit=2, on_failure="cancel")([2, 4, 5, 6, 8]),
    "each": (each(inc) >> total)(list(range(12))),
    "each-limit": each(inc >> double, limit=2)(list(range(5))),
    "each-chunk": each(inc, chunk=3)(list(range(8))),
    "each-in-each": (span >> each(span >> each(inc) >> total))(3),
    "rescue-not-taken": (inc >> halve.rescue(mend) >> inc)(1),
    "rescue-taken": (inc >> halve.rescue(mend) >> inc)(2),
    "rescue-with-input": (inc >> (double >> inc >> halve).rescue(mend_pair, with_input=True))(2),
    "domain-error": (inc >> halve)(2),
    "fault": (crash >> inc)(10),
    "named": ((inc >> double).named("inner") >> inc).named("outer")(1),
    "fused": (inc >> fused(inc >> double))(1),
    "spread": (inc >> keep(double) >> spread(shift))(1),
    "fixed": (inc >> fixed(shift, 10, by=2, times=3) >> inc)(1),
    "finally": (inc >> (double >> halve).finally_(inc >> double) >> inc.finally_(crash))(1),
    "case": (
        each(
            sort
            >> case(Odd, number_of >> inc).case(Long, text_of).case(None, fixed(shift, 10, by=2))
        )
    )([0, 1, 2]),
    "retries": (inc >> second_time >> inc)(1),
    "sleep": (inc >> together(sleep(0.2) >> inc, sleep(0.1)) >> sleep(0) >> first)(1),
    "awaits": (inc >> together(awaits(BY), awaits(BY, timeout=600)) >> first >> inc)(1),
    "awaits-at-once": (inc >> sleep(0) >> together(awaits(BY), awaits(BY)) >> first)(1),
    "forked": (inc >> keep(sleep(0.1)) >> first >> span >> each(double) >> total >> inc)(1),
    "awaits-unanswered": (inc >> awaits(BY, timeout=0.1) >> inc)(1),
}

CANCELLED: dict[str, Call[object, object]] = {
    "finally-cancelled": (inc >> together(rest, rest >> inc).finally_(double >> inc) >> first)(600),
}
"""Flows that are cancelled while their steps of the task `rest` run."""

FORKED = {"forked": "5"}
"""Of these calls, the one is recorded that goes on before the step at this path."""

AWAITED = ("awaits", "awaits-at-once")
"""The calls that get the signal, once they wait for it."""

LONG: dict[str, Call[object, object]] = {
    "parts": (inc >> double >> inc >> span >> each(inc >> span >> each(inc)) >> each(total))(1),
    "part-that-fails": (inc >> double >> inc >> span >> each(halve).rescue(mend_all))(1),
}
"""Flows that continue in child workflows on a server that soon considers a history long."""
