"""Which module a task is in, so that a child process finds it by importing that module."""

from __future__ import annotations

import contextlib
import inspect
import sys
from collections.abc import Callable, Iterator
from types import ModuleType

from onward.catalog import Tasks
from onward.fault import Misconfigured
from onward.flows.flow import AnyTask, Flow, Task
from onward.flows.nodes import walk

MAIN = "__main__"


class NotFound(Exception):
    """No module has the task where a child process could find it."""


def tasks_in(module: ModuleType) -> Iterator[AnyTask]:
    """The tasks of the flows at the top level of a module, some perhaps several times."""
    for value in list(vars(module).values()):
        # Not `isinstance`, which would have a lazy object of Django's load its settings.
        if issubclass(type(value), Flow):
            for each in walk(value):
                if isinstance(each, Task):
                    yield each


def module_of(task: AnyTask) -> str:
    """The name of the module by which a child process finds a task.

    Raises:
        NotFound: If there is none; the message says what to do.
    """
    own = sys.modules.get(task.fn.__module__)
    found = own if own is not None and _has(own, task) else None
    if found is None:  # a function may make tasks for other modules
        found = next((each for each in list(sys.modules.values()) if _has(each, task)), None)
    if found is None:
        raise NotFound(
            f"no module has the task {task.name!r} at its top level, where an isolated process "
            "would find it: define it there, not in a function, or leave isolate out"
        )
    if found is not sys.modules[MAIN]:
        return found.__name__
    spec = found.__spec__
    if spec is not None and not spec.name.endswith(MAIN):  # python -m my.tasks
        return spec.name
    if main_file() is None:
        raise NotFound(
            f"the task {task.name!r} is defined in a program that has no file, such as a notebook "
            "or python -c, so that an isolated process cannot import it: move it to a module"
        )
    return MAIN


def modules_of(
    tasks: Tasks, first: AnyTask, find: Callable[[AnyTask], str] = module_of
) -> tuple[str, ...]:
    """The modules of all tasks that a child process can find, beginning with that of one.

    Args:
        tasks: The tasks.
        first: The task that must be found.
        find: `module_of`, or one that remembers.

    Raises:
        NotFound: If the first is in none.
    """
    names = {find(first): None}
    for task in tasks.values():
        # A task that is not found runs in no child, and a handler there cannot read its errors.
        with contextlib.suppress(NotFound):
            names[find(task)] = None
    return tuple(names)


def unreachable(tasks: Tasks, *, all_of_them: bool) -> Misconfigured | None:
    """Why an isolated process cannot find one of the tasks that it is to run; None if it can.

    Args:
        tasks: The tasks of a worker.
        all_of_them: Whether all are isolated, or only those whose policy says so.
    """
    if is_importing_main():
        message = (
            "this process imports the program in order to run its isolated steps: put the part "
            'that starts a worker under `if __name__ == "__main__":`'
        )
        return Misconfigured("work", message)
    for task in tasks.values():
        if all_of_them or task.policy.isolate is not False:
            try:
                module_of(task)
            except NotFound as problem:
                return Misconfigured(task.name, str(problem))
    return None


def is_importing_main() -> bool:
    """Whether this is a child process that is importing the program of its parent."""
    its_module = sys.modules.get("multiprocessing.process")
    if its_module is None:
        return False
    return bool(getattr(its_module.current_process(), "_inheriting", False))


def main_file() -> str | None:
    """The file of the program; None if it has none."""
    file: str | None = getattr(sys.modules[MAIN], "__file__", None)
    return file


def _has(module: ModuleType, task: AnyTask) -> bool:
    fn = inspect.unwrap(task.fn)
    # `sys.modules` may have objects of any kind.
    return isinstance(module, ModuleType) and any(
        each.name == task.name and inspect.unwrap(each.fn) is fn for each in tasks_in(module)
    )
