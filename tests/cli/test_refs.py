"""`onward submit` and what takes its ref, on real engines with a worker of the command's own."""

import json
import shlex
import uuid
from collections.abc import Iterator
from pathlib import Path
from signal import SIGINT

import pytest

from tests.cli.command import mistake, onward, printed
from tests.cli.conftest import HERE
from tests.cli.serving import PATIENCE, serving, started, wait_for_text
from tests.engines.temporal import Temporal
from tests.engines.valkey import Valkey

TARGET = "pipeline:counted"


@pytest.fixture(scope="module")
def on(valkey: Valkey, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of Celery with a worker."""
    url = f"celery+{valkey.url}?queue={uuid.uuid4().hex}"
    with serving(modules(tmp_path_factory), url):
        yield url


@pytest.fixture(scope="module")
def on_temporal(temporal: Temporal, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of Temporal with a worker."""
    url = f"{temporal.url}?task_queue={uuid.uuid4().hex}"
    with serving(modules(tmp_path_factory), url):
        yield url


@pytest.fixture(params=["on", "on_temporal"])
def either(request: pytest.FixtureRequest) -> str:
    """The URL of one engine and then of the other."""
    return str(request.getfixturevalue(request.param))


def modules(folders: pytest.TempPathFactory) -> Path:
    folder = folders.mktemp("served")
    (folder / "pipeline.py").write_text((HERE / "pipeline.py").read_text())
    return folder


def submitted(*arguments: str, folder: Path, on: str) -> str:
    return printed("submit", *arguments, "--on", on, folder=folder).strip()


def test_a_ref_is_all_that_another_process_needs(folder: Path, either: str) -> None:
    ref = submitted("pipeline:summed", "1,2", folder=folder, on=either)
    raw = printed("result", ref, "--on", either, folder=folder)
    assert json.loads(raw) == {"outcome": "value", "value": 3}
    read = printed("result", ref, "--flow", "pipeline:summed", "--on", either, folder=folder)
    assert read == "3\n"
    state = json.loads(printed("status", ref, "--json", "--on", either, folder=folder))
    assert state["ref"] == ref
    assert state["state"] == "done"


def test_domain_errors_and_faults_have_codes_of_their_own_also_without_the_flow(
    folder: Path, on: str
) -> None:
    wrong = submitted("pipeline:summed", "1;2", folder=folder, on=on)
    error = json.loads(printed("result", wrong, "--on", on, folder=folder, code=3))["error"]
    assert error == {"type": "Malformed", "task": "parse", "value": {"text": "1;2"}}
    raised = submitted("pipeline:fail", "why", folder=folder, on=on)
    fault = json.loads(printed("result", raised, "--on", on, folder=folder, code=1))["fault"]
    assert fault["type"] == "Raised"
    assert "LookupError: why" in fault["traceback"]


def test_with_the_same_key_it_is_the_same_call(folder: Path, on: str) -> None:
    def ref() -> str:
        arguments = ["submit", "pipeline:summed", "1,2", "--key", "once", "--json", "--on", on]
        answer = json.loads(printed(*arguments, folder=folder))
        return str(answer["ref"])

    assert ref() == ref()


def test_a_debounced_call_takes_the_last_arguments(folder: Path, on: str) -> None:
    unique = ["--unique", uuid.uuid4().hex, "--debounce"]
    ref = submitted("pipeline:summed", "1,2", *unique, "600", folder=folder, on=on)
    assert submitted("pipeline:summed", "3,4", *unique, "0", folder=folder, on=on) == ref
    assert json.loads(printed("result", ref, "--on", on, folder=folder))["value"] == 7


def test_watch_shows_each_step_until_the_call_ends(folder: Path, either: str) -> None:
    ref = submitted(TARGET, str(folder), "2", folder=folder, on=either)
    with started("watch", ref, "--json", "--on", either, folder=folder) as watching:
        for number in (1, 2):
            wait_for_text(watching, f'"done":{number}')
            (folder / f"go-{number}").touch()
        assert watching.wait(PATIENCE) == 0
    *changes, outcome = map(json.loads, watching.log.read_text().splitlines())
    assert outcome == {"outcome": "value", "value": 4}
    assert changes[-1]["state"] == "done"
    running = [change for change in changes if change["task"] == "count"]
    assert [change["progress"]["done"] for change in running if change["progress"]][:2] == [1, 2]
    assert all(change["ref"] == ref for change in changes)


def test_status_shows_the_step_and_its_progress_and_cancel_ends_the_call(
    folder: Path, either: str
) -> None:
    ref = submitted(TARGET, str(folder), "1", folder=folder, on=either)
    with started("watch", ref, "--on", either, folder=folder) as watching:
        wait_for_text(watching, "running   count at 0: 1/1 steps\n")
        state = printed("status", ref, "--on", either, folder=folder)
        assert state == "running   count at 0: 1/1 steps\n"
        assert printed("cancel", ref, "--on", either, folder=folder) == "cancelled\n"
        assert watching.wait(PATIENCE) == 1
    last = json.loads(watching.tail().splitlines()[-1])
    assert last["fault"]["type"] == "Cancelled"
    (folder / "go-1").touch()


def test_send_ends_the_wait_of_a_call(folder: Path, on_temporal: str) -> None:
    on, yes = on_temporal, '{"approved": true}'
    ref = submitted("pipeline:decided", "1,2", folder=folder, on=on)
    with started("watch", ref, "--on", on, folder=folder) as watching:
        wait_for_text(watching, "waiting   after total at 1: for the signal decision\n")
        wrong = mistake(
            "send", ref, "decision", "1", "--flow", "pipeline:decided", "--on", on, folder=folder
        )
        assert "the signal 'decision' (Decision)" in wrong
        assert "Its value is JSON" in mistake(
            "send", ref, "decision", "yes", "--on", on, folder=folder
        )
        by_type = ["--flow", "pipeline:decided", "--json"]
        sent = printed("send", ref, "decision", yes, *by_type, "--on", on, folder=folder)
        assert json.loads(sent)["ref"] == ref
        assert watching.wait(PATIENCE) == 0
    outcome = json.loads(watching.log.read_text().splitlines()[-1])
    assert outcome["value"] == [3, {"approved": True}]
    again = onward("send", ref, "decision", yes, "--on", on, folder=folder)
    assert again.returncode == 1
    assert "has ended" in again.stderr


def test_without_the_flow_a_signal_s_name_is_checked_by_the_plan(folder: Path) -> None:
    on = "sqlite:///onward.db"
    ref = submitted("pipeline:decided", "1,2", folder=folder, on=on)
    said = mistake("send", ref, "decison", "1", "--on", on, folder=folder)
    assert "the flow waits for no signal 'decison': it waits for 'decision'" in said


def test_ctrl_c_ends_the_wait_and_not_the_call(folder: Path, on: str) -> None:
    ref = submitted("pipeline:hold", str(folder), folder=folder, on=on)
    with started("watch", ref, "--on", on, folder=folder) as watching:
        wait_for_text(watching, "running   hold at 0\n")
        watching.send(SIGINT)
        assert watching.wait(PATIENCE) == 130
    last = watching.tail().splitlines()[-1]
    answer, copied = last.split(": onward ")
    assert answer == "onward: no longer waiting; the call goes on"
    (folder / "let-go").touch()
    assert json.loads(printed(*shlex.split(copied), folder=folder))["value"] == "done"


def test_a_ref_that_nobody_knows_is_a_fault(folder: Path, on: str) -> None:
    for command in ("result", "status", "cancel", "watch"):
        done = onward(command, "0" * 32, "--json", "--on", on, folder=folder)
        assert json.loads(done.stdout)["fault"]["type"] == "Unknown"
        assert done.stderr.startswith(f"onward: {'0' * 32}: no such call")
        assert done.returncode == 1
    said = mistake("result", "0" * 32, "--on", on, folder=folder, code=1)
    assert said.startswith(f"onward: {'0' * 32}: no such call")


def test_what_cannot_be_a_ref_is_refused_and_no_password_in_it_is_shown(folder: Path) -> None:
    for command in ("result", "status", "cancel"):
        assert "the ref is empty" in mistake(command, "", "--on", "local://", folder=folder)
        said = mistake(command, "redis://u:s3cret@h", "--on", "local://", folder=folder)
        assert "write it after --on" in said
        assert "s3cret" not in said


def test_a_result_that_is_not_there_yet_has_a_code_of_its_own(folder: Path, on: str) -> None:
    delayed = submitted("pipeline:summed", "1", "--delay", "60", folder=folder, on=on)
    said = mistake("result", delayed, "--timeout", "0.1", "--on", on, folder=folder, code=4)
    assert "no outcome after 0.1 s; the call goes on: onward result" in said
    assert printed("status", delayed, "--on", on, folder=folder) == "queued\n"
    printed("cancel", delayed, "--on", on, folder=folder)


def test_on_a_terminal_watch_draws_the_steps(folder: Path, on: str) -> None:
    ref = submitted("pipeline:summed", "1,2", folder=folder, on=on)
    printed("result", ref, "--on", on, folder=folder)
    terminal = {"FORCE_COLOR": "1", "TERM": "xterm", "COLUMNS": "100"}
    done = onward("watch", ref, "--on", on, folder=folder, extra=terminal)
    assert done.returncode == 0
    assert f"{ref}  done" in done.stdout
