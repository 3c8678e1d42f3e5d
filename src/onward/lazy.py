"""Names of a package whose modules are imported on first use."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping, Sequence


def on_first_use(package: str, names: Mapping[str, Sequence[str]]) -> Callable[[str], object]:
    """Makes the `__getattr__` of a package.

    Type checkers do not see these names, so the package also imports them `if TYPE_CHECKING`.

    Args:
        package: The package's name.
        names: The names by the module that has them; by the package, its own submodules.

    Returns:
        A function that imports a name's module, and keeps the name in the package.
    """
    module_of = {name: module for module, its in names.items() for name in its}

    def imported(name: str) -> object:
        if name not in module_of:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        module = module_of[name]
        if module == package:
            return importlib.import_module(f"{package}.{name}")
        found: object = getattr(importlib.import_module(module), name)
        setattr(sys.modules[package], name, found)
        return found

    return imported
