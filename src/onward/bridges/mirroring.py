"""`mirror`, which runs calls on a second engine too, and compares what becomes of them."""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
import time
from collections.abc import Callable, Collection, Generator, Iterable
from typing import TypeAlias, TypeVar

from msgspec import Struct
from msgspec.structs import replace
from returns.result import Failure

from onward.backend import Backend, Submission
from onward.backend.guard import call_backend
from onward.flows.flow import AnyFlow, Flow
from onward.observe import Attempt, Sending, observed
from onward.outcome import Faulted, Outcome, faulted
from onward.plan import MAX_TAGS, Plan
from onward.sealing import all_incoming

_LOGGER = logging.getLogger("onward.bridges")

B = TypeVar("B", bound=Backend)

_TURN = 0.2
"""How long a wait for outcomes stays with one of the engines, in seconds."""

_MOST = 1000
"""How many calls wait to be compared; those of a faster client are not mirrored."""


class Comparison(Struct, frozen=True):
    """What became of a call on both engines.

    Args:
        flow: The call's flow.
        id: The id of its plan.
        primary: Its outcome on the primary engine; None if it had none in time.
        shadow: Its outcome on the shadow; None if it had none in time.
        primary_seconds: The time from its submission to its outcome, as the client saw it.
        shadow_seconds: The same on the shadow.
        is_same: Whether the outcomes agree.
    """

    flow: str
    id: str
    primary: Outcome | None
    shadow: Outcome | None
    primary_seconds: float
    shadow_seconds: float
    is_same: bool


Compare: TypeAlias = Callable[[Outcome, Outcome], bool]
Report: TypeAlias = Callable[[Comparison], object]


def agree(primary: Outcome, shadow: Outcome) -> bool:
    """Whether two outcomes are equal values or domain errors, or faults of the same kind."""
    if isinstance(primary, Faulted) and isinstance(shadow, Faulted):
        return type(primary.fault) is type(shadow.fault)
    return primary == shadow


def mirror(
    primary: B,
    shadow: Backend,
    /,
    *,
    report: Report,
    pure: Collection[AnyFlow | str] = (),
    all: bool = False,  # noqa: A002 - what people would write
    compare: Compare = agree,
    timeout: float = 600.0,
) -> B:
    """Adds a shadow to a backend: an engine that runs a copy of its calls, to compare both.

    All answers are the primary engine's. What the shadow does, how slow it is and whether it can be
    reached changes nothing there: its copies are submitted and awaited on a thread of their own. It
    needs workers of its own.

    Only flows that you declare as pure are mirrored, because a copy does everything once more.

    Args:
        primary: The backend that answers.
        shadow: The backend that runs the copies. Their ids end in `.shadow`, and they have the tag
            `shadow`.
        report: A function that is called with the `Comparison` of each mirrored call.
        pure: The flows that are mirrored, or their names.
        all: Whether all flows are.
        compare: Whether two outcomes agree. By default, equal values and errors do, and faults of
            the same kind.
        timeout: How long an outcome is waited for, in seconds.

    Returns:
        The primary backend, with its capabilities; it uses the same connections.

    Raises:
        TypeError, ValueError: If nothing is mirrored, or an argument is invalid.

    Example:
        >>> import threading
        >>> from onward import Catalog, local, run, task
        >>> from onward.bridges import mirror
        >>> @task
        ... def double(n: int) -> int:
        ...     return 2 * n
        >>> shadow, seen, compared = local(), [], threading.Event()
        >>> worker = shadow.serve(Catalog(double)).unwrap()
        >>> def report(comparison):
        ...     seen.append((comparison.flow, comparison.is_same))
        ...     compared.set()
        >>> backend = mirror(local(), shadow, pure=[double], report=report)
        >>> answer = run(double(21), on=backend)
        >>> compared.wait(60), seen
        (True, [('double', True)])
    """
    if not all and not pure:
        raise ValueError("name the pure flows that are mirrored, or write all=True")
    if isinstance(pure, str | Flow):
        raise TypeError(f"pure is a list of flows: write pure=[{pure!r}]")
    names = None if all else frozenset(_name(each) for each in pure)
    mirroring = Mirroring(primary, shadow, report, compare, timeout)
    return observed(primary, _Copier(mirroring, names))


def _name(flow: AnyFlow | str) -> str:
    return flow.name if isinstance(flow, Flow) else flow


class _Copier:
    """Hands over what is submitted."""

    def __init__(self, mirroring: Mirroring, names: frozenset[str] | None) -> None:
        self._mirroring = mirroring
        self._names = names

    @contextlib.contextmanager
    def sending(self, sending: Sending) -> Generator[None]:
        yield
        is_wanted = self._names is None or sending.flow in self._names
        if is_wanted and sending.fault is None and sending.plan is not None:
            self._mirroring.add(sending.id, sending.plan, sending.delay)

    @contextlib.contextmanager
    def attempt(self, attempt: Attempt) -> Generator[None]:
        yield


class _Copied(Struct):
    """A call that is compared."""

    flow: str
    plan: str
    began: float
    primary_id: str
    shadow_id: str
    primary: tuple[Outcome, float] | None = None
    shadow: tuple[Outcome, float] | None = None


class Mirroring:
    """Submits copies of calls to the shadow and compares the outcomes, on a thread of its own."""

    def __init__(
        self, primary: Backend, shadow: Backend, report: Report, compare: Compare, timeout: float
    ) -> None:
        if timeout <= 0:
            raise ValueError(f"timeout is more than 0 seconds, not {timeout!r}")
        self._primary = primary
        self._shadow = shadow
        self._report = report
        self._compare = compare
        self._timeout = timeout
        self._waiting: queue.Queue[tuple[str, Plan, float]] = queue.Queue(_MOST)
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def add(self, id: str, plan: Plan, delay: float) -> None:
        """Mirrors a call, unless too many wait already."""
        try:
            self._waiting.put_nowait((id, plan, delay))
        except queue.Full:
            _LOGGER.warning("call %s is not mirrored: %d others wait", id, _MOST)
            return
        with self._lock:
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name="onward-mirror", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        open_calls: list[_Copied] = []
        while True:
            open_calls += self._submitted(wait=not open_calls)
            for is_shadow in (False, True):
                self._look(open_calls, is_shadow=is_shadow)
            for call in list(open_calls):
                is_late = time.monotonic() - call.began > self._timeout
                if is_late or (call.primary is not None and call.shadow is not None):
                    open_calls.remove(call)
                    self._tell(call)
            with self._lock:
                if not open_calls and self._waiting.empty():
                    self._thread = None
                    return

    def _submitted(self, *, wait: bool) -> list[_Copied]:
        """Submits copies of the calls that wait."""
        found: list[_Copied] = []
        with contextlib.suppress(queue.Empty):
            while len(found) < _MOST:
                id, plan, delay = self._waiting.get(timeout=_TURN if wait and not found else 0.001)
                began = time.monotonic()
                call = _Copied(plan.flow, plan.id, began, id, "")
                submitted = call_backend(self._shadow.submit, Submission(copied(plan), delay))
                if isinstance(submitted, Failure):
                    call.shadow = faulted(submitted.failure()), time.monotonic() - began
                else:
                    call.shadow_id = submitted.unwrap()
                found.append(call)
        return found

    def _look(self, calls: Iterable[_Copied], *, is_shadow: bool) -> None:
        """Waits a while for outcomes of one of the engines."""
        backend = self._shadow if is_shadow else self._primary
        left = {
            call.shadow_id if is_shadow else call.primary_id: call
            for call in calls
            if (call.shadow if is_shadow else call.primary) is None
        }
        if not left:
            return
        answer = all_incoming(backend, call_backend(backend.settled, list(left), _TURN))
        if isinstance(answer, Failure):
            time.sleep(_TURN)  # it is away, and asked again until the timeout
            return
        for id, outcome in answer.unwrap().items():
            seconds = time.monotonic() - left[id].began
            if is_shadow:
                left[id].shadow = outcome, seconds
            else:
                left[id].primary = outcome, seconds

    def _tell(self, call: _Copied) -> None:
        primary, primary_seconds = call.primary or (None, self._timeout)
        shadow, shadow_seconds = call.shadow or (None, self._timeout)
        comparison = compared(
            call.flow, call.plan, primary, shadow, primary_seconds, shadow_seconds, self._compare
        )
        try:
            self._report(comparison)
        except Exception:
            _LOGGER.exception("the function that a mirror reports to raised")


def compared(
    flow: str,
    id: str,
    primary: Outcome | None,
    shadow: Outcome | None,
    primary_seconds: float,
    shadow_seconds: float,
    compare: Compare = agree,
) -> Comparison:
    """Compares what became of a call."""
    try:
        same = primary is not None and shadow is not None and compare(primary, shadow)
    except Exception:
        _LOGGER.exception("the function that compares the outcomes of a mirror raised")
        same = False
    return Comparison(flow, id, primary, shadow, primary_seconds, shadow_seconds, same)


def copied(plan: Plan) -> Plan:
    """The plan of a call's copy on the shadow."""
    tags = plan.tags if len(plan.tags) >= MAX_TAGS else (*plan.tags, "shadow")
    return replace(plan, id=f"{plan.id}.shadow", tags=tags)
