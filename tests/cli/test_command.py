"""What the command prints, and how it ends, without a worker."""

import socket
import subprocess
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import typer
from redis import Redis

from onward.cli import app
from tests.cli.command import SCRIPT, SECRET, environment, mistake, onward
from tests.engines.server import HOST
from tests.engines.valkey import Valkey

BROKER = "celery+redis://localhost:6379/0"


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port that nobody listens on, nor can."""
    with socket.socket() as kept:
        kept.bind((HOST, 0))
        yield kept.getsockname()[1]


def test_it_tells_its_version(tmp_path: Path) -> None:
    assert onward("--version", folder=tmp_path).stdout == f"onward {version('onward')}\n"


def test_it_is_installed_under_its_own_name(tmp_path: Path) -> None:
    printed = subprocess.run([SCRIPT, "--version"], check=True, capture_output=True, text=True)
    assert printed.stdout == onward("--version", folder=tmp_path).stdout


def test_the_installed_command_finds_modules_in_the_current_directory(folder: Path) -> None:
    command = [str(SCRIPT), "worker", "broken", "--on", BROKER]
    (folder / "broken.py").write_text("raise LookupError")
    done = subprocess.run(command, check=False, cwd=folder, capture_output=True, text=True)
    assert "LookupError" in done.stderr


def test_its_help_tells_the_exit_codes(tmp_path: Path) -> None:
    printed = onward("worker", "--help", folder=tmp_path)
    assert printed.returncode == 0
    assert "Exit codes: 0, it was stopped; 1, a fault" in " ".join(printed.stdout.split())


COMMANDS = [
    "run",
    "submit",
    "check",
    "result",
    "status",
    "cancel",
    "calls",
    "history",
    "resume",
    "fork",
    "forget",
    "watch",
    "worker",
    "explain",
    "doctor",
    "dev celery",
    "dev temporal",
    "dev hatchet",
]


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_s_help_has_an_example_and_its_exit_codes(command: str) -> None:
    found: Any = typer.main.get_command(app)
    for name in command.split():
        found = found.commands[name]
    printed = " ".join(found.help.split())
    assert f"Example: `onward {command} " in printed
    assert "Exit codes: " in printed


def test_its_help_lists_every_command(tmp_path: Path) -> None:
    printed = onward("--help", folder=tmp_path).stdout
    for command in COMMANDS:
        assert command.split()[0] in printed


def test_no_engine_is_imported_before_it_is_needed(folder: Path) -> None:
    after = (
        "import atexit, sys; heavy = {'asyncio', 'celery', 'hatchet_sdk', 'temporalio', 'yaml'}; "
        "atexit.register(lambda: print('imported', sorted(heavy & sys.modules.keys())))"
    )
    for arguments in (["--help"], ["run", "pipeline:summed", "--help"], ["explain", "--help"]):
        done = onward(*arguments, folder=folder, before=after)
        assert done.returncode == 0
        assert done.stdout.endswith("imported []\n")


def test_the_installation_of_completion_is_typer_s(tmp_path: Path) -> None:
    # Without this it looks for the shell that started the tests, and there need not be one.
    named = {"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    printed = onward("--show-completion", "bash", folder=tmp_path, extra=named)
    assert "_ONWARD_COMPLETE=complete_bash" in printed.stdout
    assert "complete -o default -F _onward_completion onward" in printed.stdout


def test_a_mistake_of_its_own_is_one_line_and_its_traceback_is_for_who_asks(folder: Path) -> None:
    arguments = ["explain", "pipeline:summed"]
    before = "import onward; onward.explain = None; import onward.cli"
    done = onward(*arguments, folder=folder, before=before)
    assert done.returncode == 1
    assert done.stderr.startswith("onward: a bug in Onward (TypeError): ")
    assert done.stderr.count("\n") == 1
    asked = onward(*arguments, folder=folder, before=before, extra={"ONWARD_TRACEBACK": "1"})
    assert "Traceback" in asked.stderr


@pytest.mark.parametrize("extra", [{}, {"NO_COLOR": "1", "FORCE_COLOR": "1"}])
def test_without_a_terminal_or_with_no_color_there_are_no_colours(
    extra: dict[str, str], folder: Path
) -> None:
    done = onward("run", "pipeline:nowhere", folder=folder, extra=extra)
    assert "\x1b[3" not in done.stderr
    assert "\x1b[1;3" not in done.stderr


def test_it_completes_its_commands_in_a_shell() -> None:
    asked = environment() | {
        "_ONWARD_COMPLETE": "complete_bash",
        "COMP_WORDS": "onward wor",
        "COMP_CWORD": "1",
    }
    printed = subprocess.run(
        [SCRIPT], check=True, env=environment() | asked, capture_output=True, text=True
    )
    assert printed.stdout.strip() == "worker"


@pytest.mark.parametrize(
    ("modules", "says"),
    [
        (["nowhere"], "or among the installed ones: check the spelling"),
        (["pipeline.nowhere"], "or among the installed ones: check the spelling"),
        ([""], "or among the installed ones: check the spelling"),
        (["pipeline.py"], "write pipeline\n"),
        (["./pipeline.py"], "write pipeline\n"),
        (["app/tasks.py"], "write app.tasks\n"),
        (["pipeline:summed"], "write pipeline\n"),
        ([".pipeline"], "write pipeline\n"),
        (["empty"], "empty has no task at its top level: put @task on its functions"),
        (["pipeline", "twin"], "two tasks are named 'parse', one at "),
        ([f"celery+redis://:{SECRET}@host"], "write it after --on"),
    ],
)
def test_modules_that_cannot_be_served_are_reported_with_advice(
    modules: list[str], says: str, folder: Path
) -> None:
    (folder / "empty.py").touch()
    (folder / "twin.py").write_text(
        "from onward import task\n@task\ndef parse(text: str) -> int:\n    return 0\n"
    )
    said = mistake("worker", *modules, "--on", BROKER, folder=folder)
    assert says in said
    assert SECRET not in said


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("localhost", "it must start with a scheme, such as local:// or celery+redis://"),
        (f"redis://:{SECRET}@host", "did you mean 'celery+redis'?"),
        (f"celery+redis://:{SECRET}@host?quue=a", "did you mean 'queue'?"),
        (f"celery+redis://:{SECRET}/@host", "percent-encode"),
        (
            f"celery+amqp://user:{SECRET}@host",
            "RabbitMQ cannot keep the ledger of calls: add a Redis",
        ),
        ("local://", "no other process can submit to local://"),
        ("celery+memory://", "no other process can submit to celery+memory://"),
    ],
)
def test_urls_that_no_worker_can_serve_are_reported_with_advice(
    url: str, says: str, folder: Path
) -> None:
    said = mistake("worker", "pipeline", "--on", url, folder=folder)
    assert says in said
    assert SECRET not in said


def test_a_memory_broker_that_a_file_names_is_refused_as_by_url(folder: Path) -> None:
    (folder / "onward.yaml").write_text("backend: celery\ncelery: {broker_url: 'memory://'}\n")
    said = mistake("worker", "pipeline", "--config", "onward.yaml", folder=folder)
    assert "no other process can submit to celery+memory://" in said
    assert "Name a broker's URL" in said


@pytest.mark.parametrize(
    "broker", ["celery+redis://:{}@{}:{}/0", "celery+amqp://user:{}@{}:{}//?result_backend={}"]
)
def test_an_engine_that_is_not_reached_is_a_fault(
    broker: str, folder: Path, closed_port: int, valkey: Valkey
) -> None:
    url = broker.format(SECRET, HOST, closed_port, valkey.url)
    said = mistake("worker", "pipeline", "--on", url, folder=folder, code=1)
    assert "refused. Check that the engine runs" in said
    assert SECRET not in said


def test_a_wrong_password_is_a_fault_that_does_not_show_it(folder: Path) -> None:
    with Valkey.start(folder / "server") as server:
        with Redis.from_url(server.url) as client:
            client.config_set("requirepass", "another")
        url = f"celery+{server.url}".replace("//", f"//:{SECRET}@")
        said = mistake("worker", "pipeline", "--on", url, folder=folder, code=1)
    assert "password" in said
    assert SECRET not in said


@pytest.mark.parametrize("missing", ["celery", "redis"])
def test_an_engine_that_is_not_installed_is_reported_with_advice(
    missing: str, folder: Path
) -> None:
    before = f"import sys; sys.modules['{missing}'] = None"
    said = mistake("worker", "pipeline", "--on", BROKER, folder=folder, before=before)
    assert f'{missing} is not installed: pip install "onward[celery]"' in said


@pytest.mark.parametrize("missing", ["rich", "typer"])
def test_without_its_own_extra_it_tells_how_to_install_it(missing: str, tmp_path: Path) -> None:
    before = f"import sys; sys.modules['{missing}'] = None"
    said = mistake("--version", folder=tmp_path, before=before)
    assert said == f'onward: {missing} is not installed: pip install "onward[cli]"\n'


@pytest.mark.parametrize(
    ("source", "error"),
    [
        ("1 / 0", "ZeroDivisionError"),
        ("import not_there", "ModuleNotFoundError"),
        ("import broken.not_there", "ModuleNotFoundError"),
        ("from onward import task\n@task\ndef parse(text) -> int: ...", "TypeError"),
        ("import sys\nsys.exit(0)", "SystemExit"),
    ],
)
def test_an_exception_in_a_module_shows_its_own_traceback(
    source: str, error: str, folder: Path
) -> None:
    (folder / "broken.py").write_text(source)
    done = onward("worker", "pipeline", "broken", "--on", BROKER, folder=folder)
    lines = done.stderr.splitlines()
    assert done.returncode == 1
    assert lines[0] == "Traceback (most recent call last):"
    assert lines[1].startswith(f'  File "{folder / "broken.py"}", line ')
    assert lines[-2].startswith(error)
    assert lines[-1] == f"onward: broken cannot be imported: it raised {error}, see above"


def test_a_syntax_error_in_a_module_shows_where_it_is(folder: Path) -> None:
    (folder / "broken.py").write_text("def parse(:\n")
    done = onward("worker", "broken", "--on", BROKER, folder=folder)
    assert done.returncode == 1
    assert done.stderr.startswith(f'  File "{folder / "broken.py"}", line 1\n')


@pytest.mark.parametrize(
    "arguments",
    [
        ["work"],
        ["--verbose"],
        ["worker"],
        ["worker", "pipeline", "--on", BROKER, "--concurrency", "0"],
        ["worker", "pipeline", "--on", BROKER, "--grace", "-1"],
    ],
)
def test_what_is_misspelt_or_left_out_is_a_matter_of_usage(
    arguments: list[str], folder: Path
) -> None:
    done = onward(*arguments, folder=folder)
    assert done.returncode == 2
    assert "--help" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_url_in_the_wrong_place_is_reported_without_its_password(folder: Path) -> None:
    url = f"celery+redis://user:{SECRET}@host"
    for arguments in ([url], ["result", "ref", url]):
        done = onward(*arguments, folder=folder)
        assert done.returncode == 2
        assert "://user:***@host" in done.stderr
        assert SECRET not in done.stderr
