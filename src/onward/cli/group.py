"""Removes passwords from messages about mistakes in a command line."""

from __future__ import annotations

import re
from typing import Any

from typer.core import TyperGroup

_PASSWORD = re.compile(r"(://[^\s/@:]*:)\S*@")


class RedactingGroup(TyperGroup):
    """Typer's group, which leaves the password out where a message quotes a URL."""

    def invoke(self, ctx: Any) -> Any:  # typer's types for these differ between releases
        """Runs the command."""
        try:
            return super().invoke(ctx)
        except Exception as problem:
            message = getattr(problem, "message", None)
            if isinstance(message, str):
                problem.message = _PASSWORD.sub(r"\1***@", message)  # type: ignore[attr-defined]  # as it was seen to have one
            raise
