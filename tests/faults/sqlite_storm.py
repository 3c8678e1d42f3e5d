"""Storms over SQLite: workers and clients of one file that are killed, stopped and continued."""

from __future__ import annotations

import os
import sqlite3
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from signal import SIGKILL
from typing import Self

from onward.backends.sqlite import sqlite
from tests.engines.process import until
from tests.engines.server import Server
from tests.engines.worker import WorkerProcess
from tests.faults.sqlite_served import lines_of
from tests.faults.storm import (
    KILL_ALL,
    KILL_ONE,
    PATIENCE,
    WIDTH,
    Contender,
    Disruption,
    Engine,
    OnwardClient,
    Target,
)
from tests.faults.workers import Workers

LEASE = 1.0
"""How long a worker may be silent, in seconds."""
PROCESSES = 3

AUDIT = """
create table audit (call text not null, what text not null);

create trigger audit_step after update on onward_steps when old.outcome is not null
begin
    insert into audit select id, 'the outcome of ' || old.path || ' was replaced'
    from onward_calls where seq = old.call;
end;

create trigger audit_forgotten after delete on onward_steps
begin
    insert into audit select id, old.path || ' was forgotten' from onward_calls
    where seq = old.call;
end;

create trigger audit_call after update on onward_calls when old.state is not null
begin
    insert into audit values (old.id, 'ended twice');
end;

create trigger audit_writer after insert on onward_steps when not exists (
    select 1 from onward_jobs as jobs join onward_workers as workers on workers.id = jobs.owner
    where jobs.call = new.call and coalesce(jobs.path, new.path) = new.path
    and workers.name = new.worker
)
begin
    insert into audit select id, new.path || ' was written by ' || new.worker
    || ', which did not hold it' from onward_calls where seq = new.call;
end;
"""
"""Triggers that record in the file what must never happen, whichever process does it."""


class NoServer(Server):
    """The SQLite file, which needs no server."""

    patience = 0.0

    @classmethod
    def missing(cls) -> str | None:
        return None

    @property
    def file(self) -> Path:
        """The path of the file."""
        return self.folder / "onward.db"

    @property
    def url(self) -> str:
        return f"sqlite:///{self.file}?lease={LEASE}"

    def command(self) -> list[str | Path]:
        return []

    def answers(self) -> bool:
        return self.file.exists()

    def restart(self) -> Self:
        with closing(sqlite(self.file)) as backend:
            backend.diagnose().unwrap()  # which makes the tables
        with closing(sqlite3.connect(self.file)) as db:
            db.executescript(AUDIT)
        return self


class ProcessClient(OnwardClient):
    """A client in a process of its own, so that it can be killed too."""

    def __init__(self, url: str) -> None:
        self._file = Path(url.removeprefix("sqlite:///").partition("?")[0])
        super().__init__(sqlite(self._file))
        folder = self._file.parent
        self._url, self._log = url, folder / "client.log"
        self._wanted, self._sent = folder / "wanted", folder / "sent"
        self.process: WorkerProcess = self._start()

    def _start(self) -> WorkerProcess:
        arguments = ["client", self._url, str(self._wanted), str(self._sent)]
        before = self._starts()
        made = WorkerProcess.module("tests.faults.sqlite_served", *arguments, log=self._log)
        # Killed again and again before it begins, it would submit nothing.
        until(lambda: self._starts() > before, within=PATIENCE, otherwise=made.tail)
        return made

    def _starts(self) -> int:
        return self._log.read_text().count("started") if self._log.exists() else 0

    def submit(self, n: int, *, is_chain: bool) -> str:
        with self._wanted.open("ab", buffering=0) as file:
            file.write(f"{n}\n".encode() if is_chain else f"{n} {WIDTH}\n".encode())
        until(
            lambda: len(lines_of(self._sent)) > n,
            within=PATIENCE,
            otherwise=self.process.tail,
        )
        return lines_of(self._sent)[n]

    def value(self, name: str, timeout: float) -> object:
        found = super().value(name, timeout)
        with closing(sqlite3.connect(self._file)) as db:
            audit = db.execute("select what from audit where call = ?", (name,)).fetchall()
        return audit or found

    def restart(self) -> None:
        """Starts again after a kill."""
        self.process.close()
        self.process = self._start()

    def close(self) -> None:
        self.process.close()
        super().close()


def _client(target: Target) -> ProcessClient:
    assert isinstance(target.client, ProcessClient)
    return target.client


def _kill_all(target: Target) -> None:
    client = _client(target)
    client.process.kill()
    target.workers.kill_all()
    client.restart()


def _stop_one(target: Target) -> None:
    target.workers.stop_one(2.5 * LEASE)


def _stop_all(target: Target) -> None:
    client = _client(target)
    client.process.pause()
    target.workers.stop_all(2.5 * LEASE)
    client.process.resume()


def _stop_and_kill(target: Target) -> None:
    pid = target.workers.stop_one(2.5 * LEASE)
    time.sleep(0.1)  # it begins to work again, before it has noticed
    os.kill(pid, SIGKILL)


def _jump(target: Target) -> None:
    """The workers' clocks are set 10 minutes forward, and back the next time."""
    if target.flag.exists():
        target.flag.unlink()
    else:
        target.flag.touch()


def _onward(url: str, folder: Path, pace: float, flag: Path) -> Workers:
    command = ["tests.faults.sqlite_served", "workers", str(PROCESSES), url, str(flag)]
    return Workers(command, folder, pace=pace)


SQLITE = Engine(
    packages=(),
    server=NoServer.start,
    contenders={"Onward": Contender(ProcessClient, _onward)},
    disruptions={
        "one of the workers is killed": KILL_ONE,
        "all workers are killed": KILL_ALL,
        "all processes are killed, the client too": Disruption(_kill_all),
        "a worker is stopped for 2.5 leases": Disruption(_stop_one),
        "all processes are stopped for 2.5 leases": Disruption(_stop_all),
        "a worker is stopped, continued and killed": Disruption(_stop_and_kill),
        "one of the workers is killed, behind 40,000 calls": replace(KILL_ONE, backlog=40_000),
        "the workers' clocks jump 10 minutes forward and back": Disruption(_jump),
    },
    waits=(
        "one of the workers is killed",
        "all workers are killed",
        "a worker is stopped, continued and killed",
    ),
)
"""No other queue on SQLite is compared: none has chains and fan-outs that survive a worker."""
