"""The protocols of a worker: what all have, and what some have besides."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from onward.backend.records import Hearing


class Worker(Protocol):
    """A worker that serves a catalog until it is stopped."""

    def stop(self, grace: float = 30.0) -> None:
        """Takes no more steps, and waits for the running ones for at most `grace` seconds.

        To shorten the wait, call it again from another thread with fewer seconds.
        """
        ...

    def wait(self, timeout: float | None = None) -> bool:
        """Waits for at most `timeout` seconds until the worker has stopped; True once it has."""
        ...


@runtime_checkable
class StopsRemotely(Worker, Protocol):
    """A worker that the engine's own tools can stop too."""

    @property
    def is_stopping(self) -> bool:
        """Whether one of those tools told it to stop."""
        ...


@runtime_checkable
class Hears(Worker, Protocol):
    """A worker that knows when its engine was last heard; `isinstance(worker, Hears)` tells.

    Example:
        >>> from onward import Catalog, local
        >>> from onward.backend import Hears
        >>> worker = local().serve(Catalog()).unwrap()
        >>> isinstance(worker, Hears)
        True
        >>> worker.stop()
    """

    def hearing(self) -> Hearing | None:
        """Says how long the engine has not answered; None if the worker cannot tell.

        It returns at once. Whoever watches a worker asks every second or so.
        """
        ...
