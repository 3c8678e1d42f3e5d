"""Backends made of two others, and systems that exist with Onward in their middle."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from onward.lazy import on_first_use

if TYPE_CHECKING:
    from onward.bridges.dial import Share, share
    from onward.bridges.routing import routed

__all__ = ["Share", "routed", "share"]

__getattr__: Callable[[str], object] = on_first_use(
    __name__,
    {
        "onward.bridges.dial": ("Share", "share"),
        "onward.bridges.routing": ("routed",),
    },
)
