"""`onward run`, `check` and `explain`: what people see, and what programs read."""

import json
from pathlib import Path

import pytest

from tests.cli.command import SECRET, mistake, onward, printed

LOCAL = ("--on", "local://")


def test_run_prints_the_value(folder: Path) -> None:
    assert printed("run", "pipeline:summed", "1,2", *LOCAL, folder=folder) == "3\n"


def test_a_text_is_printed_as_it_is_and_none_not_at_all(folder: Path) -> None:
    assert printed("run", "pipeline:greet", "you", *LOCAL, folder=folder) == "hello you\n"
    (folder / "silent.py").write_text(
        "from onward import task\n@task\ndef silent() -> None:\n    pass\n"
    )
    assert printed("run", "silent:silent", *LOCAL, folder=folder) == ""


def test_arguments_go_by_position_and_by_name_before_and_after_our_own_options(
    folder: Path,
) -> None:
    said = printed("run", "pipeline:greet", *LOCAL, "--loud", "you", "--times=2", folder=folder)
    assert said == "HELLO YOU, HELLO YOU\n"


def test_what_would_be_ours_is_the_flow_s_after_two_dashes(folder: Path) -> None:
    (folder / "odd.py").write_text(
        "from onward import task\n@task\ndef odd(*, on: str, queue: str) -> str:\n"
        "    return on + queue\n"
    )
    said = printed("run", "odd:odd", *LOCAL, "--", "--on", "a", "--queue", "b", folder=folder)
    assert said == "ab\n"
    usage = onward("run", "odd:odd", "--help", folder=folder).stdout
    assert "-- --on" in usage


def test_json_has_the_value_the_error_or_the_fault(folder: Path) -> None:
    def data(target: str, text: str, code: int) -> object:
        said = printed("run", target, text, *LOCAL, "--json", folder=folder, code=code)
        return json.loads(said)

    assert data("pipeline:summed", "1,2", 0) == {"outcome": "value", "value": 3}
    error = {"type": "Malformed", "task": "parse", "value": {"text": "1;2"}}
    assert data("pipeline:summed", "1;2", 3) == {"outcome": "error", "error": error}
    fault = data("pipeline:fail", "why", 1)
    assert isinstance(fault, dict)
    assert fault["outcome"] == "fault"
    assert fault["fault"].items() >= {"type": "Raised", "task": "fail", "message": "why"}.items()
    assert fault["fault"]["cure"].startswith("Fix the task")


def test_a_domain_error_has_a_code_of_its_own(folder: Path) -> None:
    said = mistake("run", "pipeline:summed", "1;2", *LOCAL, folder=folder, code=3)
    assert said == "onward: parse failed with Malformed(text='1;2')\n"


def test_a_task_s_exception_shows_its_own_traceback_and_none_of_ours(folder: Path) -> None:
    done = onward("run", "pipeline:fail", "why", *LOCAL, folder=folder)
    lines = done.stderr.splitlines()
    assert done.returncode == 1
    assert lines[0] == "Traceback (most recent call last):"
    assert lines[1].startswith(f'  File "{folder / "pipeline.py"}", line ')
    assert lines[-2] == "LookupError: why"
    assert lines[-1].startswith("onward: fail: raised LookupError: why. Fix the task")


def test_a_wait_that_ends_first_says_that_the_call_ends_here_too(folder: Path) -> None:
    said = mistake(
        "run", "pipeline:hold", str(folder), *LOCAL, "--timeout", "0.1", folder=folder, code=4
    )
    assert said.startswith("onward: no outcome after 0.1 s; the call ends with this process")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["pipeline:greet"], "greet: 'name' (str) is missing"),
        (["pipeline:greet", "you", "many"], "greet: 'times' (int): Expected `int`, got `str`"),
        (["pipeline:greet", "you", "--tims", "2"], "no parameter 'tims' (did you mean 'times'?)"),
    ],
)
def test_arguments_that_do_not_fit_are_reported_by_the_parameter_s_name(
    arguments: list[str], says: str, folder: Path
) -> None:
    assert says in mistake("run", *arguments, *LOCAL, folder=folder)


@pytest.mark.parametrize(
    ("target", "says"),
    [
        ("pipeline", "which flow of pipeline? It has pipeline:count, pipeline:counted"),
        ("pipeline:", "which flow of pipeline?"),
        ("pipeline:sumed", "pipeline has no 'sumed' (did you mean 'summed'?)"),
        ("pipeline:make", "makes one. Write made_by_make = make(...) in the module, and use"),
        ("pipeline:Malformed", "pipeline:Malformed is not a flow but type: put @task on it"),
        ("pipeline.py:summed", "write pipeline:summed"),
        ("./my/tasks.py:summed", "write my.tasks:summed"),
        ("pipeline.summed", "a target is pipeline:summed"),
        (":summed", "which module is it in? Write my.tasks:ingest"),
        ("", "which module is it in?"),
        ("nowhere:summed", "no module 'nowhere'"),
        (f"celery+redis://:{SECRET}@host", "a URL stands where a flow should"),
    ],
)
def test_targets_that_are_not_flows_are_reported_with_advice(
    target: str, says: str, folder: Path
) -> None:
    said = mistake("run", target, *LOCAL, folder=folder)
    assert says in said
    assert SECRET not in said


def test_run_without_a_target_is_a_matter_of_usage(folder: Path) -> None:
    done = onward("run", folder=folder)
    assert done.returncode == 2
    assert "which flow?" in done.stderr


def test_the_help_of_a_target_shows_what_it_takes_and_is_made_of(folder: Path) -> None:
    usage = onward("run", "pipeline:greet", "--help", folder=folder)
    lines = [line.rstrip() for line in usage.stdout.splitlines()]
    assert usage.returncode == 0
    assert lines[0] == "Usage: onward run pipeline:greet NAME [TIMES] [--loud]"
    assert "Greets somebody." in lines
    assert "  name   str   required            --name" in lines
    assert "  times  int   1 if not given      --times" in lines
    assert "  loud   bool  False if not given  --loud/--no-loud" in lines
    chain = onward("submit", "pipeline:summed", "--help", folder=folder).stdout
    assert chain.startswith("Usage: onward submit pipeline:summed TEXT\n")
    assert "  └── total" in chain


def test_an_exception_in_the_target_s_module_shows_its_own_traceback(folder: Path) -> None:
    (folder / "broken.py").write_text("1 / 0")
    done = onward("run", "broken:flow", *LOCAL, folder=folder)
    assert done.returncode == 1
    assert "ZeroDivisionError" in done.stderr
    assert "onward/cli" not in done.stderr


def test_the_engine_is_named_by_the_environment_or_by_a_file(folder: Path) -> None:
    (folder / "here.yaml").write_text("backend: local\n")
    call = ["run", "pipeline:summed", "1,2"]
    assert onward(*call, folder=folder, extra={"ONWARD_URL": "local://"}).stdout == "3\n"
    assert printed(*call, "--config", "here.yaml", folder=folder) == "3\n"
    assert "nothing names a backend" in mistake(*call, folder=folder)
    said = mistake(*call, "--config", "nowhere.yaml", folder=folder)
    assert "nowhere.yaml: it cannot be read" in said


def test_memory_brokers_and_two_places_at_once_are_refused(folder: Path) -> None:
    said = mistake("run", "pipeline:summed", "1", "--on", "celery+memory://", folder=folder)
    assert "no other process can submit to celery+memory://" in said
    done = onward(
        "submit", "pipeline:summed", "1", folder=folder, extra={"ONWARD_URL": "celery+memory://"}
    )
    assert done.returncode == 2
    both = [*LOCAL, "--config", "onward.yaml"]
    said = mistake("run", "pipeline:summed", "1", *both, folder=folder)
    assert "--on and --config both name an engine" in said


def test_what_is_submitted_to_local_ends_with_the_process_and_so_is_refused(folder: Path) -> None:
    for arguments in (["submit", "pipeline:summed", "1"], ["result", "ref"], ["watch", "ref"]):
        said = mistake(*arguments, *LOCAL, folder=folder)
        assert "no other process can submit to local://" in said


def test_check_tells_that_nothing_stands_against_a_call(folder: Path) -> None:
    said = printed("check", "pipeline:summed", "1", *LOCAL, folder=folder)
    assert said == "no problem was found\n"
    said = printed("check", "pipeline:summed", "1", *LOCAL, "--json", folder=folder)
    assert json.loads(said) == {"faults": []}


def test_check_tells_what_stands_against_a_call_and_fails(folder: Path) -> None:
    # More than a command line can hold comes by way of the module.
    (folder / "large.py").write_text(
        "from onward import given, task\n"
        "@task\ndef join(a: str, b: str) -> str: ...\n"
        "large = given(join, 'x' * 3_000_000)\n"
    )
    call = ["check", "large:large", "a", "--on", "temporal://localhost:1"]
    assert "and Temporal carries at most 2000000" in mistake(*call, folder=folder, code=1)
    [fault] = json.loads(printed(*call, "--json", folder=folder, code=1))["faults"]
    assert fault["type"] == "TooLarge"


def test_explain_shows_a_tree_a_chart_the_engine_s_terms_and_the_plan(folder: Path) -> None:
    assert printed("explain", "pipeline:summed", folder=folder) == (
        "summed\n├── parse\n└── total\n"
    )
    chart = printed("explain", "pipeline:summed", "--mermaid", folder=folder)
    assert chart.startswith("flowchart TD\n")
    on = ["--on", "celery+redis://localhost:6379/0"]
    native = printed("explain", "pipeline:summed", "--native", *on, folder=folder)
    assert native == "chain(parse, total)\n"
    plan = json.loads(printed("explain", "pipeline:summed", "--json", folder=folder))
    assert plan["flow"] == "summed"
    assert [step["task"] for step in plan["root"]["body"]["steps"]] == ["parse", "total"]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--native", *LOCAL], "local(workers="),
        ([*LOCAL], "write --native too"),
        (["--mermaid", "--json"], "three forms: choose one"),
    ],
)
def test_forms_that_there_are_not_are_reported_with_advice(
    options: list[str], says: str, folder: Path
) -> None:
    assert says in mistake("explain", "pipeline:summed", *options, folder=folder)
