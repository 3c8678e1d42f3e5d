"""What makes a value frozen, and how such values compare."""

from __future__ import annotations

from dataclasses import FrozenInstanceError
from typing import Any, TypeVar, cast

_Class = TypeVar("_Class")


def immutable(kind: type[_Class]) -> type[_Class]:
    """Makes a frozen class refuse to set or delete any attribute, not only its fields.

    On Python 3.11, a frozen dataclass with slots raises a TypeError about `super` instead.
    """
    kind.__setattr__ = _refuse_set  # type: ignore[method-assign]  # on purpose
    kind.__delattr__ = _refuse_delete  # type: ignore[method-assign]  # on purpose
    return kind


def _refuse_set(self: object, name: str, value: object) -> None:
    raise FrozenInstanceError(f"{type(self).__name__} is frozen: cannot set {name!r} of {self!r}")


def _refuse_delete(self: object, name: str) -> None:
    raise FrozenInstanceError(
        f"{type(self).__name__} is frozen: cannot delete {name!r} of {self!r}"
    )


class Compared:
    """A frozen value that equals another of its class if all that a pattern shows is equal.

    The classes are dataclasses with `eq=False`: `dataclass` would compile these methods anew for
    each class, at every import.
    """

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        names = cast(Any, self).__match_args__  # declared here, it would hide those of the classes
        return all(getattr(self, each) == getattr(other, each) for each in names)

    def __hash__(self) -> int:
        names = cast(Any, self).__match_args__
        return hash((type(self), *[getattr(self, each) for each in names]))
