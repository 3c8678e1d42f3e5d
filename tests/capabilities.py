"""Writes the table of docs/capabilities.md, from what the suite finds on each backend.

python -m tests.capabilities            # all of them, which takes some minutes
python -m tests.capabilities local      # only those whose class is named so; the rest stays
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

ROOT = Path(__file__).parents[1]
CONFORMANCE = ROOT / "tests/conformance"
PAGE = ROOT / "docs/capabilities.md"
BEGIN = "<!-- made by python -m tests.capabilities; do not edit by hand -->\n"
END = "<!-- end -->\n"

BACKENDS = {
    "TestLocal": "`local()`",
    "TestSqlite": "SQLite",
    "TestCeleryInMemory": "Celery, in memory",
    "TestCeleryOnRedis": "Celery, Redis",
    "TestCeleryOnRabbitMQ": "Celery, RabbitMQ",
    "TestTemporal": "Temporal",
    "TestHatchet": "Hatchet",
}
"""What the page calls the backend of each suite, in the order of its columns."""

GROUPS: Mapping[str, Sequence[str]] = {
    "Chains": (
        "every_flow_means_what_the_oracle_says",
        "run_and_submit_are_the_same",
        "chains_associate",
        "identity_changes_nothing",
        "nothing_runs_after_a_failure",
        "given_is_the_call_with_all_arguments",
        "spread_is_the_call_with_all_items",
        "fixed_is_the_call_with_its_own_arguments",
        "case_is_the_step_for_the_type",
        "a_case_is_told_by_what_travels",
        "a_sync_wrapper_is_called_as_it_is",
    ),
    "Fan-out": (
        "together_is_the_pair",
        "keep_gives_the_input_and_the_value",
        "tee_runs_the_step_and_passes_the_input_on",
        "nothing_runs_after_a_tee_that_failed",
        "each_of_a_chain_is_a_chain_of_eachs",
        "each_of_nothing_is_nothing",
        "each_keeps_the_order",
        "each_keeps_to_its_limit",
        "each_fails_with_its_first_failure",
        "a_fan_out_that_cancels_gives_all_values_or_one_failure",
        "the_first_failure_cancels_the_other_branches",
        "a_cancelled_branch_is_cleaned_up",
        "a_failure_ends_the_waits_of_other_branches",
        "no_item_begins_after_a_failure",
    ),
    "Rescue, anywhere": (
        "rescue_of_a_success_is_the_identity",
        "rescue_of_a_failure_is_the_handler",
        "a_handler_takes_what_went_in",
    ),
    "Fused": ("fused_is_the_flow",),
    "Values": (
        "values_survive_the_wire",
        "data_is_not_taken_for_a_type",
        "unset_fields_stay_unset",
        "wrong_values_are_refused_first",
        "a_returned_value_is_checked",
    ),
    "Errors and faults": (
        "domain_errors_arrive_as_themselves",
        "exceptions_arrive_as_raised",
        "a_task_cannot_end_the_worker",
        "a_task_that_nobody_serves_is_unknown",
    ),
    "Timeout, delay and deadline": (
        "an_attempt_ends_with_its_timeout",
        "a_delay_holds_a_call_back",
        "a_deadline_ends_a_call",
    ),
    "Isolated steps": (
        "an_isolated_step_means_the_same",
        "a_step_whose_process_dies_is_lost_alone",
        "a_timeout_ends_the_code_of_an_isolated_step",
        "a_cancel_ends_the_code_of_an_isolated_step",
    ),
    "Refs, results and progress": (
        "a_ref_can_be_made_of_its_text",
        "an_id_that_nobody_knows_is_unknown",
        "many_results_come_as_they_complete",
        "a_wait_that_ends_leaves_the_call_alone",
        "status_says_where_a_call_is",
        "awaiting_gives_the_same",
    ),
    "Resources": (
        "a_resource_is_opened_once_in_a_process",
        "each_attempt_has_a_resource_of_its_own",
        "resources_work_within_flows",
    ),
    "Keys": (
        "a_key_is_submitted_once",
        "a_key_belongs_to_its_flow",
        "a_key_gives_the_same_ref_in_every_process",
    ),
    "`unique=`": (
        "of_a_unique_key_one_call_is_open",
        "the_next_unique_call_comes_when_one_has_ended",
    ),
    "`debounce=`": (
        "debounce_runs_the_last_arguments",
        "debounce_after_the_start_comes_next",
    ),
    "Cleanups": (
        "a_cleanup_runs_whichever_way_the_flow_ends",
        "cleanups_compose",
        "a_cancelled_call_is_cleaned_up",
        "a_call_past_its_deadline_is_cleaned_up",
        "a_call_that_waits_is_cleaned_up",
        "a_flow_that_has_not_begun_is_not_cleaned_up",
    ),
    "`Cancels`": ("a_cancelled_call_ends",),
    "`Limit`": (
        "so_many_run_at_a_time",
        "so_many_begin_within_a_window",
        "each_key_has_a_limit_of_its_own",
        "a_fair_limit_takes_turns_by_key",
        "what_waits_for_a_limit_holds_no_slot",
        "a_place_is_given_back_between_attempts",
        "what_ends_while_it_waits_leaves_the_limit",
        "a_fused_flow_has_a_limit_as_a_whole",
        "a_flow_has_so_many_calls_at_a_time",
        "a_key_that_raises_is_a_fault_of_its_step",
    ),
    "Sleeps": (
        "a_sleep_gives_its_input",
        "a_sleep_lasts_at_least_its_delay",
    ),
    "`Signals`": (
        "a_signal_ends_a_wait",
        "a_signal_that_comes_early_is_kept",
        "the_first_signal_counts",
        "a_wrong_value_is_refused_at_its_sender",
        "a_wait_ends_with_its_timeout",
        "cancel_and_deadline_end_a_wait",
    ),
    "`Histories`, resume and fork": (
        "a_call_that_goes_on_is_the_uninterrupted_one",
        "what_failed_goes_on_where_it_stopped",
        "a_cleanup_runs_again_for_what_failed",
        "a_cancelled_call_goes_on",
        "signals_go_along",
        "a_wait_that_had_begun_keeps_its_end",
        "a_failed_step_takes_other_arguments",
        "a_fork_begins_at_its_step",
        "a_call_goes_on_on_another_backend",
    ),
    "`Moves`": ("a_call_that_moves_goes_on",),
    "`Lists`": (
        "calls_are_listed_by_what_they_are",
        "calls_are_listed_in_pages",
    ),
    "`Forgets`": ("a_forgotten_call_is_unknown",),
    "`Schedules`": (
        "declaring_a_schedule_again_replaces_it",
        "a_schedule_uses_its_time_zone",
        "a_paused_schedule_stays_paused",
        "a_schedule_can_be_read_with_its_plan",
        "each_run_of_a_schedule_is_a_call_of_its_own",
        "a_paused_or_removed_schedule_runs_nothing",
    ),
    "`Schedules`: `overlap` and `catch_up`": (
        "a_schedule_is_listed_as_it_was_declared",
        "the_runs_of_a_schedule_overlap_are_left_out_or_wait",
    ),
}
"""The tests of the suite, by what they are about."""

_TESTS = frozenset(test for tests in GROUPS.values() for test in tests)

YES, SKIPPED, NO = "yes", "no", "**fails**"


class Cell(msgspec.Struct, frozen=True):
    """What one test found on one backend; `why` is empty but where it was skipped."""

    passed: bool
    why: str = ""


Found = dict[str, dict[str, Cell]]
"""By the backend's suite, and by the test's name without `test_`."""


def suites() -> list[str]:
    """The names of the suite's subclasses for engines: a bridge has what its backends have."""
    files = [each for each in sorted(CONFORMANCE.glob("test_*.py")) if each.stem != "test_bridges"]
    text = "\n".join(file.read_text() for file in files)
    return re.findall(r"^class (\w+)\(BackendSuite\)", text, re.MULTILINE)


class Recorder:
    """Has pytest run nothing but the suite, each law on a few examples, and notes what it finds."""

    def __init__(self, only: str) -> None:
        self.found: Found = {}
        self._only = only

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items[:] = [item for item in items if self._is_wanted(item)]
        for item in items:
            suite: Any = item.getparent(pytest.Class)
            suite.obj.examples = 5

    def _is_wanted(self, item: pytest.Item) -> bool:
        from onward.testing import BackendSuite  # which pytest's own plugins are to import first

        suite = item.getparent(pytest.Class)
        return (
            suite is not None
            and issubclass(suite.obj, BackendSuite)
            and suite.name in BACKENDS
            and self._only in suite.name.lower()
        )

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when != "call" and report.passed:
            return
        _, suite, test = report.nodeid.split("::")
        why = report.longrepr[2] if isinstance(report.longrepr, tuple) else ""
        cell = Cell(report.passed, why.removeprefix("Skipped: "))
        self.found.setdefault(suite, {})[test.removeprefix("test_")] = cell


def table(found: Found) -> str:
    """The page's tables, and the notes under them."""
    columns = [name for name in BACKENDS if name in found]
    notes: list[str] = []
    lines = _head("", columns)
    for group, tests in GROUPS.items():
        cells = [_all({_shown(found[name].get(test), notes) for test in tests}) for name in columns]
        lines.append(_row([group, *cells]))
    for group, tests in GROUPS.items():
        lines += ["", *_head(group, columns)]
        for test in tests:
            cells = [_shown(found[name].get(test), notes) for name in columns]
            lines.append(_row([test.replace("_", " "), *cells]))
    lines.append("")
    lines += [f"{number}. {note}" for number, note in enumerate(notes, start=1)]
    return "\n".join(lines).rstrip() + "\n"


def read(page: str) -> Found:
    """What the tables of a page say."""
    made = page.partition(BEGIN)[2].partition(END)[0]
    notes = dict(re.findall(r"^(\d+)\. (.+)$", made, re.MULTILINE))
    names = {heading: name for name, heading in BACKENDS.items()}
    found: Found = {}
    columns: list[str] = []
    for line in made.splitlines():
        first, *rest = [cell.strip() for cell in line.strip("|").split("|")]
        if first in GROUPS and rest[0] in names:
            columns = [names[heading] for heading in rest]
        elif rest and first.replace(" ", "_") in _TESTS:
            for name, text in zip(columns, rest, strict=True):
                why = notes.get(text.removeprefix(f"{SKIPPED} (").removesuffix(")"), "")
                found.setdefault(name, {})[first.replace(" ", "_")] = Cell(text == YES, why)
    return found


def _head(corner: str, columns: Sequence[str]) -> list[str]:
    return [
        _row([corner, *(BACKENDS[name] for name in columns)]),
        _row(["---"] + [":-:"] * len(columns)),
    ]


def _all(cells: set[str]) -> str:
    """What a group has in common."""
    return NO if NO in cells else ", ".join(sorted(cells, reverse=True))


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _shown(cell: Cell | None, notes: list[str]) -> str:
    if cell is None or not (cell.passed or cell.why):
        return NO
    if cell.passed:
        return YES
    if cell.why not in notes:
        notes.append(cell.why)
    return f"{SKIPPED} ({notes.index(cell.why) + 1})"


def main(only: str = "") -> int:
    recorder = Recorder(only)
    pytest.main(["-q", "-p", "no:cacheprovider", str(CONFORMANCE)], plugins=[recorder])
    page = PAGE.read_text()
    before, _, rest = page.partition(BEGIN)
    found = read(page) | recorder.found
    PAGE.write_text(before + BEGIN + "\n" + table(found) + "\n" + END + rest.partition(END)[2])
    return int(NO in table(recorder.found))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
