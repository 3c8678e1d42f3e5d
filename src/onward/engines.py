"""`Engine`: how an engine is configured, without its SDK."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from onward.backend import Backend

S = TypeVar("S")


@dataclass(frozen=True)
class Engine(Generic[S]):
    """Describes how to configure an engine. An entry point in `onward.backends` names one.

    A URL, a file and the environment all lead to the same settings.

    Args:
        settings: A TypedDict of the settings, with `total=False`. Each is a str, an int, a float or
            a bool; in files, also `dict[str, T]` with another such TypedDict for T.
        connect: Makes the backend. It raises ValueError if a setting is invalid, and
            ModuleNotFoundError if an extra is missing. Neither text may show a secret.
        from_url: Reads the settings from a whole URL; raises ValueError. `onward.url` helps.
        variables: The settings that the environment may have, and the variable of each.
        secrets: The same for settings that must not be in a URL. They are looked up whenever they
            are not set.

    Example:
        >>> from typing import TypedDict
        >>> from onward import local
        >>> from onward.url import parameters
        >>> class Settings(TypedDict, total=False):
        ...     workers: int
        >>> ENGINE = Engine(
        ...     Settings,
        ...     connect=lambda settings: local(**settings),
        ...     from_url=lambda url: parameters(url, Settings),
        ...     variables={"workers": "ACME_WORKERS"},
        ... )
    """

    settings: type[S]
    connect: Callable[[S], Backend]
    from_url: Callable[[str], S]
    variables: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict)
