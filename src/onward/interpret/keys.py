"""The ids of calls, with a key and without."""

from __future__ import annotations

import os
import time

from onward.flows.flow import AnyFlow


def new_id() -> str:
    """An id for a call without a key: 80 random bits after the time.

    Ids that sort by time stand together in an engine's index, whose other pages stay as they are.
    """
    return f"{time.time_ns() // 1_000_000:012x}{os.urandom(10).hex()}"


def id_of_key(what: str, flow: AnyFlow, key: str) -> str:
    """The id that a flow and a key have in every process; raises ValueError for an invalid key."""
    if not isinstance(key, str) or not key:
        raise ValueError(f"{what} is a text that is not empty, not {key!r}")
    if any("\ud800" <= letter <= "\udfff" for letter in key):
        raise ValueError(f"{what} {key!r} has lone surrogates, which UTF-8 cannot encode")
    if "\0" in key:
        raise ValueError(f"{what} {key!r} has a NUL, which some engines cannot store: leave it out")
    from onward.interpret.canonical import id_of  # a call without a key does not pay for the import

    return id_of(flow, key)
