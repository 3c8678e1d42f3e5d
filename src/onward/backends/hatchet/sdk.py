"""Imports the part of Hatchet's SDK that Onward uses: the messages of the engine's protocol.

`import hatchet_sdk` takes seconds of CPU, nearly all of it for the client of the HTTP API, its
models and the SDK's own worker, which Onward does not use.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path

_NAME = "hatchet_sdk"
_CONTRACTS = f"{_NAME}.contracts"

_MESSAGES = (
    "v1.shared.condition_pb2",
    "v1.shared.trigger_pb2",
    "v1.workflows_pb2",
    "v1.dispatcher_pb2",
    "dispatcher_pb2",
    "events_pb2",
    "workflows_pb2",
)
"""The modules with messages, each after those that it imports.

In another order, Python would import the SDK itself for the first module that it looks up.
"""


def require() -> None:
    """Raises ModuleNotFoundError if the SDK is not installed, without importing it."""
    if importlib.util.find_spec(_NAME) is None:
        raise ModuleNotFoundError(f"No module named {_NAME!r}", name=_NAME)


def load() -> None:
    """Imports the messages, and not the rest of the SDK.

    A program that uses the SDK itself imports it as usual, before or afterwards: both get the same
    messages.
    """
    if _NAME not in sys.modules and _CONTRACTS not in sys.modules:
        _import_contracts()
    for each in _MESSAGES:
        importlib.import_module(f"{_CONTRACTS}.{each}")


def _import_contracts() -> None:
    """Imports the package of the messages without the SDK's package that it is in."""
    found = importlib.util.find_spec(_NAME)
    for folder in (found.submodule_search_locations or ()) if found is not None else ():
        package = Path(folder, "contracts")
        spec = importlib.util.spec_from_file_location(
            _CONTRACTS, package / "__init__.py", submodule_search_locations=[str(package)]
        )
        if (package / "__init__.py").is_file() and spec is not None and spec.loader is not None:
            module = sys.modules.setdefault(_CONTRACTS, importlib.util.module_from_spec(spec))
            spec.loader.exec_module(module)
