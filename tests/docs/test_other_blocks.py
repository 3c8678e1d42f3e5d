"""The blocks of the pages that are no programs: files, scripts, and what an engine is given."""

import base64
import configparser
import shlex
import subprocess
import tomllib
from pathlib import Path

import pytest
from returns.result import Success

from examples.ingest.tasks import ingest
from onward import connect, explain
from tests.docs.blocks import Block, blocks
from tests.docs.test_blocks import PAGES, ROOT, check

SAID = b'{"sub": "707d0855", "grpc_broadcast_address": "localhost:7077"}'
TOKEN = f"e30.{base64.urlsafe_b64encode(SAID).decode().rstrip('=')}."


def of(language: str) -> list[Block]:
    return [block for page in PAGES for block in blocks(page) if block.language == language]


def where(block: Block) -> str:
    return f"{block.page.name}:{block.line}"


@pytest.fixture(autouse=True)
def token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HATCHET_CLIENT_TOKEN", TOKEN)


@pytest.mark.parametrize("block", of("yaml"), ids=where)
def test_a_yaml_file_connects_to_each_of_its_engines(block: Block, tmp_path: Path) -> None:
    first, *rest = block.code.splitlines()
    engines = [engine for engine in ("celery", "hatchet", "temporal") if f"{engine}:" in rest]
    assert first in [f"backend: {engine}" for engine in engines]
    for engine in engines:
        file = tmp_path / f"{engine}.yaml"
        file.write_text("\n".join([f"backend: {engine}", *rest]))
        assert isinstance(connect(file), Success)


@pytest.mark.parametrize("block", of("toml"), ids=where)
def test_what_a_pyproject_gets_is_an_entry_point(block: Block) -> None:
    points = tomllib.loads(block.code)["project"]["entry-points"]["onward.backends"]
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
        ("temporal.md", "temporal://localhost:7233/default?task_queue=reports"),
    ],
)
def test_a_page_shows_what_its_engine_will_be_given(page: str, url: str) -> None:
    shown = next(it for it in blocks(ROOT / "docs" / page) if it.language == "text")
    assert explain(ingest, on=connect(url).unwrap()) == shown.code.rstrip()
