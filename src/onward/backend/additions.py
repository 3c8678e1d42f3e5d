"""What `observed` and `sealing` add to a backend.

Backends know nothing of it. Both functions make a copy that keeps it in one attribute, and the
interpreters read that.
"""

from __future__ import annotations

import copy
from typing import Protocol, TypeVar

from msgspec import Raw, Struct

from onward.observer import Observer

_ATTRIBUTE = "_onward_additions"

B = TypeVar("B")


class Seals(Protocol):
    """Seals and opens the secrets in some JSON."""

    def sealed(self, raw: Raw) -> Raw:
        """The JSON with each secret in it sealed; raises ImportError without cryptography."""
        ...

    def opened(self, raw: Raw) -> Raw:
        """The JSON with each secret in it open."""
        ...


class Additions(Struct, frozen=True):
    """What is added to a backend.

    Args:
        observers: Follow what is submitted on it, and the attempts of its workers.
        sealer: Has the keys for the secrets of its calls.
    """

    observers: tuple[Observer, ...] = ()
    sealer: Seals | None = None


_NOTHING = Additions()


def additions_of(backend: object) -> Additions:
    """What was added to a backend."""
    added: Additions = getattr(backend, _ATTRIBUTE, _NOTHING)
    return added


def with_additions(backend: B, additions: Additions) -> B:
    """A copy of a backend, over the same connections, with these additions.

    Raises:
        TypeError: If the backend has `__slots__`, and so no room for them.
    """
    other = copy.copy(backend)
    try:
        object.__setattr__(other, _ATTRIBUTE, additions)  # it may be a frozen dataclass
    except AttributeError:
        raise TypeError(
            f"{type(backend).__name__} has __slots__, which leave no room for observers or keys: "
            f"add {_ATTRIBUTE!r} to them"
        ) from None
    return other
