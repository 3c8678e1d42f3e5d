"""Calls of flows from the Temporal workflows of others: `child`."""

from __future__ import annotations

from onward.backends.temporal.native import child

__all__ = ["child"]
