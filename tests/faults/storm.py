"""Many calls while something is killed again and again, and what became of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol, TypeVar

from returns.result import Result, Success

from onward import Call, Fault, result, submit
from onward.backend import Backend
from onward.fault import TimedOut, Unknown
from tests.engines.server import Server
from tests.faults.lanes import Workers, every
from tests.faults.served import chain, fan_out, noted

T = TypeVar("T")

WIDTH = 4
"""How many branches a fan-out has."""
PATIENCE = 60.0
"""How long the next call may take once nothing is killed any more, in seconds."""


@dataclass(frozen=True)
class Size:
    """How much there is to do, and how much is done against it."""

    chains: int
    fan_outs: int
    kills: int
    pace: float
    """How long a step takes, in seconds."""


SHORT = Size(chains=24, fan_outs=4, kills=3, pace=0.2)
"""For the test run; `python -m benchmarks.faults` has many more."""


@dataclass(frozen=True)
class Tally:
    """What became of so many calls: of the lost, some step never ran; the hung ran to the end."""

    calls: int
    lost: int
    hung: int
    wrong: int
    again: int
    """How many steps were started once more."""
    seconds: float


class Client(Protocol):
    """Puts calls, and looks what came of them."""

    def put(self, n: int, *, is_chain: bool) -> str:
        """Sends a call, as often as it takes; gives the name under which its steps are noted."""
        ...

    def came(self, name: str, timeout: float) -> object:
        """The value of a call; None if there is none, and what it is if it is something else."""
        ...

    def close(self) -> None:
        """Gives back what it holds."""
        ...


class Closable(Backend, Protocol):
    """A backend that holds connections."""

    def close(self) -> None:
        """Gives them back."""
        ...


class OnwardClient:
    """What users of Onward write."""

    def __init__(self, backend: Closable) -> None:
        self._backend = backend

    def put(self, n: int, *, is_chain: bool) -> str:
        call: Call[int] = chain(n) if is_chain else fan_out([n] * WIDTH)
        # With a key, to submit again what may have been submitted does no harm.
        sent = insisting(lambda: submit(call, on=self._backend, key=f"{n}").unwrap())
        return sent.id

    def came(self, name: str, timeout: float) -> object:
        found: Result[int, Fault] = result(chain.ref(name), on=self._backend, timeout=timeout)
        match found:
            case Success(value):
                return value
            case _ if isinstance(found.failure(), TimedOut | Unknown):
                return None
        return found.failure()

    def close(self) -> None:
        self._backend.close()


def insisting(send: Callable[[], T]) -> T:
    """What it gives, as soon as it does not raise."""
    end = time.monotonic() + PATIENCE
    while True:
        try:
            return send()
        except Exception:
            if time.monotonic() >= end:
                raise
            time.sleep(0.1)


@dataclass(frozen=True)
class Lane:
    """A contender."""

    client: Callable[[str], Client]
    workers: Callable[[str, Path, float, Path], Workers]
    """At a URL, with a folder, at a pace, and with a flag that a harm may put up, a file."""


class Harm(NamedTuple):
    """What is done every second, or only once."""

    do: Callable[[Workers, Server, Path], object]
    is_once: bool = False


def _away(server: Server, seconds: float) -> None:
    server.kill()
    time.sleep(seconds)
    server.restart()


def _frozen(server: Server, seconds: float) -> None:
    server.pause()
    time.sleep(seconds)
    server.resume()


KILL_ONE = Harm(lambda workers, server, flag: workers.kill_one())
KILL_ALL = Harm(lambda workers, server, flag: workers.kill_all())
KILL_SERVER = Harm(lambda workers, server, flag: _away(server, 0.0))
AWAY = Harm(lambda workers, server, flag: _away(server, 10.0), is_once=True)
"""It is not there for 10 s."""
FROZEN = Harm(lambda workers, server, flag: _frozen(server, 10.0), is_once=True)
"""It keeps its connections, and answers nothing for 10 s."""


@dataclass(frozen=True)
class Engine:
    """What a storm goes over: a server, those who work on it, and what can happen to them.

    Args:
        packages: The distributions whose versions matter.
        server: Starts one that has on its disk what it acknowledged, in a folder.
        lanes: The contenders, by name.
        harms: What can happen, by name.
    """

    packages: Sequence[str]
    server: Callable[[Path], Server]
    lanes: Mapping[str, Lane]
    harms: Mapping[str, Harm]


def storm(engine: Engine, contender: str, what: str, size: Size, folder: Path) -> Tally:
    """What becomes of many calls while there is harm every second."""
    start = time.monotonic()
    folder.mkdir(parents=True, exist_ok=True)
    flag = folder / "flag"
    lane, harm = engine.lanes[contender], engine.harms[what]
    with (
        engine.server(folder / "server") as server,
        lane.workers(server.url, folder, size.pace, flag) as workers,
        closing(lane.client(server.url)) as client,
    ):
        workers.await_start()
        kinds = [True] * size.chains + [False] * size.fan_outs
        times = 1 if harm.is_once else size.kills
        with every(1.0, lambda: harm.do(workers, server, flag), times) as harming:
            names = [client.put(n, is_chain=is_chain) for n, is_chain in enumerate(kinds)]
            harming.join()
        end = time.monotonic() + PATIENCE
        lost = hung = wrong = again = 0
        for n, (name, is_chain) in enumerate(zip(names, kinds, strict=True)):
            came = client.came(name, max(end - time.monotonic(), 0.0))
            steps = noted(workers.trace, name)
            least, last = (3, f"step {n + 2}") if is_chain else (WIDTH + 1, f"add_up {WIDTH}")
            again += max(len(steps) - least, 0)
            if not lost + hung:  # that a machine is slow is no fault
                end = time.monotonic() + PATIENCE
            if came is None:
                hung += last in steps
                lost += last not in steps
            elif came != (n + 3 if is_chain else WIDTH * (n + 1)):
                wrong += 1
        return Tally(len(kinds), lost, hung, wrong, again, time.monotonic() - start)
