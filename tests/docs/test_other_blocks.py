"""The blocks of the pages that are not Python programs, and those that nothing runs."""

import base64
import configparser
import importlib
import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from returns.result import Success

from examples.ingest.tasks import ingest
from onward import connect, explain
from tests.docs.blocks import Block, blocks, check_output
from tests.docs.test_blocks import BEFORE, INGEST, PAGES, ROOT, check, programs
from tests.docs.walk import commands, is_left_out
from tests.engines.process import until
from tests.engines.valkey import Valkey
from tests.engines.worker import WorkerProcess
from tests.examples.test_ingest import demo_on_a_terminal, durable_demo

SAID = (
    b'{"sub": "707d0855", "grpc_broadcast_address": "localhost:7077", '
    b'"server_url": "http://localhost:8888"}'
)
TOKEN = f"eyJ9.{base64.urlsafe_b64encode(SAID).decode().rstrip('=')}."

LEFT_OUT = {
    "README.md": {"git clone", "pip install", "make demo"},
    "capabilities.md": {"python -m tests.capabilities"},
    "celery.md": {"pip install"},
    "command-line.md": {"pip install", "onward --install-completion", "onward dev hatchet"},
    "configuration.md": {"docker compose", "docker build", "docker run", "export HATCHET"},
    "deploy.md": {"pip install"},
    "hatchet.md": {"pip install", "export HATCHET"},
    "observability.md": {"pip install"},
    "sqlite.md": {"pip install"},
    "temporal.md": {"pip install"},
    "tutorial.md": {"git clone", "mkdir shop", "cd shop", "python3 -m venv", ". .venv", "pip"},
    "backend.md": {"pip install"},
}
"""What no test types of what a page has its reader type; `Walk` has the reasons."""

REFS = "each ref is another one; tests/cli/test_listing.py runs these commands"
NOT_RUN = {
    ("django.md", "it is a part of a project's settings; tests/web/contract.py has such settings"),
    ("django.md", "it needs Django 6; tests/web/contract.py does the same, also with django-tasks"),
    ("django.md", "it needs a project"),
    (
        "observability.md",
        "needs sentry-sdk; tests/docs/test_sentry.py runs it where that is installed",
    ),
    ("deploy.md", "the port may be taken; tests/cli/test_health.py takes a free one"),
    ("deploy.md", "it needs Kubernetes"),
    ("adopt.md", "tests/bridges runs such tasks on each engine"),
    ("adopt.md", "tests/temporal/test_native.py runs such a workflow"),
    ("adopt.md", "tests/bridges/test_hatchet.py runs such a task"),
    ("resources.md", "needs a PostgreSQL server"),
    ("resources.md", "needs the network"),
    ("resources.md", "needs credentials"),
    ("repair.md", REFS),
    ("retention.md", REFS),
    ("from-hatchet.md", "the SDK's worker refuses engines that were built without a version"),
}
"""The blocks that no test runs, and why."""

SCRIPTS_NOT_RUN = {
    "CONTRIBUTING.md": "they are for people; CI does the same",
    "observability.md": "it asks the network for what instruments a program from outside",
    "overhead.md": "they take minutes",
}
"""The pages with scripts that no test runs, and why. Their targets of make are there."""

WRONG_ON_PURPOSE = {
    "fetch >> parse",
    "print(check(measure(3), on=local()).failure()[0].message)  # Expected `str`, got `int`",
    'wrong = submit(charge("five"), on=backend)',
    "charge.rescue(too_few)",
}
"""The lines of the pages that show what happens where no type checker was asked."""

OUTCOMES = """
import time
from dataclasses import dataclass
from returns.result import Failure, Result
from onward import task

@dataclass
class Malformed:
    text: str

@task
def add(text: str) -> int:
    return sum(map(int, text.split(";")))

@task
def parse(text: str) -> Result[int, Malformed]:
    return Failure(Malformed(text))

@task(timeout=0.01)
def fetch(text: str) -> int:
    time.sleep(0.1)
    return 0
"""
"""A task for each kind of outcome."""

MYPY = """
[mypy]
disable_error_code = empty-body
# What the pages do with the engines' own, others have checked.
[mypy-celery.*,google.*,grpc.*,hatchet_sdk.*,kombu.*,pydantic.*,temporalio.*]
follow_imports = skip
"""


def of(language: str) -> list[Block]:
    return [block for page in PAGES for block in blocks(page) if block.language == language]


def where(block: Block) -> str:
    return f"{block.page.name}:{block.line}"


@pytest.fixture(autouse=True)
def token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HATCHET_CLIENT_TOKEN", TOKEN)


@pytest.mark.parametrize(
    "block", [block for block in of("yaml") if block.mark != "not run"], ids=where
)
def test_a_yaml_file_connects_to_each_of_its_engines(block: Block, tmp_path: Path) -> None:
    first, *rest = block.code.splitlines()
    engines = [
        engine for engine in ("celery", "hatchet", "routed", "temporal") if f"{engine}:" in rest
    ]
    assert first in [f"backend: {engine}" for engine in engines]
    for engine in engines:
        file = tmp_path / f"{engine}.yaml"
        file.write_text("\n".join([f"backend: {engine}", *rest]))
        assert isinstance(connect(file), Success)


URL = re.compile(r"(?:celery\+\w+|hatchet|local|temporal)://[^\s`\"')|]+")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_url_is_one_that_connects(page: Path) -> None:
    for url in URL.findall(page.read_text()):
        assert isinstance(connect(url.rstrip(".,")), Success), url


@pytest.mark.parametrize("block", of("toml"), ids=where)
def test_what_a_pyproject_gets_is_there(block: Block) -> None:
    read = tomllib.loads(block.code)
    if "tool" in read:
        for name in read["tool"]["mypy"]["plugins"]:
            assert callable(importlib.import_module(name).plugin)
        return
    points = read["project"]["entry-points"]["onward.backends"]
    assert all(":" in target for target in points.values())


@pytest.mark.parametrize("block", of("ini"), ids=where)
def test_a_unit_s_command_is_there(block: Block) -> None:
    found = configparser.ConfigParser(interpolation=None)
    found.read_string(block.code if block.code.startswith("[") else f"[Service]\n{block.code}")
    command = found["Service"].get("ExecStart")
    if command is not None:
        name, *rest = shlex.split(command)
        check([Path(name).name, *rest])


@pytest.mark.parametrize("block", of("sh"), ids=where)
def test_a_script_is_one_for_a_shell_and_its_commands_are_there(block: Block) -> None:
    subprocess.run(["sh", "-n"], input=block.code, text=True, check=True)
    for line in block.code.splitlines():
        if line.startswith(("make ", "onward ")):
            check(shlex.split(line.partition(" > ")[0], comments=True))


@pytest.mark.parametrize(
    ("page", "url"),
    [
        ("celery.md", "celery+redis://localhost:6379/0"),
        ("hatchet.md", "hatchet://localhost:7077"),
        ("sqlite.md", "sqlite:///onward.db"),
        ("temporal.md", "temporal://localhost:7233/default?task_queue=reports"),
    ],
)
def test_a_page_shows_what_its_engine_will_be_given(page: str, url: str) -> None:
    shown = next(it for it in blocks(ROOT / "docs" / page) if it.language == "text")
    assert explain(ingest, on=connect(url).unwrap()) == shown.code.rstrip()


def test_nothing_else_of_what_a_page_has_its_reader_type_is_left_out() -> None:
    typed = {
        page.name: [
            command
            for block in blocks(page)
            if block.language == "console"
            for command, _ in commands(block)
            if is_left_out(command)
        ]
        for page in PAGES
    }
    for page, left_out in typed.items():
        known = LEFT_OUT.get(page, set())
        assert not [it for it in left_out if not it.startswith(tuple(known))], page
        assert not [start for start in known if not any(it.startswith(start) for it in left_out)]


def test_no_other_block_is_left_alone() -> None:
    marked = [block for page in PAGES for block in blocks(page) if block.mark == "not run"]
    assert {(block.page.name, block.about) for block in marked} == NOT_RUN
    scripts = {block.page.name for block in of("sh")}
    assert scripts == SCRIPTS_NOT_RUN.keys() | {"command-line.md"}
    tested = {"", "console", "dockerfile", "ini", "python", "sh", "text", "toml", "yaml"}
    assert {block.language for page in PAGES for block in blocks(page)} == tested


def test_the_demo_shows_what_the_readme_does(tmp_path: Path) -> None:
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    block = next(it for it in of("console") if it.code.startswith("$ make demo\n"))
    ((_, shown),) = commands(block)
    with demo_on_a_terminal(tmp_path) as seen:
        *_, last = seen
    check_output(block, shown, re.sub(r"[^\n]*\r(?!\n)", "", last) + durable_demo(tmp_path).stdout)


def test_mypy_refuses_of_the_pages_what_they_say_it_does(tmp_path: Path) -> None:
    for page in programs():
        code = [block.code for block in blocks(page) if is_checked(block)]
        if page.name == "README.md":
            code = code[-1:]  # the others are files of the project
        file = tmp_path / f"{page.stem.replace('-', '_')}_page.py"
        file.write_text("\n".join([BEFORE.get(page.name, ""), *code]))
    (tmp_path / "mypy.ini").write_text(MYPY)
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--output=json", "."],
        cwd=tmp_path,
        env=os.environ | {"MYPYPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    found = [json.loads(line) for line in done.stdout.splitlines()]
    said: dict[str, str] = {}
    for it in found:
        line = (tmp_path / it["file"]).read_text().splitlines()[it["line"] - 1].strip()
        said.setdefault(line, it["message"])
    promised = {line: line.partition("  # mypy: ")[2] for line in said if "  # mypy: " in line}
    assert promised
    assert said.keys() == promised.keys() | WRONG_ON_PURPOSE
    for line, message in promised.items():
        assert said[line].startswith(message)


def is_checked(block: Block) -> bool:
    return block.language == "python" and block.mark in ("", "refused")


def test_hatchet_s_own_sdk_runs_the_tasks_that_are_shown_as_before() -> None:
    before = blocks(ROOT / "docs/how-to/from-hatchet.md")[0]
    names: dict[str, Any] = {"__name__": "shop"}
    exec(compile(before.code, before.about, "exec"), names)
    source = names["Source"](url="a,bc,def")
    page = names["fetch"].mock_run(source)
    lengths = names["parse"].mock_run(source, parent_outputs={"fetch": page.model_dump()})
    assert lengths == names["Lengths"](lengths=[1, 2, 3])


def test_the_script_tells_a_value_from_an_error(valkey: Valkey, tmp_path: Path) -> None:
    (tmp_path / "my").mkdir()
    (tmp_path / "my/tasks.py").write_text(INGEST)
    url = f"celery+{valkey.url.replace('/0', '/8')}"
    log = tmp_path / "log"
    arguments = ["worker", "my.tasks", "--on", url]
    with WorkerProcess.module("onward", *arguments, log=log, folder=tmp_path) as worker:
        until(lambda: "\nready" in worker.tail(), within=120, otherwise=worker.tail)
        (script,) = [block for block in of("sh") if block.page.name == "command-line.md"]
        done = subprocess.run(
            ["sh"],
            input=f'onward() {{ {shlex.quote(sys.executable)} -m onward "$@"; }}\n{script.code}',
            cwd=tmp_path,
            env=os.environ | {"ONWARD_URL": url},
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
    assert done.stdout == "stored\n"


def test_an_image_is_made_of_the_one_that_is_built_and_runs_a_command() -> None:
    built = [it for block in of("console") for it, _ in commands(block) if "docker build" in it]
    (block,) = of("dockerfile")
    image, command = re.findall(r"^(?:FROM|CMD) (.+)$", block.code, re.MULTILINE)
    assert [shlex.split(it) for it in built] == [["docker", "build", "-t", image, "."]]
    check(["onward", *json.loads(command)])


def test_an_outcome_as_json_is_what_the_page_shows(tmp_path: Path) -> None:
    (tmp_path / "tasks.py").write_text(OUTCOMES)
    page = ROOT / "docs/command-line.md"
    (block,) = [it for it in of("text") if it.page == page]
    for name, shown in zip(("add", "parse", "fetch"), block.code.splitlines(), strict=True):
        done = subprocess.run(
            [sys.executable, "-m", "onward", "run", f"tasks:{name}", "1;2", "--json"],
            cwd=tmp_path,
            env=os.environ | {"ONWARD_URL": "local://"},
            capture_output=True,
            text=True,
            check=False,
        )
        want = shown.replace("…", "...").replace("30.0", "0.01")
        want = want.replace('"cure"', '..."cure"')  # a kind of fault may have other fields besides
        check_output(block, want, json.dumps(json.loads(done.stdout)))
