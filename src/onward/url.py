"""What a URL says of a backend: its parts, and the parameters in its query."""

from __future__ import annotations

import difflib
from collections.abc import Collection
from typing import NoReturn, TypeVar, cast, get_type_hints
from urllib.parse import SplitResult, unquote, urlsplit

T = TypeVar("T")

_KINDS = {int: "a whole number: write {}=4", float: "a number: write {}=60"}


def split(url: str, /) -> SplitResult:
    """A URL in its parts.

    Raises:
        ValueError: If a password that is not percent-encoded may be spread over them; the text
            shows nothing of it.
    """
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018 - it is looked at only when it is asked for
    except ValueError:
        _refuse_unencoded()
    if parts.fragment or "@" in parts.path:
        _refuse_unencoded()
    return parts


def parameters(url: str, known: type[T], /) -> T:
    """What a URL's query says.

    Args:
        url: The URL.
        known: A TypedDict of the parameters that there are, each an int, a float or a str.

    Raises:
        ValueError: If it says anything else; the text shows no password.
    """
    kinds = get_type_hints(known)
    said = [part.partition("=") for part in split(url).query.split("&") if part]
    unknown = [name for name, _, _ in said if name not in kinds]
    if unknown:
        # What is named must not be a piece of a password, as is what stands before a stray @.
        texts = [name if "://" in unquote(text) else name + text for name, _, text in said]
        if "@" in unquote(" ".join(texts)):
            _refuse_unencoded()
        raise ValueError(f"there is no parameter {instead_of(unknown[0], kinds)}")
    values: dict[str, object] = {}
    for name, _, text in said:
        if name in values:
            raise ValueError(f"{name} is there twice")
        try:
            values[name] = kinds[name](text if "://" in text else unquote(text))
        except ValueError:
            raise ValueError(f"{name} is {_KINDS[kinds[name]].format(name)}") from None
    return cast(T, values)


def refuse_host(url: str) -> None:
    """Raises ValueError where the URL of a backend in this process has a host."""
    parts = split(url)
    if parts.netloc or parts.path.strip("/"):
        raise ValueError(f"it is in this process, and has no host: write {parts.scheme}://")


def instead_of(word: str, known: Collection[str]) -> str:
    """What is not known, what is like it, and what is known."""
    like = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    hint = f" (did you mean {like[0]!r}?)" if like else ""
    return f"{word!r}{hint}. Known: {', '.join(sorted(known))}"


def _refuse_unencoded() -> NoReturn:
    raise ValueError(
        "it makes no sense as a URL: in user names and passwords, percent-encode what is neither "
        "a letter nor a digit (@ is %40, / is %2F); a port is a number"
    ) from None
