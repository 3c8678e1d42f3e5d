"""Changes the engine of a running system: 0, 25, 50, 100, and back to 50 percent of its calls.

`python -m examples.switch` changes from one SQLite file to another. Give two URLs for other
engines: `python -m examples.switch celery+redis://localhost:6379/0 temporal://localhost:7233`.
"""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol, runtime_checkable
from urllib.parse import quote

from examples.switch.tasks import orders, paid, reminders, report
from onward import Ref, connect, move, result, schedule, schedules, send, submit, unschedule, unwrap
from onward.backend import Lists, Moves, ReadsSchedules, Signals
from onward.bridges import drain
from onward.fault import Fault

EACH = 6
"""How many calls are submitted at each position of the dial."""


@runtime_checkable
class Engine(Lists, Moves, ReadsSchedules, Signals, Protocol):
    """What both engines can do, and so the bridge."""


def engine(url: str) -> Engine:
    backend = unwrap(connect(url))
    if not isinstance(backend, Engine):
        sys.exit(f"{backend} cannot list calls, move them, signal them or have schedules")
    return backend


def main(old_url: str, new_url: str, dial: Path) -> None:
    bridge_url = f"routed://?old={quote(old_url, '')}&new={quote(new_url, '')}&dial={dial}"
    turn(dial, 0)
    old, new, bridge = engine(old_url), engine(new_url), engine(bridge_url)
    refs: list[Ref[str, Fault]] = []
    with workers(bridge_url) as killing:
        unwrap(schedule(report("today"), on=bridge, name="report", cron="0 2 * * *"))
        for percent in (0, 25, 50, 100, 50):
            turn(dial, percent)
            numbers = range(len(refs), len(refs) + EACH)
            sent = [submitted(n, bridge) for n in numbers]
            on_new = sum(is_on_new(ref) for ref in sent)
            print(f"{percent} %: {EACH - on_new} calls on the old engine, {on_new} on the new one")
            if not refs:
                unwrap(result(sent[1], on=bridge, timeout=60))  # the workers have started
            killing()
            turn(dial, 100 - percent)
            again = [submitted(n, bridge) for n in numbers]  # a key keeps its call
            assert [ref.id for ref in again] == [ref.id for ref in sent]
            refs += sent
        turn(dial, 100)
        finish(refs, old, new, bridge)
        for n, ref in enumerate(refs):
            text = unwrap(result(ref, on=bridge, timeout=60))
            if n < 2:
                print(text)
        print(f"{len(refs)} calls have ended, each once")
        unwrap(unschedule("report", on=bridge))
    for backend in (old, new, bridge):
        backend.close()


def submitted(n: int, bridge: Engine) -> Ref[str, Fault]:
    """Submits an order or a reminder, of which there is one for each key."""
    call = reminders(n) if n % 3 == 1 else orders(n)
    return unwrap(submit(call, on=bridge, key=f"order {n}"))


def finish(refs: list[Ref[str, Fault]], old: Engine, new: Engine, bridge: Engine) -> None:
    """Drains the old engine. Every second order that waits there is moved before it is paid."""
    waiting = {n: ref for n, ref in enumerate(refs) if n % 3 != 1}
    for left in drain(old, to=new, every=0.5):
        for n, ref in waiting.items():
            if n % 2 and not is_on_new(ref):
                unwrap(move(ref, on=old, to=new))
            unwrap(send(ref, paid, 1250 + n, on=bridge))
        waiting = {}
        print(f"left on the old engine: {left.unwrap().calls or 'nothing'}", flush=True)
    print(f"schedules of the new engine: {[each.name for each in unwrap(schedules(on=new))]}")


def is_on_new(ref: Ref[str, Fault]) -> bool:
    return ref.id.endswith("new")


def turn(dial: Path, percent: int) -> None:
    """Turns the dial, which all clients read."""
    aside = dial.with_suffix(".aside")
    aside.write_text(f"{percent}")
    aside.rename(dial)


@contextmanager
def workers(url: str) -> Iterator["Killing"]:
    """Two worker processes of both engines; gives what kills one of them and replaces it."""
    killing = Killing(url)
    try:
        yield killing
    finally:
        for process in killing.processes:
            process.terminate()
        for process in killing.processes:
            process.wait()


class Killing:
    """Worker processes, of which each call kills one (kill -9)."""

    def __init__(self, url: str) -> None:
        self._command = [sys.executable, "-m", "examples.switch.worker", url]
        self.processes = [subprocess.Popen(self._command) for _ in range(2)]

    def __call__(self) -> None:
        oldest = self.processes.pop(0)
        oldest.kill()
        oldest.wait()
        self.processes.append(subprocess.Popen(self._command))


if __name__ == "__main__":
    with TemporaryDirectory(prefix="onward-switch-") as folder:
        files = [f"sqlite:///{folder}/{name}.db?lease=1" for name in ("old", "new")]
        urls = sys.argv[1:] or files
        if len(urls) != 2:
            sys.exit("give two URLs, or none")
        old_url, new_url = urls
        main(old_url, new_url, Path(folder, "dial"))
