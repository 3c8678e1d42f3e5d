"""Storms over calls that sleep, wait for signals, are cancelled, and clean up after themselves.

Among them are fan-outs that cancel their branches at the first failure.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from returns.result import Failure, Result

from onward import (
    Cancelled,
    Conflict,
    Fault,
    Ref,
    Signal,
    Unavailable,
    awaits,
    cancel,
    result,
    send,
    sleep,
    status,
    submit,
    together,
)
from onward.fault import TimedOut, Unknown
from tests.faults.served import go_on, join, noted, refuse, step, undo
from tests.faults.storm import (
    PATIENCE,
    Closable,
    Engine,
    OnwardClient,
    Size,
    Tally,
    stage,
    until_sent,
)
from tests.faults.workers import every

GO = Signal("go", int)
CLIENTS = 5
"""How many threads submit, signal and cancel calls: an engine may take a second for one."""

sleeps = (step >> sleep(2.0)).finally_(undo) >> step
is_told = (step >> awaits(GO)).finally_(undo) >> step
is_stuck = (step >> sleep(3600.0)).finally_(undo) >> step
cut_off = (step >> sleep(3600.0)).finally_(undo)
cuts = together(cut_off, sleep(1.0) >> refuse, on_failure="cancel") >> join
is_cut = cuts.rescue(go_on, with_input=True) >> step
KINDS = (sleeps, is_told, is_told, is_stuck, is_cut)
"""The first, the second and the last end by themselves or with a signal; the others are cancelled.

Of the last, one branch cancels the other one, and the call goes on.
"""


def waiting_storm(engine: Engine, what: str, size: Size, folder: Path) -> Tally:
    """Runs as many waiting calls as the size has chains, and counts their outcomes.

    Of each three calls, one has its signal or its cancel as soon as it is submitted, and the others
    while later ones are submitted. Wrong is also a call whose cleanup did not run though its flow
    had begun, and one that went on after it was cancelled.
    """
    start = time.monotonic()
    disruption, count = engine.disruptions[what], size.chains
    times = 1 if disruption.is_once else size.kills
    with stage(engine, "Onward", disruption, size.pace, folder) as target:
        assert isinstance(target.client, OnwardClient)
        backend = target.client.backend
        refs: dict[int, Ref[int, Fault]] = {}
        problems: dict[int, Fault] = {}
        lag = count // 3 // CLIENTS * CLIENTS  # so that a call has one client
        ticks = [threading.Semaphore(0) for _ in range(CLIENTS)]
        moves: list[int] = []

        def act_on(n: int) -> None:
            if (problem := act(n, refs[n], backend)) is not None:
                problems[n] = problem

        def submit_and_act(first: int) -> None:
            for n in range(first, count + lag, CLIENTS):
                ticks[first].acquire()
                if n < count:
                    refs[n] = submitted(n, backend)
                    if n % 3 == 0:
                        act_on(n)
                if n >= lag and (n - lag) % 3:
                    act_on(n - lag)
                moves.append(n)

        def disrupt() -> None:
            for tick in ticks:
                tick.release(-(-(count + lag) // (times * CLIENTS)))
            disruption.do(target)

        with every(1.0, disrupt, times) as disrupting:
            acting = [
                threading.Thread(target=submit_and_act, args=[first], name="act", daemon=True)
                for first in range(CLIENTS)
            ]
            for client in acting:
                client.start()
            disrupting.join()
            await_end(acting, moves)
        target.network.latency = 0.0
        end = time.monotonic() + PATIENCE
        lost = wrong = again = missing = 0
        amiss: list[str] = []
        sent = dict(refs)
        hung = count - len(sent)
        for n, ref in sent.items():
            found = result(ref, on=backend, timeout=max(end - time.monotonic(), 0.0))
            notes = noted(target.workers.trace, ref.id)
            again += len(notes) - len(set(notes))
            if not missing:  # a slow machine must not count as a hang
                end = time.monotonic() + PATIENCE
            if isinstance(found.swap().value_or(None), TimedOut | Unknown):
                amiss.append(f"call {n}, {ref.id}: {found}, {notes}, {status(ref, on=backend)}")
                missing += 1
                is_done = is_complete(n, notes)
                hung += is_done
                lost += not is_done
            elif n in problems or not is_right(n, found, notes):
                amiss.append(f"call {n}, {ref.id}: {found}, {notes}, {problems.get(n)}")
                wrong += 1
        return Tally(count, lost, hung, wrong, again, time.monotonic() - start, amiss)


def await_end(clients: Sequence[threading.Thread], moves: Sequence[int]) -> None:
    """Waits for clients that may block for ever, as long as they make progress."""
    before = -1
    while len(moves) > before:
        before, end = len(moves), time.monotonic() + PATIENCE
        for client in clients:
            client.join(max(end - time.monotonic(), 0.0))
        if not any(client.is_alive() for client in clients):
            return


def submitted(n: int, backend: Closable) -> Ref[int, Fault]:
    """Submits a call, and retries until it succeeds."""
    call = KINDS[n % len(KINDS)](n)
    return until_sent(lambda: submit(call, on=backend, key=f"{n}").unwrap())


def act(n: int, ref: Ref[int, Fault], backend: Closable) -> Fault | None:
    """Signals or cancels a call, if it is one for that; returns what went wrong."""
    match n % len(KINDS):
        case 0 | 4:
            return None
        case 1:
            return insist(lambda: send(ref, GO, 10 * n, on=backend))
        case _:
            return insist(lambda: cancel(ref, on=backend))


def insist(ask: Callable[[], Result[None, Fault]]) -> Fault | None:
    """Asks the engine for something until it answers; returns the fault that it answers with."""
    end = time.monotonic() + PATIENCE
    is_repeated = False
    while True:
        match fault := ask().swap().value_or(None):
            case Unavailable() if time.monotonic() < end:
                is_repeated = True
                time.sleep(0.1)
            case Conflict() if is_repeated:  # the engine had it, and its answer was lost
                return None
            case _:
                return fault


def outcome(n: int) -> int | None:
    """What a call gives; None if it is cancelled."""
    return (n + 2, 10 * n + 1, None, None, 10 * n + 1)[n % len(KINDS)]


def is_right(n: int, found: Result[int, Fault], notes: list[str]) -> bool:
    """Whether a call has the outcome that it should have, and its cleanup has run."""
    if outcome(n) is not None:
        return found.value_or(None) == outcome(n) and is_complete(n, notes)
    is_cancelled = isinstance(found, Failure) and isinstance(found.failure(), Cancelled)
    return is_cancelled and set(notes) in ({f"step {n}", f"undo {n}"}, set(), {f"undo {n}"})


def is_complete(n: int, notes: list[str]) -> bool:
    """Whether all of a call has run that should."""
    last = {0: f"step {n + 1}", 1: f"step {10 * n}", 4: f"step {10 * n}"}.get(n % len(KINDS))
    # A branch that has not begun when another one fails never does, and has no cleanup.
    is_undone = f"undo {n}" in notes or (n % len(KINDS) == 4 and f"step {n}" not in notes)
    return is_undone and (last is None or last in notes)
