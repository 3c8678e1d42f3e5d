"""The suite fails for a backend that breaks a promise."""

from types import ModuleType

import pytest

# Imported here, or each run of pytester would load its own copy.
from tests.conformance import broken, broken_isolation, broken_limits

MODULES = (broken, broken_limits, broken_isolation)

# Each broken backend, and the test of the suite that must fail for it.
CAUGHT = {
    "DropsAStep": "test_every_flow_means_what_the_oracle_says",
    "ReordersEach": "test_each_keeps_the_order",
    "ForgetsRetries": "test_exceptions_arrive_as_raised",
    "SkipsRescue": "test_rescue_of_a_failure_is_the_handler",
    "SpreadsNothing": "test_spread_is_the_call_with_all_items",
    "FixesNothing": "test_fixed_is_the_call_with_its_own_arguments",
    "ChoosesTheWrongBranch": "test_case_is_the_step_for_the_type",
    "RescuesTheWrongInput": "test_a_handler_takes_what_went_in",
    "SkipsCleanups": "test_a_cleanup_runs_whichever_way_the_flow_ends",
    "CleansUpWithTheValue": "test_a_cleanup_runs_whichever_way_the_flow_ends",
    "SettlesFanOuts": "test_the_first_failure_cancels_the_other_branches",
    "CancelsAtOnce": "test_a_cancelled_call_is_cleaned_up",
    "CleansUpWhatHasNotBegun": "test_a_flow_that_has_not_begun_is_not_cleaned_up",
    "LosesErrors": "test_domain_errors_arrive_as_themselves",
    "ForgetsOutcomes": "test_a_ref_can_be_made_of_its_text",
    "RunsOnAfterAFailure": "test_nothing_runs_after_a_failure",
    "RetriesDomainErrors": "test_nothing_runs_after_a_failure",
    "SharesAContext": "test_each_attempt_has_a_context_of_its_own",
    "GivesNoWarning": "test_an_attempt_ends_with_its_timeout",
    "WakesEarly": "test_a_sleep_lasts_at_least_its_delay",
    "GivesAnotherValueAfterASleep": "test_a_sleep_gives_its_input",
    "WaitsForEver": "test_a_wait_ends_with_its_timeout",
    "DropsEarlySignals": "test_a_signal_that_comes_early_is_kept",
    "TellsNobodyOfASecondSignal": "test_the_first_signal_counts",
    "RunsEverythingAgain": "test_a_call_that_goes_on_is_the_uninterrupted_one",
    "KeepsTheOldArguments": "test_a_failed_step_takes_other_arguments",
    "RecordsOnlyFailures": "test_what_failed_goes_on_where_it_stopped",
    "ListsFailedCallsAsLost": "test_calls_are_listed_by_what_they_are",
    "ListsACallTwice": "test_calls_are_listed_in_pages",
    "KeepsWhatItGaveUp": "test_a_call_that_moves_goes_on",
    "ForgetsWhatGoesOn": "test_a_forgotten_call_is_unknown",
    "IgnoresLimits": "test_so_many_run_at_a_time",
    "IgnoresLimitsOfCalls": "test_a_flow_has_so_many_calls_at_a_time",
    "LetsOneMoreRun": "test_so_many_run_at_a_time",
    "CountsFixedWindows": "test_so_many_begin_within_a_window",
    "HasOneLimitForAllKeys": "test_each_key_has_a_limit_of_its_own",
    "FirstComeFirstServed": "test_a_fair_limit_takes_turns_by_key",
    "KeepsAPlaceBetweenAttempts": "test_a_place_is_given_back_between_attempts",
    "WaitsInASlot": "test_what_waits_for_a_limit_holds_no_slot",
    "KeepsTheTurnOfWhatHasEnded": "test_what_ends_while_it_waits_leaves_the_limit",
    "TakesTwoPlacesForFused": "test_a_fused_flow_has_a_limit_as_a_whole",
    "ForgetsKeysThatRaise": "test_a_key_that_raises_is_a_fault_of_its_step",
    "ForgetsWhereIsolatedStepsAre": "test_an_isolated_step_means_the_same",
    "TakesADeadProcessForAnException": "test_a_step_whose_process_dies_is_lost_alone",
    "LetsLateCodeRunOn": "test_a_timeout_ends_the_code_of_an_isolated_step",
    "LetsCancelledCodeRunOn": "test_a_cancel_ends_the_code_of_an_isolated_step",
    "RunsAKeyTwice": "test_a_key_is_submitted_once",
    "OpensAUniqueCallTwice": "test_of_a_unique_key_one_call_is_open",
    "HoldsAKeyForEver": "test_the_next_unique_call_comes_when_one_has_ended",
    "KeepsTheFirstArguments": "test_debounce_runs_the_last_arguments",
    "ForgetsWhatComesNext": "test_debounce_after_the_start_comes_next",
    "OpensForEachCall": "test_a_resource_is_opened_once_in_a_process",
}

WAITS = {"KeepsTheTurnOfWhatHasEnded", "TakesTwoPlacesForFused", "LetsCancelledCodeRunOn"}
"""Those that are caught by what never happens."""

SUBJECT = """
import pytest
from hypothesis import Phase, settings
from onward.testing import BackendSuite
from {module} import {name}

settings.register_profile("quick", phases=[Phase.generate], database=None)
settings.load_profile("quick")


class TestSubject(BackendSuite):
    examples = {examples}
    patience = {patience}

    @pytest.fixture(scope="class")
    @classmethod
    def backend(cls, traces):
        subject = {name}()
        worker = subject.serve(cls.catalog).unwrap()
        yield subject
        worker.stop(0)  # what a broken backend does not end may run on for minutes
        subject.close()
"""


def _module(name: str) -> ModuleType:
    """The module that has a broken backend."""
    return next(module for module in MODULES if hasattr(module, name))


def _subject(name: str, *, examples: int, patience: float) -> str:
    module = _module(name).__name__
    return SUBJECT.format(module=module, name=name, examples=examples, patience=patience)


def _failed(
    pytester: pytest.Pytester,
    name: str,
    *options: str,
    examples: int = 30,
    patience: float = 5,
) -> set[str]:
    pytester.makepyfile(_subject(name, examples=examples, patience=patience))
    ended = pytester.runpytest_inprocess("-q", "-p", "no:cacheprovider", *options)
    reports = ended.reprec.getreports("pytest_runtest_logreport")  # type: ignore[attr-defined]  # in-process runs have it
    assert all(report.passed for report in reports if report.when == "setup")
    return {report.nodeid.rpartition("::")[2] for report in reports if report.failed}


@pytest.mark.parametrize("name", CAUGHT)
def test_a_broken_backend_is_caught(pytester: pytest.Pytester, name: str) -> None:
    assert issubclass(getattr(_module(name), name), broken.Broken)
    patience = 2 if name in WAITS else 5
    assert _failed(pytester, name, "-k", CAUGHT[name], patience=patience) == {CAUGHT[name]}


def test_the_wrapper_alone_passes(pytester: pytest.Pytester) -> None:
    names = " or ".join(set(CAUGHT.values()))
    assert _failed(pytester, "Broken", "-k", names, examples=3, patience=60) == set()


def test_a_law_that_fails_shows_the_values_that_differ(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(_subject("LosesErrors", examples=30, patience=5))
    ended = pytester.runpytest_inprocess("-q", "-p", "no:cacheprovider", "-k", "domain_errors")
    ended.stdout.fnmatch_lines(["E *assert <Failure: *> == <Failure: Odd(number=3)>*"])
