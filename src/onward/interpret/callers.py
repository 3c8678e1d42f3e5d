"""The two kinds of caller: one blocks while a backend works, the other awaits."""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, Protocol, TypeVar

from returns.result import Result

from onward.backend.guard import call_backend
from onward.fault import Fault

P = ParamSpec("P")
T = TypeVar("T")
K = TypeVar("K")


class Caller(Protocol):
    """How a caller asks a backend. An exception that the backend raises becomes a fault."""

    async def ask(
        self, method: Callable[P, Result[T, Fault]], /, *args: P.args, **kwargs: P.kwargs
    ) -> Result[T, Fault]:
        """Calls a method of a backend, and gives its answer."""
        ...

    async def wait(
        self, method: Callable[[K, float | None], Result[T, Fault]], of: K, timeout: float | None, /
    ) -> Result[T, Fault]:
        """Calls `outcome` or `settled` with a timeout in seconds, and gives its answer."""
        ...


class Blocks:
    """A caller that blocks. Its coroutines never wait for an event loop."""

    async def ask(
        self, method: Callable[P, Result[T, Fault]], /, *args: P.args, **kwargs: P.kwargs
    ) -> Result[T, Fault]:
        """See `Caller.ask`."""
        return call_backend(method, *args, **kwargs)

    async def wait(
        self, method: Callable[[K, float | None], Result[T, Fault]], of: K, timeout: float | None, /
    ) -> Result[T, Fault]:
        """See `Caller.wait`."""
        return call_backend(method, of, timeout)


class Awaits:
    """A caller that awaits."""

    async def ask(
        self, method: Callable[P, Result[T, Fault]], /, *args: P.args, **kwargs: P.kwargs
    ) -> Result[T, Fault]:
        """See `Caller.ask`."""
        from onward.backend.adapters import call_backend_async

        return await call_backend_async(method, *args, **kwargs)

    async def wait(
        self, method: Callable[[K, float | None], Result[T, Fault]], of: K, timeout: float | None, /
    ) -> Result[T, Fault]:
        """See `Caller.wait`."""
        from onward.backend.adapters import await_outcome

        return await await_outcome(method, of, timeout)


BLOCKS = Blocks()
AWAITS = Awaits()
