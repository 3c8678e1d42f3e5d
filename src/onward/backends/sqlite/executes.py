"""What runs statements: a connection of ours, or one of the caller's."""

from __future__ import annotations

from typing import Any, Protocol


class Executes(Protocol):
    """A connection in whichever transaction; sqlite3's own is one."""

    def execute(self, sql: str, parameters: Any = ..., /) -> Any:
        """Executes one statement."""
        ...

    def executemany(self, sql: str, parameters: Any, /) -> Any:
        """Executes one statement for each of many rows."""
        ...
