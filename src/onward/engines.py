"""`Engine`: how an engine is configured, without its SDK."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from onward.backend import Backend

S = TypeVar("S")


@dataclass(frozen=True)
class Engine(Generic[S]):
    """What an entry point of the group `onward.backends` names.

    However it is configured, by a URL, a file or the environment, it comes to the same settings.

    Args:
        settings: A TypedDict of them, with `total=False`: each a str, an int, a float or a bool;
            or, in a file alone, `dict[str, T]` with another such TypedDict for T.
        connect: Makes the backend; raises ValueError for settings that are not valid, and
            ModuleNotFoundError where an extra is missing. The text of neither shows a secret.
        from_url: What a URL of its scheme says, which is passed whole; raises ValueError. See
            `onward.url` for help.
        variables: The settings that the environment may have, and the variable of each.
        secrets: The same for what no URL holds: these are looked up whenever they are not set.

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
