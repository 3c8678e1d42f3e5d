"""What is added to a backend: observers, middleware, keys, and how `connect` reached it.

Backends do not know about them. `observed`, `with_middleware` and `sealing` copy the backend and
store the additions in one attribute of the copy. The interpreters read that, and pass it on
explicitly: in what they submit, and in the tasks of the catalog that they have a backend serve.

A backend that wraps another would need a class for each set of capabilities, because those are
looked up by `isinstance`, and it would no longer be a `CeleryBackend`. Another parameter of `serve`
would break every backend that was written for an earlier release.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Protocol, TypeVar

from msgspec import Raw, Struct

if TYPE_CHECKING:  # only backends that have additions pay for it
    from collections.abc import Callable

    from returns.result import Result

    from onward.backend.protocols import Backend
    from onward.fault import Fault
    from onward.observer import Observer
    from onward.served import Surrounds

_ATTRIBUTE = "_onward_additions"

B = TypeVar("B")


class Seals(Protocol):
    """Encrypts and decrypts the secrets in some JSON."""

    def sealed(self, raw: Raw) -> Raw:
        """Encrypts each secret in the JSON; raises ImportError without cryptography."""
        ...

    def opened(self, raw: Raw) -> Raw:
        """Decrypts each secret in the JSON."""
        ...


class Additions(Struct, frozen=True):
    """What was added to a backend.

    Args:
        observers: They follow the calls submitted on it and the attempts of its workers.
        sealer: Encrypts the secrets of its calls.
        address: The URL that it was connected by, without credentials; empty if there is none.
        reach: Connects to another backend by such a URL.
        middleware: Surrounds the attempts of its workers.
    """

    observers: tuple[Observer, ...] = ()
    sealer: Seals | None = None
    address: str = ""
    reach: Callable[[str], Result[Backend, Fault]] | None = None
    middleware: Surrounds | None = None


_NOTHING = Additions()


def additions_of(backend: object) -> Additions:
    """Returns what was added to a backend."""
    added: Additions = getattr(backend, _ATTRIBUTE, _NOTHING)
    return added


def with_additions(backend: B, additions: Additions) -> B:
    """Copies a backend and gives the copy these additions; both share the connections.

    Raises:
        TypeError: If the backend has `__slots__` without a slot for them.
    """
    other = copy.copy(backend)
    try:
        set_additions(other, additions)
    except AttributeError:
        raise TypeError(
            f"{type(backend).__name__} has __slots__ without a slot for observers and keys: "
            f"add {_ATTRIBUTE!r} to its __slots__"
        ) from None
    return other


def set_additions(backend: object, additions: Additions) -> None:
    """Gives these additions to a backend that nobody else has yet.

    Raises:
        AttributeError: If the backend has `__slots__` without a slot for them.
    """
    object.__setattr__(backend, _ATTRIBUTE, additions)  # it may be a frozen dataclass
