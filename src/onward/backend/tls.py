"""Reads and checks the settings and files of TLS: certificates and keys."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path


def check_readable(name: str, file: Path) -> None:
    """Raises ValueError if a file cannot be read, so that the mistake shows at once.

    Args:
        name: The setting that names the file.
        file: The file.
    """
    try:
        file.open("rb").close()
    except OSError as problem:
        raise ValueError(_unreadable(name, file, problem)) from None


def contents(name: str, file: str | Path | None) -> bytes | None:
    """Reads a file; raises ValueError if it cannot be read.

    Args:
        name: The setting that names the file.
        file: The file, or None.

    Returns:
        The file's contents; None if no file was given.
    """
    if file is None:
        return None
    try:
        return Path(file).read_bytes()
    except OSError as problem:
        raise ValueError(_unreadable(name, file, problem)) from None


def check_settings(is_on: bool | None, given: Collection[str]) -> None:
    """Raises ValueError if settings of TLS contradict each other.

    Args:
        is_on: The setting `tls`; None if it is not set.
        given: Those of `tls_ca`, `tls_cert`, `tls_key` and `tls_server_name` that are set.
    """
    if given and is_on is False:
        raise ValueError(f"tls is false, but {min(given)} is set: leave one of them out")
    if ("tls_cert" in given) != ("tls_key" in given):
        raise ValueError("tls_cert and tls_key go together: set both")


def _unreadable(name: str, file: str | Path, problem: OSError) -> str:
    return f"{name}: {file} cannot be read: {problem.strerror}"
