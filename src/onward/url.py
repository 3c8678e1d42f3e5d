"""Reads the URL of a backend: its parts, and the parameters in its query."""

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
    """Splits a URL into its parts.

    Args:
        url: The URL.

    Returns:
        The parts, as `urllib.parse.urlsplit` gives them.

    Raises:
        ValueError: If it is not a valid URL, for instance because a password in it is not
            percent-encoded. The text shows no password.

    Example:
        >>> from onward.url import split
        >>> split("folder:///var/spool/onward").path
        '/var/spool/onward'
    """
    try:
        url.encode()  # raises for a lone surrogate
        parts = urlsplit(url)
        parts.port  # noqa: B018 - urlsplit checks the port only here
    except ValueError:
        _refuse_unencoded()
    if parts.fragment or "@" in parts.path:
        _refuse_unencoded()
    return parts


def parameters(url: str, known: type[T], /) -> T:
    """Reads the parameters in a URL's query.

    Args:
        url: The URL.
        known: A TypedDict of the allowed parameters, each a str, an int, a float or a bool.

    Returns:
        The parameters that the URL sets.

    Raises:
        ValueError: If a parameter is unknown, repeated or of the wrong kind. The text shows no
            password.

    Example:
        >>> from typing import TypedDict
        >>> from onward.url import parameters
        >>> class Parameters(TypedDict, total=False):
        ...     clerks: int
        >>> parameters("postal://?clerks=4", Parameters)
        {'clerks': 4}
    """
    declared = kinds(known)
    said = [part.partition("=") for part in split(url).query.split("&") if part]
    unknown = [name for name, _, _ in said if name not in declared]
    if unknown:
        # The name must not be a part of a password, as text before a stray @ may be.
        texts = [name if "://" in unquote(text) else name + text for name, _, text in said]
        if "@" in unquote(" ".join(texts)):
            _refuse_unencoded()
        raise ValueError(f"there is no parameter {instead_of(unknown[0], declared)}")
    values: dict[str, object] = {}
    for name, _, text in said:
        if name in values:
            raise ValueError(f"{name} appears twice")
        try:
            values[name] = of_text(declared[name], text if "://" in text else unquote(text))
        except ValueError:
            raise ValueError(should_be(name, declared[name], "{}={}")) from None
    return cast(T, values)


def refuse_host(url: str) -> None:
    """Raises ValueError if the URL of an in-process backend has a host.

    Args:
        url: The URL.

    Raises:
        ValueError: If it has a host or a path.

    Example:
        >>> from onward.url import refuse_host
        >>> refuse_host("local://?workers=4")
    """
    parts = split(url)
    if parts.netloc or parts.path.strip("/"):
        raise ValueError(
            f"this backend is in this process, and has no host: write {parts.scheme}://"
        )


def refuse_user(url: str, instead: str) -> None:
    """Raises ValueError if the URL of an engine without users has a user or a password.

    Args:
        url: The URL.
        instead: What the engine uses in their place.
    """
    parts = split(url)
    if parts.username is not None or parts.password is not None:
        raise ValueError(f"this URL takes no user and no password: {instead}")


def host_and_port(name: str, text: str, /) -> tuple[str, int | None]:
    """Splits `host:port`. An IPv6 host stays in its brackets.

    Raises:
        ValueError: If it is anything else. The text does not show it, because it may be a secret.
    """
    found = _ADDRESS.fullmatch(text)
    port = int(found[2]) if found and found[2] else None
    if found is None or (port is not None and not 0 < port < 65536):
        raise ValueError(f"{name} is a host and a port: write localhost:7233")
    return found[1], port


def ipv6_in_brackets(host: str, /) -> str:
    """A host, in brackets if it is an IPv6 address; raises ValueError as `host_and_port` does."""
    bracketed = f"[{host}]" if ":" in host and not host.startswith("[") else host
    found = _ADDRESS.fullmatch(bracketed)
    if found is None or found[2]:
        raise ValueError("host takes a host without a port: write localhost")
    return bracketed


def instead_of(word: str, known: Collection[str]) -> str:
    """Names an unknown word, a similar known word, and all known words."""
    like = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    hint = f" (did you mean {like[0]!r}?)" if like else ""
    return f"{word!r}{hint}. Known: {', '.join(sorted(known))}"


def _refuse_unencoded() -> NoReturn:
    raise ValueError(
        "it is not a valid URL: in user names and passwords, percent-encode what is neither "
        "a letter nor a digit (@ is %40, / is %2F); a port is a number"
    ) from None
