"""The reference lists everything public, and nothing else."""

import ast
import importlib
import re
from collections.abc import Iterator
from inspect import isclass, isfunction
from types import ModuleType

import onward
from onward import aio, otel, testing
from onward.backends import celery, hatchet, temporal
from tests.docs.blocks import blocks
from tests.docs.test_blocks import PAGES, ROOT

PAGE = (ROOT / "docs/reference.md").read_text()
SHOWN = re.findall(r"^\.\. auto(?:class|data|exception|function):: ([\w.]+)", PAGE, re.MULTILINE)


def public(module: ModuleType) -> Iterator[str]:
    """The names that a module offers; where it does not say, those that it defines."""
    defined = (
        name
        for name, value in vars(module).items()
        if (isfunction(value) or isclass(value)) and value.__module__ == module.__name__
    )
    names = getattr(module, "__all__", None) or defined
    return (f"{module.__name__}.{name}" for name in names if not name.startswith("_"))


def imported() -> Iterator[str]:
    """The names of the library's that the pages' programs import."""
    for block in (block for page in PAGES for block in blocks(page) if block.language == "python"):
        for statement in ast.walk(ast.parse(block.code)):
            if isinstance(statement, ast.ImportFrom):
                module = statement.module or ""
                is_ours = module.partition(".")[0] == "onward"
                yield from (f"{module}.{it.name}" for it in statement.names if is_ours)


def found(name: str) -> object:
    """What a dotted name means."""
    module, _, last = name.rpartition(".")
    return getattr(importlib.import_module(module), last)


def test_it_has_all_that_is_public() -> None:
    assert {*public(onward)} - {"onward.aio"} <= {*SHOWN}
    for module in (testing, otel, celery, hatchet, temporal):
        assert {*public(module)} <= {*SHOWN}


def test_it_has_the_awaitable_twin_of_each_interpreter() -> None:
    assert {*public(aio)} | {"onward.aio.check"} == {
        name for name in SHOWN if name.startswith("onward.aio.")
    }


def test_it_has_all_that_the_pages_import() -> None:
    known = {id(found(name)) for name in SHOWN}
    missing = [
        name
        for name in imported()
        if not isinstance(found(name), ModuleType) and id(found(name)) not in known
    ]
    assert not missing


def test_it_has_nothing_private_and_nothing_twice() -> None:
    assert not [name for name in SHOWN if "._" in name]
    assert len(SHOWN) == len({*SHOWN})
    for name in SHOWN:
        found(name)


def test_only_what_is_named_is_shown_of_a_class() -> None:
    assert not re.findall(r":(?:private|special|undoc|inherited)-members:", PAGE)
