"""The two kinds of caller: one blocks while a backend is asked, the other awaits."""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, Protocol, TypeVar

from returns.result import Result

from onward.backend.guard import asked
from onward.fault import Fault

P = ParamSpec("P")
T = TypeVar("T")
K = TypeVar("K")


class Caller(Protocol):
    """How a caller asks a backend; what the backend raises is a fault to it."""

    async def ask(
        self, method: Callable[P, Result[T, Fault]], /, *args: P.args, **kwargs: P.kwargs
    ) -> Result[T, Fault]:
        """What a backend's method answers."""
        ...

    async def wait(
        self, method: Callable[[K, float | None], Result[T, Fault]], of: K, timeout: float | None, /
    ) -> Result[T, Fault]:
        """What `outcome` or `settled` answers, within the timeout in seconds."""
        ...


class Blocks:
    """A caller that blocks: none of its coroutines ever waits for an event loop."""

    async def ask(
        self, method: Callable[P, Result[T, Fault]], /, *args: P.args, **kwargs: P.kwargs
    ) -> Result[T, Fault]:
        """See `Caller.ask`."""
        return asked(method, *args, **kwargs)

    async def wait(
        self, method: Callable[[K, float | None], Result[T, Fault]], of: K, timeout: float | None, /
    ) -> Result[T, Fault]:
        """See `Caller.wait`."""
        return asked(method, of, timeout)


class Awaits:
    """A caller that awaits."""

    async def ask(
        self, method: Callable[P, Result[T, Fault]], /, *args: P.args, **kwargs: P.kwargs
    ) -> Result[T, Fault]:
        """See `Caller.ask`."""
        from onward.backend.adapters import awaiting

        return await awaiting(method, *args, **kwargs)

    async def wait(
        self, method: Callable[[K, float | None], Result[T, Fault]], of: K, timeout: float | None, /
    ) -> Result[T, Fault]:
        """See `Caller.wait`."""
        from onward.backend.adapters import awaiting_within

        return await awaiting_within(method, of, timeout)


BLOCKS = Blocks()
AWAITS = Awaits()
