"""The code blocks of a page, and what runs them.

What a block is for stands in an HTML comment right before it:

    <!-- file: tasks.py -->      it is written to this file, and run by a console block further down
    <!-- more: tasks.py -->      it is added to this file
    <!-- refused -->             it is run by nobody, for mypy refuses it, and says what it tells
    <!-- not run: why -->        it is left alone

All other Python blocks of a page run one after the other, as one program. An expression with a
comment behind it has that as its value, or prints it; `...` stands for anything.
"""

from __future__ import annotations

import ast
import contextlib
import doctest
import io
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec

from onward.backend import Worker
from onward.backends.celery import CeleryBackend
from onward.backends.hatchet import HatchetBackend
from onward.backends.sqlite import SqliteBackend
from onward.backends.temporal import TemporalBackend
from onward.catalog import Catalog
from onward.flows.flow import Flow

_FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.DOTALL | re.MULTILINE)
_MARK = re.compile(r"<!-- (file|more|refused|not run)(?:: ([^\n]*))? -->\n *\Z")
_TOLD = re.compile(r"  # (.+)")


_ENGINES = (CeleryBackend, HatchetBackend, SqliteBackend, TemporalBackend)


class Block(msgspec.Struct, frozen=True):
    """A code block, without the indentation of its fences.

    Args:
        page: Where it is.
        line: The line that its code begins in.
        language: What stands behind its fence.
        code: What it holds.
        mark: What it is for, if a comment says so: file, more, refused or not run.
        about: The file, or the reason.
    """

    page: Path
    line: int
    language: str
    code: str
    mark: str = ""
    about: str = ""


def blocks(page: Path) -> list[Block]:
    """The blocks of a page, in their order."""
    text = page.read_text()
    found: list[Block] = []
    for fence in _FENCE.finditer(text):
        indent, language, code = fence.groups()
        if indent:
            code = re.sub(f"^{indent}", "", code, flags=re.MULTILINE)
        marked = _MARK.search(text[: fence.start()] + indent)
        mark, about = marked.groups("") if marked else ("", "")
        line = text.count("\n", 0, fence.start()) + 2
        found.append(Block(page, line, language, code, mark, about))
    return found


def changed(text: str, instead: Mapping[str, str]) -> str:
    """A text with the engines and files of this run in the place of those of the reader."""
    for shown, real in instead.items():
        text = text.replace(shown, real)
    return text


def matches(want: str, got: str) -> bool:
    """Whether output matches what the page shows, where `...` stands for anything."""
    options = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    return doctest.OutputChecker().check_output(f"{want}\n", f"{got.rstrip()}\n", options)


def check_output(block: Block, want: str, got: str) -> None:
    """Fails if the output differs from what the page shows."""
    where = f"{block.page.name}, line {block.line}"
    assert matches(want, got), f"{where}: it tells {want!r}, and it is {got!r}"


class Program:
    """The Python blocks of a page as one program.

    A backend that the program makes gets a worker for the tasks that it has by then, as the page
    has its reader start one.
    """

    def __init__(self, name: str, instead: Mapping[str, str]) -> None:
        self._module = ModuleType(name)
        self._names: dict[str, Any] = vars(self._module)
        self._instead = instead
        self._served: list[tuple[Any, Worker]] = []

    @classmethod
    @contextlib.contextmanager
    def running(cls, name: str, instead: Mapping[str, str]) -> Iterator[Program]:
        """A program, whose workers and backends end with it."""
        program = cls(name, instead)
        sys.modules[name] = program._module  # where dataclasses look for what they are made in
        try:
            yield program
        finally:
            del sys.modules[name]
            for backend, worker in program._served:
                worker.stop(grace=5)
                backend.close()

    def run(self, block: Block) -> None:
        """Runs one block, statement by statement."""
        code = changed(block.code, self._instead)
        lines = code.splitlines()
        for statement in ast.parse(code).body:
            last = lines[(statement.end_lineno or 1) - 1].encode()
            expected = _TOLD.fullmatch(last[statement.end_col_offset :].decode())
            ast.increment_lineno(statement, block.line - 1)
            if isinstance(statement, ast.Expr) and expected:
                check_output(block, expected[1], self._value(statement, block))
            else:
                source = ast.Module([statement], [])
                exec(compile(source, str(block.page), "exec"), self._names)
                self._serve()

    def _value(self, statement: ast.Expr, block: Block) -> str:
        """What an expression is, or what it prints."""
        source = compile(ast.Expression(statement.value), str(block.page), "eval")
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            value = eval(source, self._names)
        return printed.getvalue() if value is None else repr(value)

    def _serve(self) -> None:
        served = [backend for backend, _ in self._served]
        for value in [*self._names.values()]:
            if isinstance(value, _ENGINES) and value not in served:
                flows = [each for each in self._names.values() if isinstance(each, Flow)]
                self._served.append((value, value.serve(Catalog(*flows)).unwrap()))
