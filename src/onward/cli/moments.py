"""Reads moments from a command line: how long ago, or when."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import typer

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


def moment(text: str | None) -> datetime | None:
    """The moment of a text such as `90s`, `1h`, `2d`, `2026-11-30` or `2026-11-30T08:00+01:00`.

    Raises:
        typer.BadParameter: If the text is none of these.
    """
    if text is None:
        return None
    found = re.fullmatch(r"(\d{1,9})([smhdw])", text.strip())
    try:
        if found is not None:
            return datetime.now(UTC) - timedelta(seconds=int(found[1]) * _UNITS[found[2]])
        read = datetime.fromisoformat(text.strip())
    except (ValueError, OverflowError):
        raise typer.BadParameter(
            f"{text!r} is no moment: write 90s, 30m, 1h, 2d or 1w ago, or 2026-11-30T08:00 (UTC)"
        ) from None
    return read if read.tzinfo is not None else read.replace(tzinfo=UTC)
