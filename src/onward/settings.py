"""The kinds of settings, and how to read them from text."""

from __future__ import annotations

from typing import TypeAlias, get_args, get_origin, get_type_hints

Kind: TypeAlias = type[str] | type[int] | type[float] | type[bool]

_NAMES: dict[Kind, str] = {
    str: "a text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
}
_EXAMPLES: dict[Kind, str] = {str: '"..."', int: "4", float: "60", bool: "true"}
_WORDS = {"true": True, "1": True, "false": False, "0": False}


def kinds(known: type) -> dict[str, Kind]:
    """The settings that a TypedDict declares."""
    return get_type_hints(known)


def of_entries(kind: object) -> type | None:
    """The TypedDict of each entry, if a setting is a table (`dict[str, ATypedDict]`)."""
    entries: type | None = get_args(kind)[1] if get_origin(kind) is dict else None
    return entries


def of_text(kind: Kind, text: str) -> object:
    """Reads a value from text; raises a ValueError that does not show the text."""
    if kind is bool:
        if text.lower() not in _WORDS:
            raise ValueError
        return _WORDS[text.lower()]
    try:
        return kind(text)
    except ValueError:
        raise ValueError from None


def is_of(kind: Kind, value: object) -> bool:
    """Whether a value is of a kind. A number is not a text."""
    if isinstance(value, bool):
        return kind is bool
    return isinstance(value, int | float if kind is float else kind)


def should_be(name: str, kind: Kind, written: str) -> str:
    """The message for a value of the wrong kind, with an example.

    Args:
        name: The setting.
        kind: Its kind.
        written: The syntax of a name and a value, such as `{}={}`.
    """
    return f"{name} is {_NAMES[kind]}: write {written.format(name, _EXAMPLES[kind])}"
