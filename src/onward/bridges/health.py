"""Whether an engine answers: a circuit breaker, and questions that change nothing."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from onward.backend import Backend
from onward.backend.guard import call_backend
from onward.bridges.asking import CALLER
from onward.fault import Fault, Unavailable
from onward.interpret.callers import BLOCKS

if TYPE_CHECKING:
    from pybreaker import CircuitBreaker

State: TypeAlias = Literal["closed", "open", "half-open"]
"""The state of a circuit breaker: closed while the engine answers."""

_STATES: dict[str, State] = {"closed": "closed", "open": "open", "half-open": "half-open"}


class _Away(Exception):
    """The engine did not answer."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(str(fault))
        self.fault = fault


class Health:
    """Says whether an engine answers.

    Args:
        backend: The backend of the engine.
        failures: How many failures in a row open the circuit breaker.
        reset: How long the breaker stays open before the engine is asked again, in seconds.
        fresh: How long an answer counts, in seconds.
        changed: Is called with each new state of the breaker.

    Raises:
        ModuleNotFoundError: If pybreaker is not installed.
        ValueError: If a number is out of bounds.
    """

    def __init__(
        self,
        backend: Backend,
        failures: int,
        reset: float,
        fresh: float,
        changed: Callable[[State], None],
    ) -> None:
        import pybreaker

        if failures < 1 or reset <= 0 or fresh < 0:
            raise ValueError("failures is 1 or more, reset more than 0 s, and fresh 0 s or more")

        class Listener(pybreaker.CircuitBreakerListener):
            def state_change(self, cb: CircuitBreaker, old_state: Any, new_state: Any) -> None:
                changed(_STATES[new_state.name])

        self._backend = backend
        self._breaker = pybreaker.CircuitBreaker(
            fail_max=failures,
            reset_timeout=reset,
            listeners=[Listener()],
            throw_new_error_on_trip=False,
        )
        self._refused: type[Exception] = pybreaker.CircuitBreakerError
        self._fresh = fresh
        self._lock = threading.Lock()
        self._answered = float("-inf")

    @property
    def state(self) -> State:
        """The state of the circuit breaker."""
        return _STATES[self._breaker.current_state]

    async def fault(self) -> Fault | None:
        """Why the engine does not answer; None if it does, or has just done."""
        if self.state == "closed" and time.monotonic() - self._answered < self._fresh:
            return None
        if CALLER.get() is BLOCKS:
            return self._asked()
        return await asyncio.to_thread(self._asked)

    def note(self, fault: Fault | None) -> None:
        """Takes note of what the engine answered to a submission."""
        if not isinstance(fault, Unavailable):
            self._answered = time.monotonic()
            return
        self._answered = float("-inf")
        with contextlib.suppress(_Away, self._refused):
            self._breaker.call(_raise, fault)

    def _asked(self) -> Fault | None:
        """Asks the engine, unless the breaker is open. Others wait for the answer meanwhile."""
        with self._lock:
            if self.state == "closed" and time.monotonic() - self._answered < self._fresh:
                return None
            try:
                self._breaker.call(self._ask)
            except _Away as away:
                return away.fault
            except self._refused:
                return Unavailable("", f"{self._backend!r} did not answer, and is left alone")
            self._answered = time.monotonic()
            return None

    def _ask(self) -> None:
        answer = call_backend(self._backend.status, "0" * 32)
        fault = answer.swap().value_or(None)
        if isinstance(fault, Unavailable):
            raise _Away(fault)


def _raise(fault: Fault) -> None:
    raise _Away(fault)
