"""Imports Hatchet's SDK when it is first needed, because that takes a second and warns."""

from __future__ import annotations

import importlib
import importlib.util
import warnings

_NAME = "hatchet_sdk"


def require() -> None:
    """Raises ModuleNotFoundError if the SDK is not installed, without importing it."""
    if importlib.util.find_spec(_NAME) is None:
        raise ModuleNotFoundError(f"No module named {_NAME!r}", name=_NAME)


def load() -> None:
    """Imports the SDK, without the warnings that its own dependencies cause."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The 'initial' parameter", DeprecationWarning)
        importlib.import_module(_NAME)
