"""`Signal`: a value that a call waits for, by its name and its type."""

from __future__ import annotations

import builtins
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from onward.checks import check_name
from onward.codec import Codec, codec
from onward.flows.frozen import Compared, immutable

S = TypeVar("S")


class _WithCodec(Compared):
    # A base class, because `codec` is not a field.
    __slots__ = ("codec",)

    codec: Codec


@immutable
@dataclass(frozen=True, slots=True, weakref_slot=True, eq=False)
class Signal(_WithCodec, Generic[S]):
    """A value that somebody sends to a call, which waits for it with `awaits`.

    Args:
        name: Its name within the call: up to 200 printable ASCII characters, without spaces.
        type: The type of its value. Only a value of this type can be sent.

    Raises:
        TypeError: If values of the type cannot travel.
        ValueError: If the name is invalid.

    Example:
        >>> from dataclasses import dataclass
        >>> from onward import Signal
        >>> @dataclass(frozen=True)
        ... class Decision:
        ...     approved: bool
        >>> decision = Signal("decision", Decision)
        >>> decision.name
        'decision'
    """

    name: str
    type: builtins.type[S]

    def __post_init__(self) -> None:
        check_name("signal", self.name)
        try:
            object.__setattr__(self, "codec", codec(self.type))
        except TypeError as problem:
            raise TypeError(
                f"the value of signal {self.name!r}, of type {self.type_name}, cannot travel: "
                f"{problem}"
            ) from None

    @property
    def type_name(self) -> str:
        """The type's name, for messages."""
        return getattr(self.type, "__qualname__", str(self.type))

    def __reduce__(self) -> tuple[Any, ...]:
        return Signal, (self.name, self.type)
