"""Processes that cannot outlive the test run."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from signal import SIGCONT, SIGKILL, SIGSTOP, Signals
from typing import Self

TAIL = 4000
"""How many characters of a log an error shows."""


def until(condition: Callable[[], bool], *, within: float, otherwise: Callable[[], str]) -> None:
    """Waits for a condition; raises TimeoutError with the text of `otherwise`."""
    deadline = time.monotonic() + within
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(otherwise())
        time.sleep(0.01)


def living(group: int) -> frozenset[int]:
    """The running processes of a group."""
    columns = ["-o", "pid=", "-o", "pgid=", "-o", "stat="]
    listing = subprocess.run(["ps", "-A", *columns], check=True, capture_output=True, text=True)
    rows = (line.split() for line in listing.stdout.splitlines())
    return frozenset(
        int(pid) for pid, its_group, state in rows if int(its_group) == group and state[0] != "Z"
    )


class Process:
    """A subprocess with a process group of its own, which is killed when the test run ends.

    A watching shell does that. It reads from a pipe of the test run, and the kernel closes the pipe
    however the run ends. (A child that is forked without exec would hold it open.) On Linux,
    PR_SET_PDEATHSIG could signal the child instead. But it reaches that child alone, not what it
    started, and it also comes when only the thread ends that started the child.
    """

    def __init__(
        self,
        command: Sequence[str | Path],
        *,
        log: Path,
        environment: Mapping[str, str] | None = None,
        folder: Path | None = None,
    ) -> None:
        self.log = log
        with log.open("ab") as output:
            # It waits for a line before it becomes the command. If the test run ends before it has
            # a watcher, the pipe closes, and this process ends too.
            self._leader = subprocess.Popen(
                ["/bin/sh", "-c", 'read -r go && exec "$@" </dev/null', "sh", *command],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=folder,
                env={**os.environ, **(environment or {})},
                start_new_session=True,
            )
        self.pid = self._leader.pid
        self._watcher = subprocess.Popen(
            ["/bin/sh", "-c", 'read -r done || kill -s KILL -- "-$1"', "sh", str(self.pid)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        _say_go(self._leader)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def exit_code(self) -> int | None:
        """None while it runs; minus the signal's number if a signal ended it, as in subprocess."""
        if self._closed:
            return self._leader.returncode
        # Without reaping it, so that until `close` nobody else is given its id, or the group's, and
        # no signal goes astray. (macOS has this from Python 3.13 on.)
        end = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if end is None:
            return None
        return end.si_status if end.si_code == os.CLD_EXITED else -end.si_status

    def pids(self) -> frozenset[int]:
        """The running processes of the group: this process and its children."""
        return frozenset() if self._closed else living(self.pid)

    def send(self, signal: Signals) -> None:
        """Sends a signal to this process only."""
        if not self._closed:
            os.kill(self.pid, signal)

    def send_all(self, signal: Signals) -> None:
        """Sends a signal to this process and its children."""
        if not self._closed:
            os.killpg(self.pid, signal)

    def pause(self) -> None:
        """Pauses this process and its children until `resume`."""
        self.send_all(SIGSTOP)
        # It may go on for a moment.
        os.waitid(os.P_PID, self.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)

    def resume(self) -> None:
        """Continues all processes after `pause`."""
        self.send_all(SIGCONT)

    def wait(self, timeout: float) -> int:
        """Waits for its exit code; raises TimeoutError with the end of its log."""
        until(
            lambda: self.exit_code() is not None,
            within=timeout,
            otherwise=lambda: f"Still running after {timeout} s. The log ends:\n{self.tail()}",
        )
        code = self.exit_code()
        assert code is not None
        return code

    def tail(self) -> str:
        """The end of its log."""
        return self.log.read_text(errors="replace")[-TAIL:]

    def close(self) -> None:
        """Ends this process, its children, and the watcher."""
        if self._closed:
            return
        until(self._killed, within=120, otherwise=lambda: f"Unkillable: {sorted(self.pids())}")
        _say_go(self._watcher)
        self._watcher.wait()
        self._leader.wait()

    @property
    def _closed(self) -> bool:
        return self._leader.returncode is not None

    def _killed(self) -> bool:
        if not self.pids():
            return True
        self.send_all(SIGKILL)
        return False


def _say_go(shell: subprocess.Popen[bytes]) -> None:
    """Sends the line that the shell waits for."""
    assert shell.stdin is not None
    with shell.stdin as pipe:
        pipe.write(b"\n")
