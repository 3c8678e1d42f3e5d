"""Storms: many calls while something fails again and again, and a tally of their outcomes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

from returns.result import Result, Success

from onward import Call, Fault, result, submit, submit_all
from onward.backend import Cancels, Signals
from onward.fault import TimedOut, Unknown
from tests.engines.clocks import clocks_ahead
from tests.engines.server import Server
from tests.faults.proxy import Proxy
from tests.faults.served import chain, fan_out, noted, unserved
from tests.faults.workers import Workers, every

T = TypeVar("T")

WIDTH = 4
"""How many branches a fan-out has."""
PATIENCE = 120.0
"""How long the next call may take after the last disruption, in seconds."""


@dataclass(frozen=True)
class Size:
    """How many calls and disruptions a storm has."""

    chains: int
    fan_outs: int
    kills: int
    pace: float
    """How long a step takes, in seconds."""


SHORT = Size(chains=24, fan_outs=4, kills=3, pace=0.2)
"""The size in tests; `python -m benchmarks.faults` has larger ones."""


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
    amiss: Sequence[str] = ()
    """What there is to know of those that are not right."""


class Client(Protocol):
    """Puts calls, and looks what value of them."""

    def submit(self, n: int, *, is_chain: bool) -> str:
        """Submits a call, and retries until it succeeds; returns the name of its notes."""
        ...

    def fill_backlog(self, count: int) -> None:
        """Submits so many calls to a queue without workers."""
        ...

    def value(self, name: str, timeout: float) -> object:
        """The value of a call; None if there is none in time; or the failure."""
        ...

    def close(self) -> None:
        """Closes its connections."""
        ...


class Closable(Cancels, Signals, Protocol):
    """A backend that holds connections."""

    def close(self) -> None:
        """Closes them."""
        ...


class OnwardClient:
    """A client in Onward, as its users write it."""

    def __init__(self, backend: Closable) -> None:
        self.backend = backend

    def submit(self, n: int, *, is_chain: bool) -> str:
        call: Call[int] = chain(n) if is_chain else fan_out([n] * WIDTH)
        # Because of the key, a call that is submitted twice runs once.
        sent = until_sent(lambda: submit(call, on=self.backend, key=f"{n}").unwrap())
        return sent.id

    def fill_backlog(self, count: int) -> None:
        submit_all(map(unserved, range(count)), on=self.backend, queue="unserved").unwrap()

    def value(self, name: str, timeout: float) -> object:
        found: Result[int, Fault] = result(chain.ref(name), on=self.backend, timeout=timeout)
        match found:
            case Success(value):
                return value
            case _ if isinstance(found.failure(), TimedOut | Unknown):
                return None
        return found.failure()

    def close(self) -> None:
        self.backend.close()


def until_sent(send: Callable[[], T]) -> T:
    """Calls a function until it does not raise; returns its value."""
    end = time.monotonic() + PATIENCE
    while True:
        try:
            return send()
        except Exception:
            if time.monotonic() >= end:
                raise
            time.sleep(0.1)


@dataclass(frozen=True)
class Contender:
    """A library and its setup under a storm."""

    client: Callable[[str], Client]
    workers: Callable[[str, Path, float, Path], Workers]
    """Starts workers: takes a URL, a folder, a pace, and a flag file of a disruption."""


@dataclass(frozen=True)
class Target:
    """What a disruption can act on.

    Args:
        workers: The workers.
        server: Their server.
        network: The proxy between the server and all others.
        client: Submits the calls.
        flag: A file. A worker that is armed with it dies at its point while the file exists.
    """

    workers: Workers
    server: Server
    network: Proxy
    client: Client
    flag: Path


@dataclass(frozen=True)
class Disruption:
    """A disruption, every second or only once, and the conditions of a storm.

    Args:
        do: Causes the disruption.
        is_once: Whether it happens only once.
        latency: How long each way through the network takes, in seconds.
        skew: How far the workers' clocks are ahead of the others, in seconds.
        backlog: How many calls wait without a worker.
    """

    do: Callable[[Target], object] = lambda target: None
    is_once: bool = False
    latency: float = 0.0
    skew: float = 0.0
    backlog: int = 0


def _away(target: Target, seconds: float) -> None:
    target.server.kill()
    time.sleep(seconds)
    target.server.restart()


def frozen(seconds: float) -> Disruption:
    """The server keeps its connections open, but does not answer for so long."""

    def freeze(target: Target) -> None:
        target.server.pause()
        time.sleep(seconds)
        target.server.resume()

    return Disruption(freeze, is_once=True)


def half_open(seconds: float) -> Disruption:
    """The network loses everything for so long; older connections stay dead afterwards."""

    def swallow(target: Target) -> None:
        target.network.swallow()
        time.sleep(seconds)
        target.network.heal()

    return Disruption(swallow, is_once=True)


KILL_ONE = Disruption(lambda target: target.workers.kill_one())
KILL_ALL = Disruption(lambda target: target.workers.kill_all())
KILL_SERVER = Disruption(lambda target: _away(target, 0.0))
AWAY = Disruption(lambda target: _away(target, 10.0), is_once=True)
"""It is not there for 10 s."""
DROP = Disruption(lambda target: target.network.drop())

NETWORK = {
    "all connections drop": DROP,
    "the network is half-open for 20 s": half_open(20.0),
    "each way through the network takes 300 ms": Disruption(latency=0.3),
    "the server answers nothing for 40 s": frozen(40.0),
    "the workers' clocks are 10 minutes ahead": Disruption(skew=600.0),
}
"""Disruptions of networks and clocks, for all engines that are reached through a proxy."""


@dataclass(frozen=True)
class Engine:
    """An engine under storms.

    Args:
        packages: The distributions whose versions matter.
        server: Starts a server that writes to disk before it acknowledges, in a folder.
        contenders: The contenders, by name.
        disruptions: The disruptions, by name.
        waits: The names of those for calls that wait, of which Onward alone has any.
    """

    packages: Sequence[str]
    server: Callable[[Path], Server]
    contenders: Mapping[str, Contender]
    disruptions: Mapping[str, Disruption]
    waits: Sequence[str]


@contextmanager
def stage(
    engine: Engine, contender: str, disruption: Disruption, pace: float, folder: Path
) -> Iterator[Target]:
    """A server, workers that have started, and a client, under the conditions of a disruption."""
    folder.mkdir(parents=True, exist_ok=True)
    flag, setup = folder / "flag", engine.contenders[contender]
    with (
        engine.server(folder / "server") as server,
        Proxy(server.port) as network,
        clocks_ahead(disruption.skew),
        setup.workers(network.url(server.url), folder, pace, flag) as workers,
        closing(setup.client(network.url(server.url))) as client,
    ):
        workers.await_start()
        client.fill_backlog(disruption.backlog)
        network.latency = disruption.latency
        yield Target(workers, server, network, client, flag)


def storm(engine: Engine, contender: str, what: str, size: Size, folder: Path) -> Tally:
    """Runs many calls during disruptions, and counts their outcomes."""
    start = time.monotonic()
    disruption = engine.disruptions[what]
    with stage(engine, contender, disruption, size.pace, folder) as target:
        kinds = [True] * size.chains + [False] * size.fan_outs
        times = 1 if disruption.is_once else size.kills
        client = target.client
        names: list[str] = []

        def submit_calls() -> None:
            for n, is_chain in enumerate(kinds):
                names.append(client.submit(n, is_chain=is_chain))

        with every(1.0, lambda: disruption.do(target), times) as disrupting:
            # A client may block forever on a dead connection, so this is a daemon thread.
            submitting = threading.Thread(target=submit_calls, name="submit", daemon=True)
            submitting.start()
            disrupting.join()
            submitting.join(PATIENCE)
        sent = list(names)
        target.network.latency = 0.0
        end = time.monotonic() + PATIENCE
        lost = wrong = again = missing = 0
        hung = len(kinds) - len(sent)
        for n, (name, is_chain) in enumerate(zip(sent, kinds, strict=False)):
            value = client.value(name, max(end - time.monotonic(), 0.0))
            steps = noted(target.workers.trace, name)
            least, last = (3, f"step {n + 2}") if is_chain else (WIDTH + 1, f"add_up {WIDTH}")
            again += max(len(steps) - least, 0)
            if not missing:  # a slow machine must not count as a hang
                end = time.monotonic() + PATIENCE
            missing += value is None
            if value is None:
                hung += last in steps
                lost += last not in steps
            elif value != (n + 3 if is_chain else WIDTH * (n + 1)):
                wrong += 1
        return Tally(len(kinds), lost, hung, wrong, again, time.monotonic() - start)
