"""`local()`: runs calls in this process, without an engine."""

from __future__ import annotations

import os

from onward.backends.local.backend import Local
from onward.backends.local.core import Core
from onward.opened import NOTHING, Instead, OpenResources

__all__ = ["Local", "local"]


def local(
    *, workers: int | None = None, keep: float = 3600.0, resources: Instead = NOTHING
) -> Local:
    """The embedded backend: runs calls in this process, on its own threads and event loop.

    It needs no worker, because a call brings its own tasks. Calls are lost when the process ends,
    or when nothing refers to the backend any more.

    `run` executes a plain chain of sync tasks without timeouts in the caller's own thread.

    Args:
        workers: How many steps of sync tasks run at the same time; None for four more than there
            are processors. Steps of async tasks share one event loop and do not count.
        keep: How long the outcome of a finished call is kept, in seconds.
        resources: What tasks get in place of their resources, for tests: `{db: fake}`. A fake is
            given as it is; another `Resource` is opened.

    Returns:
        The backend.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If an argument is out of range.

    Example:
        >>> from onward import local, run, task
        >>> @task
        ... def double(n: int) -> int:
        ...     return 2 * n
        >>> backend = local(workers=2)
        >>> run(double(21), on=backend)
        <Success: 42>
    """
    if workers is not None and (isinstance(workers, bool) or not isinstance(workers, int)):
        raise TypeError(f"workers is a whole number of steps, not {workers!r}")
    if workers is not None and workers < 1:
        raise ValueError(f"workers is 1 or more, not {workers}: leave it out for the default")
    if isinstance(keep, bool) or not isinstance(keep, int | float):
        raise TypeError(f"keep is a number of seconds, not {keep!r}")
    if not keep >= 0:
        raise ValueError(f"keep is a number of seconds from 0 up, not {keep}")
    return Local(Core(workers or (os.cpu_count() or 1) + 4, keep, OpenResources(resources)))
