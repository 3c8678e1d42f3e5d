"""Flows in Celery's terms: chains, groups and chords."""

from onward import case, each, explain, fixed, fused, given, identity, keep, spread, together
from onward.backends.celery import celery
from onward.testing.choices import of_even, of_nothing, sift
from onward.testing.kinds import Even, Uneven
from onward.testing.tasks import add, double, halve, inc, mend, mend_pair, shrink, span, total

BACKEND = celery("memory://")


def test_a_chain_of_tasks_is_a_celery_chain() -> None:
    assert explain(inc, on=BACKEND) == "inc"
    flow = inc >> given(shrink, by=1) >> double.with_(queue="db")
    assert explain(flow, on=BACKEND) == "chain(inc, shrink, double)"


def test_fan_outs_are_chords() -> None:
    assert explain(together(inc, double >> inc) >> add, on=BACKEND) == (
        "chain(chord([inc, chain(double, inc)], onward.gather), add)"
    )
    assert explain(span >> each(inc >> double) >> total, on=BACKEND) == (
        "chain(span, onward.each(chain(inc, double)), total)"
    )


def test_a_rescue_is_a_step_that_only_failures_run() -> None:
    assert explain(halve.rescue(mend) >> inc, on=BACKEND) == "chain(halve, mend (rescue), inc)"


def test_what_changes_the_next_steps_arguments_is_a_task_of_its_own() -> None:
    flow = keep(inc) >> spread(shrink) >> fixed(add, (1, 2))
    assert explain(flow, on=BACKEND) == (
        "chain(chord([onward.pass, inc], onward.gather), onward.spread, shrink, onward.fixed, add)"
    )


def test_a_handler_that_takes_the_input_is_sent_once_that_is_known() -> None:
    flow = inc >> halve.rescue(mend_pair, with_input=True) >> inc
    assert explain(flow, on=BACKEND) == (
        "chain(inc, onward.input(chain(halve, mend_pair (rescue))), inc)"
    )


def test_a_case_is_a_task_that_sends_its_branch_on() -> None:
    flow = sift >> case(Even, of_even >> inc).case(Uneven, identity).case(None, of_nothing)
    assert explain(flow, on=BACKEND) == (
        "chain(sift, onward.case(Even: chain(of_even, inc), Uneven: onward.pass, None: of_nothing))"
    )


def test_a_fused_flow_is_one_task() -> None:
    assert explain(fused(inc >> double), on=BACKEND) == "onward.fused(chain(inc, double))"


def test_a_flow_with_a_cleanup_is_sent_once_its_input_is_known() -> None:
    flow = inc >> (halve >> double).finally_(inc >> double) >> inc
    assert explain(flow, on=BACKEND) == (
        "chain(inc, onward.finally(chain(halve, double), chain(inc, double)), inc)"
    )
