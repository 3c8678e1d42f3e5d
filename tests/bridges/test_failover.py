"""While the first engine does not answer, calls go to the second: those that were not sent."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import pytest
from returns.result import Failure, Result, Success

from onward import Backend, aio, connect, current, local, result, status, submit, submit_all, task
from onward.backends.local import Local
from onward.backends.local.core import Core
from onward.bridges import BridgeStatus, FailoverEvent, failover
from onward.fault import Fault, Misconfigured, Unavailable
from tests.engines.process import until

T = TypeVar("T")
RAN: Counter[str] = Counter()


@task
def note(n: int) -> int:
    RAN[current().key or ""] += 1
    return n


class Engine(Local):
    """A backend in this process that can go away, or lose its answers."""

    is_away = False
    loses_answers = False
    asked = 0

    def __init__(self) -> None:
        super().__init__(Core(2, 3600))

    def _wait(self, start: Callable[[], Coroutine[Any, Any, Result[T, Fault]]]) -> Result[T, Fault]:
        self.asked += 1
        if self.is_away:
            return Failure(Unavailable("", "connection refused"))
        answer = super()._wait(start)
        return Failure(Unavailable("", "no answer")) if self.loses_answers else answer


@pytest.fixture
def engines() -> Iterator[tuple[Engine, Engine]]:
    RAN.clear()
    first, second = Engine(), Engine()
    yield first, second
    first.close()
    second.close()


def is_second(ref: object) -> bool:
    return str(ref).endswith(".second")


def test_what_was_not_sent_goes_to_the_second(engines: tuple[Engine, Engine]) -> None:
    """The ref and the status say so, and the first one is asked again later."""
    first, second = engines
    events: list[FailoverEvent] = []
    bridge = failover(first, second, failures=2, reset=0.05, fresh=0, notify=events.append)
    assert not is_second(submit(note(0), on=bridge).unwrap())
    first.is_away = True
    refs = [submit(note(n), on=bridge).unwrap() for n in range(1, 5)]
    assert all(map(is_second, refs))
    assert [event.what for event in events].count("failed over") == 4
    assert "open" in [event.what for event in events]
    assert {event.id for event in events if event.id} == {ref.id for ref in refs}
    assert [result(ref, on=bridge) for ref in refs] == [Success(n) for n in range(1, 5)]
    seen = status(refs[0], on=bridge).unwrap()
    assert isinstance(seen, BridgeStatus)
    assert (seen.state, seen.engine) == ("done", repr(second))
    first.is_away = False
    until(
        lambda: not is_second(submit(note(9), on=bridge).unwrap()),
        within=120,
        otherwise=lambda: "the first engine is never asked again",
    )
    assert events[-1].what == "closed"


def test_an_engine_that_does_not_answer_is_left_alone(engines: tuple[Engine, Engine]) -> None:
    first, second = engines
    bridge = failover(first, second, failures=2, reset=3600)
    first.is_away = True
    for n in range(2):
        submit(note(n), on=bridge).unwrap()
    before = first.asked
    refs = submit_all([note(n) for n in range(10)], on=bridge).unwrap()
    assert all(map(is_second, refs))
    assert first.asked == before


def test_what_was_sent_stays(engines: tuple[Engine, Engine]) -> None:
    """Because the first engine may have the call, as it has here."""
    first, second = engines
    bridge = failover(first, second, fresh=3600)
    submit(note(0), on=bridge).unwrap()
    first.loses_answers = True
    fault = submit(note(1), on=bridge).failure()
    assert isinstance(fault, Unavailable)
    assert "may have the call or not" in fault.message
    assert is_second(submit(note(2), on=bridge).unwrap())


def test_a_key_stays_with_the_first(engines: tuple[Engine, Engine]) -> None:
    """It may know the key from before."""
    first, second = engines
    bridge = failover(first, second)
    ref = submit(note(1), on=bridge, key="k").unwrap()
    first.is_away = True
    for submitted in (
        submit(note(1), on=bridge, key="k"),
        submit(note(1), on=bridge, unique="k"),
    ):
        assert isinstance(submitted.failure(), Unavailable)
    first.is_away = False
    assert submit(note(1), on=bridge, key="k").unwrap() == ref


def test_a_key_runs_once_with_claims(engines: tuple[Engine, Engine]) -> None:
    """However many submit it while they disagree about the first engine's health."""
    first, second = engines
    claims = local()
    keys = [f"key {n}" for n in range(8)]

    class Unreachable(Engine):
        is_away = True

    gone = Unreachable()
    bridges = [failover((first, gone)[n % 2], second, claims=claims) for n in range(16)]

    def submitter(number: int) -> list[str]:
        made = [submit(note(1), on=bridges[number], key=key) for key in keys]
        return [str(each.unwrap()) if isinstance(each, Success) else "" for each in made]

    with ThreadPoolExecutor(16) as threads:
        found = list(threads.map(submitter, range(16)))
    for at, key in enumerate(keys):
        texts = {refs[at] for refs in found} - {""}
        assert len(texts) == 1, key
        assert result(note.ref(texts.pop()), on=bridges[0]) == Success(1)
    assert dict.fromkeys(keys, 1) == RAN
    claims.close()
    gone.close()


def test_callers_that_await_fail_over_too(engines: tuple[Engine, Engine]) -> None:
    first, second = engines
    first.is_away = True
    bridge = failover(first, second)

    async def many() -> list[Any]:
        refs = await asyncio.gather(*(aio.submit(note(n), on=bridge) for n in range(8)))
        assert all(is_second(ref.unwrap()) for ref in refs)
        return [(await aio.result(ref.unwrap(), on=bridge)) for ref in refs]

    assert asyncio.run(many()) == [Success(n) for n in range(8)]


def test_without_a_second_engine_the_fault_is_its_own(engines: tuple[Engine, Engine]) -> None:
    first, second = engines
    bridge = failover(first, second)
    first.is_away = second.is_away = True
    assert isinstance(submit(note(1), on=bridge).failure(), Unavailable)


def test_an_engine_that_refuses_connections_is_left() -> None:
    """Celery's, whose ledger nobody serves; by a URL."""
    away = "celery%2Bredis%3A%2F%2F127.0.0.1%3A1%2F0"
    bridge: Backend = connect(f"failover://?first={away}&second=local://").unwrap()
    ref = submit(note(7), on=bridge).unwrap()
    assert is_second(ref)
    assert result(ref, on=bridge) == Success(7)
    bridge.close()


@pytest.mark.parametrize("parameters", ["failures=0", "reset=0", "fresh=-1", "claims=nowhere://"])
def test_a_mistake_in_a_url_is_a_fault(parameters: str) -> None:
    made = connect(f"failover://?first=local://&second=local://&{parameters}")
    assert isinstance(made.failure(), Misconfigured)
