"""Many calls while something is killed again and again, and what became of them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

from returns.result import Result, Success

from onward import Call, Fault, result, submit, submit_all
from onward.backend import Backend
from onward.fault import TimedOut, Unknown
from tests.engines.clocks import clocks_ahead
from tests.engines.server import Server
from tests.faults.lanes import Workers, every
from tests.faults.proxy import Proxy
from tests.faults.served import chain, fan_out, noted, unserved

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
    """What became of so many calls.

    Of the lost, some step never ran. The hung ran to the end, or their client still sends them.
    """

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

    def pile_up(self, count: int) -> None:
        """Sends so many calls that nobody serves, to a queue of their own."""
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

    def pile_up(self, count: int) -> None:
        submit_all(map(unserved, range(count)), on=self._backend, queue="unserved").unwrap()

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


@dataclass(frozen=True)
class Scene:
    """Who can be harmed.

    Args:
        workers: Those at work.
        server: Their server.
        network: What is between the server and all others.
        client: Who submits.
        flag: A file; a worker that looks out for it dies at its point.
    """

    workers: Workers
    server: Server
    network: Proxy
    client: Client
    flag: Path


@dataclass(frozen=True)
class Harm:
    """What is done every second, or only once, and how things are meanwhile.

    Args:
        do: What is done.
        is_once: Whether it is done only once.
        latency: How long each way through the network takes, in seconds.
        skew: How far the workers' clocks are ahead of the others, in seconds.
        backlog: How many calls wait that nobody serves.
    """

    do: Callable[[Scene], object] = lambda scene: None
    is_once: bool = False
    latency: float = 0.0
    skew: float = 0.0
    backlog: int = 0


def _away(scene: Scene, seconds: float) -> None:
    scene.server.kill()
    time.sleep(seconds)
    scene.server.restart()


def frozen(seconds: float) -> Harm:
    """The server keeps its connections, and answers nothing for so long."""

    def freeze(scene: Scene) -> None:
        scene.server.pause()
        time.sleep(seconds)
        scene.server.resume()

    return Harm(freeze, is_once=True)


def half_open(seconds: float) -> Harm:
    """The network loses all that is sent for so long, and connections of before for ever."""

    def swallow(scene: Scene) -> None:
        scene.network.swallow()
        time.sleep(seconds)
        scene.network.heal()

    return Harm(swallow, is_once=True)


KILL_ONE = Harm(lambda scene: scene.workers.kill_one())
KILL_ALL = Harm(lambda scene: scene.workers.kill_all())
KILL_SERVER = Harm(lambda scene: _away(scene, 0.0))
AWAY = Harm(lambda scene: _away(scene, 10.0), is_once=True)
"""It is not there for 10 s."""
DROP = Harm(lambda scene: scene.network.drop())

NETWORK = {
    "all connections drop": DROP,
    "the network is half-open for 20 s": half_open(20.0),
    "each way through the network takes 300 ms": Harm(latency=0.3),
    "the server answers nothing for 40 s": frozen(40.0),
    "the workers' clocks are 10 minutes ahead": Harm(skew=600.0),
}
"""What a bad network and bad clocks do, alike for all engines that are reached through a proxy."""


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
        Proxy(server.port) as network,
        clocks_ahead(harm.skew),
        lane.workers(network.url(server.url), folder, size.pace, flag) as workers,
        closing(lane.client(network.url(server.url))) as client,
    ):
        workers.await_start()
        client.pile_up(harm.backlog)
        network.latency = harm.latency
        kinds = [True] * size.chains + [False] * size.fan_outs
        times = 1 if harm.is_once else size.kills
        scene = Scene(workers, server, network, client, flag)
        names: list[str] = []

        def put() -> None:
            for n, is_chain in enumerate(kinds):
                names.append(client.put(n, is_chain=is_chain))

        with every(1.0, lambda: harm.do(scene), times) as harming:
            # A client may block for ever on a connection that nobody answers at any more.
            putting = threading.Thread(target=put, name="put", daemon=True)
            putting.start()
            harming.join()
            putting.join(PATIENCE)
        sent = list(names)
        network.latency = 0.0
        end = time.monotonic() + PATIENCE
        lost = wrong = again = missing = 0
        hung = len(kinds) - len(sent)
        for n, (name, is_chain) in enumerate(zip(sent, kinds, strict=False)):
            came = client.came(name, max(end - time.monotonic(), 0.0))
            steps = noted(workers.trace, name)
            least, last = (3, f"step {n + 2}") if is_chain else (WIDTH + 1, f"add_up {WIDTH}")
            again += max(len(steps) - least, 0)
            if not missing:  # that a machine is slow is no fault
                end = time.monotonic() + PATIENCE
            missing += came is None
            if came is None:
                hung += last in steps
                lost += last not in steps
            elif came != (n + 3 if is_chain else WIDTH * (n + 1)):
                wrong += 1
        return Tally(len(kinds), lost, hung, wrong, again, time.monotonic() - start)
