"""Many calls while something is killed again and again, and what became of them."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol, TypeVar

from celery import chain as chain_of
from celery import chord
from returns.result import Result, Success

from onward import Call, Fault, result, submit
from onward.backends.celery import celery
from onward.fault import TimedOut, Unknown
from tests.faults.lanes import Durable, Workers, every, onward_workers
from tests.faults.plain import SETUPS, app_of
from tests.faults.served import THREADS, chain, fan_out, noted

T = TypeVar("T")

WIDTH = 4
"""How many branches a fan-out has."""
PATIENCE = 60.0
"""How long all calls together may take once nothing is killed any more, in seconds."""
PROCESSES = 2


@dataclass(frozen=True)
class Size:
    """How much there is to do, and how much is done against it."""

    chains: int
    fan_outs: int
    kills: int
    pace: float
    """How long a step takes, in seconds."""


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


class OnwardClient:
    """What users of Onward write."""

    def __init__(self, url: str) -> None:
        self._backend = celery(url, lease=1.0)

    def put(self, n: int, *, is_chain: bool) -> str:
        call: Call[int] = chain(n) if is_chain else fan_out([n] * WIDTH)
        # With a key, to submit again what may have been submitted does no harm.
        sent = _insisting(lambda: submit(call, on=self._backend, key=f"{n}").unwrap())
        return sent.id

    def came(self, name: str, timeout: float) -> object:
        found: Result[int, Fault] = result(chain.ref(name), on=self._backend, timeout=timeout)
        match found:
            case Success(value):
                return value
            case _ if isinstance(found.failure(), TimedOut | Unknown):
                return None
        return found.failure()


class PlainClient:
    """What users of Celery write."""

    def __init__(self, setup: str, url: str) -> None:
        self._app = app_of(setup, url)
        self._step = self._app.tasks["step"]
        self._add_up = self._app.tasks["add_up"]
        self._sent: dict[str, str] = {}

    def put(self, n: int, *, is_chain: bool) -> str:
        name = f"{'chain' if is_chain else 'fan-out'}-{n}"
        step, add_up = self._step, self._add_up

        def send() -> str:
            if is_chain:
                line = chain_of(step.s(n, name), step.s(name), step.s(name))
                return str(line.apply_async().id)
            return str(chord([step.s(n, name)] * WIDTH)(add_up.s(name)).id)

        self._sent[name] = _insisting(send)
        return name

    def came(self, name: str, timeout: float) -> object:
        end = time.monotonic() + timeout
        while True:
            meta = self._app.backend.get_task_meta(self._sent[name])
            if meta["status"] in ("SUCCESS", "FAILURE"):
                return meta["result"]
            if time.monotonic() >= end:
                return None
            time.sleep(0.05)


def _insisting(send: Callable[[], T]) -> T:
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
    """At a URL, with a folder, at a pace, and with a flag: see `served.arm`."""


def _plain(setup: str) -> Lane:
    def workers(url: str, folder: Path, pace: float, flag: Path) -> Workers:
        command = ["tests.faults.plain", setup, url, str(PROCESSES * THREADS), str(flag)]
        return Workers(command, folder, pace=pace, ready=" ready.")

    return Lane(lambda url: PlainClient(setup, url), workers)


def _onward(url: str, folder: Path, pace: float, flag: Path) -> Workers:
    return onward_workers(folder, url, workers=PROCESSES, pace=pace, crash=("popped", flag))


LANES: dict[str, Lane] = {
    "Onward": Lane(OnwardClient, _onward),
    **{setup: _plain(setup) for setup in SETUPS},
}


class Harm(NamedTuple):
    """What is done every second, or only once."""

    do: Callable[[Workers, Durable, Path], object]
    is_once: bool = False


def _away(server: Durable, seconds: float) -> None:
    server.kill()
    time.sleep(seconds)
    server.restart()


HARMS: dict[str, Harm] = {
    "one of the workers is killed": Harm(lambda workers, server, flag: workers.kill_one()),
    "all workers are killed": Harm(lambda workers, server, flag: workers.kill_all()),
    "the broker is killed": Harm(lambda workers, server, flag: _away(server, 0.0)),
    "a worker dies between pop and unacked": Harm(lambda workers, server, flag: flag.touch()),
    "the broker is away for 10 s": Harm(
        lambda workers, server, flag: _away(server, 10.0), is_once=True
    ),
}
"""With Celery, one of the workers is a child of the main process; ours have no children."""


def storm(lane: Lane, harm: Harm, size: Size, folder: Path) -> Tally:
    """What becomes of many calls while there is harm every second."""
    start = time.monotonic()
    folder.mkdir(parents=True, exist_ok=True)
    flag = folder / "flag"
    with (
        Durable.start(folder / "valkey") as server,
        lane.workers(server.url, folder, size.pace, flag) as workers,
    ):
        workers.await_start()
        client = lane.client(server.url)
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
            if came is None:
                hung += last in steps
                lost += last not in steps
            elif came != (n + 3 if is_chain else WIDTH * (n + 1)):
                wrong += 1
        return Tally(len(kinds), lost, hung, wrong, again, time.monotonic() - start)
