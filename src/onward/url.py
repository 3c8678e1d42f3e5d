"""What a URL says of a backend: its parts, and the parameters in its query."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection
from typing import NoReturn, TypeVar, cast
from urllib.parse import SplitResult, unquote, urlsplit

from onward.settings import kinds, of_text, should_be

T = TypeVar("T")

_ADDRESS = re.compile(r"([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::([0-9]{1,5}))?")


def split(url: str, /) -> SplitResult:
    """A URL in its parts.

    Raises:
        ValueError: If a password that is not percent-encoded may be spread over them; the text
            shows nothing of it.
    """
    try:
        url.encode()  # which a lone surrogate cannot be
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
        known: A TypedDict of the parameters that there are, each a str, an int, a float or a bool.

    Raises:
        ValueError: If it says anything else; the text shows no password.
    """
    declared = kinds(known)
    said = [part.partition("=") for part in split(url).query.split("&") if part]
    unknown = [name for name, _, _ in said if name not in declared]
    if unknown:
        # What is named must not be a piece of a password, as is what stands before a stray @.
        texts = [name if "://" in unquote(text) else name + text for name, _, text in said]
        if "@" in unquote(" ".join(texts)):
            _refuse_unencoded()
        raise ValueError(f"there is no parameter {instead_of(unknown[0], declared)}")
    values: dict[str, object] = {}
    for name, _, text in said:
        if name in values:
            raise ValueError(f"{name} is there twice")
        try:
            values[name] = of_text(declared[name], text if "://" in text else unquote(text))
        except ValueError:
            raise ValueError(should_be(name, declared[name], "{}={}")) from None
    return cast(T, values)


def refuse_host(url: str) -> None:
    """Raises ValueError where the URL of a backend in this process has a host."""
    parts = split(url)
    if parts.netloc or parts.path.strip("/"):
        raise ValueError(f"it is in this process, and has no host: write {parts.scheme}://")


def refuse_user(url: str, instead: str) -> None:
    """Raises ValueError where the URL of an engine that knows no users has one.

    Args:
        url: The URL.
        instead: What the engine has in their place.
    """
    parts = split(url)
    if parts.username is not None or parts.password is not None:
        raise ValueError(f"it has no user and no password: {instead}")


def host_and_port(name: str, text: str, /) -> tuple[str, int | None]:
    """The parts of `host:port`, an IPv6 host in its brackets.

    Raises:
        ValueError: If it is something else, which may be a secret: the text does not show it.
    """
    found = _ADDRESS.fullmatch(text)
    port = int(found[2]) if found and found[2] else None
    if found is None or (port is not None and not 0 < port < 65536):
        raise ValueError(f"{name} is a host and a port: write localhost:7233")
    return found[1], port


def ipv6_in_brackets(host: str, /) -> str:
    """A host as it stands before a port; raises ValueError, as `host_and_port` does."""
    bracketed = f"[{host}]" if ":" in host and not host.startswith("[") else host
    found = _ADDRESS.fullmatch(bracketed)
    if found is None or found[2]:
        raise ValueError("host is the host alone: write localhost")
    return bracketed


def instead_of(word: str, known: Collection[str]) -> str:
    """What is not known, what is like it, and what is known."""
    like = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    hint = f" (did you mean {like[0]!r}?)" if like else ""
    return f"{word!r}{hint}. Known: {', '.join(sorted(known))}"


def _refuse_unencoded() -> NoReturn:
    raise ValueError(
        "it is not a valid URL: in user names and passwords, percent-encode what is neither "
        "a letter nor a digit (@ is %40, / is %2F); a port is a number"
    ) from None
