"""Reads a YAML file of settings, with line numbers. No message shows a value."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, cast

from onward.settings import is_of, kinds, of_entries, of_text, should_be
from onward.url import instead_of

if TYPE_CHECKING:
    from yaml import Node, SafeLoader

T = TypeVar("T")

LIMIT = 64 * 1024
"""The largest size of a file, in bytes."""

_DEPTH = 4
"""How deep a file may nest: sections, settings, a table's entries, and their settings."""

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}")
_VARIABLE = re.compile(r"\$(\$\{)|\$\{(?:([A-Za-z_][A-Za-z0-9_]*)(?::-([^{}]*))?\})?")


@dataclass(frozen=True, repr=False)
class Entry:
    """The value of a name.

    Args:
        line: Its line, from 1 up.
        value: A str, a number, a bool or None; a `Section`; or anything else, which is invalid.
    """

    line: int
    value: object


Section = dict[str, Entry]
"""The entries of a mapping, by name."""


def read(path: Path) -> Section:
    """Reads a file.

    Raises:
        ModuleNotFoundError: If PyYAML is not installed.
        ValueError: If the file cannot be read, or is invalid.
    """
    import yaml

    try:
        loader = yaml.SafeLoader(_text(path))  # in Python: deep nesting raises RecursionError
        root = loader.get_node() if loader.check_node() else None
        if loader.check_node():
            raise ValueError("it has several documents: leave one of them, and no --- after it")
        return {} if root is None else _section(loader, root, depth=_DEPTH)
    except yaml.YAMLError as problem:
        mark = getattr(problem, "problem_mark", None)
        where = "" if mark is None else f"line {mark.line + 1}: "
        raise ValueError(
            f"{where}it is not valid YAML: check colons, indentation and quotes there, and put "
            "quotes around texts that have more than letters and digits"
        ) from None
    except RecursionError:
        raise ValueError(
            "it is nested too deeply: write sections, and settings below them"
        ) from None


def _section(loader: SafeLoader, node: Node, depth: int) -> Section:
    """The entries of a mapping."""
    import yaml

    if not isinstance(node, yaml.MappingNode):
        raise ValueError(f"line {_line(node)}: write names here, each with a colon and a space")
    section: Section = {}
    for key, value in node.value:
        name = key.value
        has_colon = key.end_mark.index != value.start_mark.index
        if not isinstance(name, str) or not _NAME.fullmatch(name) or not has_colon:
            raise ValueError(f"line {_line(key)}: a setting's name is missing or not valid")
        if name in section:
            raise ValueError(
                f"line {_line(key)}: {name} appears twice, first on line {section[name].line}"
            )
        section[name] = Entry(_line(key), _value(loader, value, depth - 1))
    return section


def _value(loader: SafeLoader, node: Node, depth: int) -> object:
    import yaml

    if isinstance(node, yaml.MappingNode) and depth > 0:
        return _section(loader, node, depth)
    if not isinstance(node, yaml.ScalarNode):
        return node
    try:
        return loader.construct_object(node)
    except ValueError:  # such as a date that does not exist
        return node


def _line(node: Node) -> int:
    return node.start_mark.line + 1


def settings(section: Section, known: type[T], environment: Mapping[str, str] | None) -> T:
    """Reads the settings of a section.

    Args:
        section: The section.
        known: A TypedDict of the allowed settings.
        environment: The variables for `${VARIABLE}` and `${VARIABLE:-otherwise}`; None leaves out
            the settings that have any.

    Raises:
        ValueError: If a setting is invalid, or a variable is not set.
    """
    declared = kinds(known)
    values: dict[str, object] = {}
    for name, entry in section.items():
        where = f"line {entry.line}: "
        if name not in declared:
            raise ValueError(f"{where}there is no setting {instead_of(name, declared)}")
        entries = of_entries(declared[name])
        if entries is not None:
            values[name] = _table(name, entry, entries, environment)
            continue
        wrong = f"{where}{should_be(name, declared[name], '{}: {}')}"
        value = entry.value
        if isinstance(value, str) and "${" in value:
            if environment is not None:
                text = _expanded(value, environment, f"{where}{name}: ")
                try:
                    values[name] = of_text(declared[name], text)
                except ValueError:
                    raise ValueError(wrong) from None
        elif is_of(declared[name], value):
            values[name] = value
        else:
            raise ValueError(wrong)
    return cast(T, values)


def _table(
    name: str, entry: Entry, known: type, environment: Mapping[str, str] | None
) -> dict[str, object]:
    """Reads a table: settings for each of several names."""
    if not isinstance(entry.value, dict):
        raise ValueError(f"line {entry.line}: {name} needs names below it, one to a line")
    table: dict[str, object] = {}
    for each, below in entry.value.items():
        if not isinstance(below.value, dict):
            needed = f"its settings, such as {' and '.join(sorted(kinds(known)))}"
            raise ValueError(f"line {below.line}: {each} needs {needed}")
        table[each] = settings(below.value, known, environment)
    return table


def _expanded(text: str, environment: Mapping[str, str], where: str) -> str:
    def value(found: re.Match[str]) -> str:
        escaped, name, otherwise = found.groups()
        if escaped:
            return "${"
        if name is None:
            raise ValueError(f"{where}${{ starts a ${{VARIABLE}}: write $${{ for a literal ${{")
        text = environment.get(name, otherwise)
        if text is None:
            raise ValueError(f"{where}the environment has no variable {name}: set it")
        return text or otherwise or ""

    return _VARIABLE.sub(value, text)


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            raw = file.read(LIMIT + 1)
    except OSError as problem:
        raise ValueError(f"it cannot be read: {problem.strerror}") from None
    if len(raw) > LIMIT:
        raise ValueError(f"it has more than {LIMIT} bytes")
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise ValueError("it is not UTF-8 text") from None
