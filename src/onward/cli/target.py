"""Finds the flow that a target such as `module:flow` names."""

from __future__ import annotations

import importlib
import re
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

from onward.catalog import Catalog
from onward.cli.console import FAULT, USAGE, end
from onward.flows.flow import AnyFlow, Flow
from onward.url import instead_of


def flow_of(target: str) -> AnyFlow:
    """The flow that a target names; modules are looked up in the current directory first."""
    if "://" in target:  # it may have a password
        end(USAGE, "a URL stands where a flow should: write module:flow before it")
    module_name, colon, name = target.partition(":")
    if module_name.endswith(".py") or "/" in module_name:
        module_name = _likely(module_name)
        end(USAGE, f"name the module, not its file: write {module_name}:{name or '…'}")
    if not module_name:
        end(USAGE, "which module is it in? Write my.tasks:ingest")
    module = _module(module_name)
    values: dict[str, Any] = vars(module)
    flows: dict[str, AnyFlow] = {
        key: value for key, value in values.items() if issubclass(type(value), Flow)
    }
    if not colon or not name:
        found = ", ".join(f"{module_name}:{each}" for each in sorted(flows))
        end(USAGE, f"which flow of {module_name}? It has {found or 'none: put @task on functions'}")
    if name not in flows and hasattr(module, name):
        what = getattr(module, name)
        advice = _advice(module_name, name, what)
        end(USAGE, f"{target} is not a flow but {type(what).__name__}: {advice}")
    if name not in flows:
        end(USAGE, f"{module_name} has no {instead_of(name, flows)}")
    return flows[name]


def _advice(module: str, name: str, what: object) -> str:
    """What to do about a target that is not a flow."""
    if not callable(what):
        return "a target is a task or a flow"
    gives = str(getattr(what, "__annotations__", {}).get("return", ""))
    if re.search(r"\b(Flow|Task)\b", gives):
        made = f"made_by_{name}"
        return f"it makes one. Write {made} = {name}(...) in the module, and use {module}:{made}"
    return "put @task on it"


def catalog_of(names: list[str]) -> Catalog:
    """The catalog of modules."""
    modules = [_module(name) for name in names]
    try:
        return Catalog.of(*modules)
    except ValueError as problem:
        end(USAGE, str(problem), problem)


def files_of(problem: BaseException | None) -> Iterator[Path]:
    """The files in an exception's traceback."""
    while problem is not None:
        if isinstance(problem, SyntaxError) and problem.filename:
            yield Path(problem.filename)
        for frame, _ in traceback.walk_tb(problem.__traceback__):
            yield Path(frame.f_code.co_filename)
        problem = problem.__cause__


def _module(name: str) -> ModuleType:
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    if not name or name.startswith("."):
        _no_module(name)
    try:
        return importlib.import_module(name)
    except (Exception, SystemExit) as problem:
        if isinstance(problem, ModuleNotFoundError) and f"{name}.".startswith(f"{problem.name}."):
            _no_module(name)
        _show(problem)
        raised = f"it raised {type(problem).__name__}, see above"
        end(FAULT, f"{name} cannot be imported: {raised}", problem)


def _no_module(name: str) -> NoReturn:
    if "://" in name:  # it may have a password
        end(USAGE, "a URL stands where a module should: write it after --on")
    likely = _likely(name)
    advice = "check the spelling, or run the command in the directory that has it"
    parent, _, last = name.rpartition(".")
    if likely not in ("", name):
        advice = f"write {likely}"
    elif hasattr(sys.modules.get(parent), last):  # the import of `name` has imported the parent
        advice = f"{last!r} is in the module {parent}: a target is {parent}:{last}"
    end(USAGE, f"no module {name!r} in {Path.cwd()} or among the installed ones: {advice}")


def _likely(name: str) -> str:
    return name.partition(":")[0].removesuffix(".py").replace("/", ".").strip(".")


def _show(problem: BaseException) -> None:
    """Prints the traceback of an exception in the user's code, without the frames above it."""
    frames = problem.__traceback__
    while frames is not None and _is_on_the_way(frames.tb_frame.f_code.co_filename):
        frames = frames.tb_next
    traceback.print_exception(type(problem), problem, frames)


def _is_on_the_way(file: str) -> bool:
    return file in (__file__, importlib.__file__) or file.startswith("<frozen importlib")
