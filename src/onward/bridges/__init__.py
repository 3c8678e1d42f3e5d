"""Backends made of two others, and systems that exist with Onward in their middle."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from onward.lazy import on_first_use

if TYPE_CHECKING:
    from onward.bridges import adopted, hatchet, temporal
    from onward.bridges.celery import celery_calls, celery_signature
    from onward.bridges.dial import Share, share
    from onward.bridges.draining import Left, drain
    from onward.bridges.failing_over import FailoverEvent, failover
    from onward.bridges.migrating import Difference, differences
    from onward.bridges.mirroring import Comparison, mirror
    from onward.bridges.placing import BridgeStatus
    from onward.bridges.routing import routed

__all__ = [
    "BridgeStatus",
    "Comparison",
    "Difference",
    "FailoverEvent",
    "Left",
    "Share",
    "adopted",
    "celery_calls",
    "celery_signature",
    "differences",
    "drain",
    "failover",
    "hatchet",
    "mirror",
    "routed",
    "share",
    "temporal",
]

__getattr__: Callable[[str], object] = on_first_use(
    __name__,
    {
        "onward.bridges": ("adopted", "hatchet", "temporal"),
        "onward.bridges.celery": ("celery_calls", "celery_signature"),
        "onward.bridges.dial": ("Share", "share"),
        "onward.bridges.draining": ("Left", "drain"),
        "onward.bridges.failing_over": ("FailoverEvent", "failover"),
        "onward.bridges.migrating": ("Difference", "differences"),
        "onward.bridges.mirroring": ("Comparison", "mirror"),
        "onward.bridges.placing": ("BridgeStatus",),
        "onward.bridges.routing": ("routed",),
    },
)
