"""Tells of mistakes in a command line, and shows no password that stands in the wrong place."""

from __future__ import annotations

import re
from typing import Any

from typer.core import TyperGroup

_PASSWORD = re.compile(r"(://[^\s/@:]*:)\S*@")


class Discreet(TyperGroup):
    """Typer's own, but where it quotes a URL, it leaves out the password."""

    def invoke(self, ctx: Any) -> Any:  # typer's own types of these are another in each release
        """Runs the command that is asked for."""
        try:
            return super().invoke(ctx)
        except Exception as problem:
            message = getattr(problem, "message", None)
            if isinstance(message, str):
                problem.message = _PASSWORD.sub(r"\1***@", message)  # type: ignore[attr-defined]  # as it was seen to have one
            raise
