"""One child process: starting it, talking to it, and ending it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from multiprocessing import Pipe
from multiprocessing.spawn import get_executable

from onward.processes.messages import Answered, Asked, decode_answered, encode

_BOOT = """\
import json, sys
from multiprocessing.connection import Connection
worker = Connection(int(sys.argv[1]))
life = int(sys.argv[2])
sys.path[:], sys.argv[:] = json.loads(worker.recv_bytes())
from onward.child import main
main(worker, life)
"""

_LEAVING = 5.0
"""How long a child that is no longer needed may take to end, in seconds."""

_CAUSES = {
    "SIGKILL": (
        "Something killed it: often the kernel, because memory ran out (see dmesg, or the "
        "container's OOMKilled). Give the worker more memory, run fewer steps at a time, or set "
        "isolate=Isolation(max_memory=...)."
    ),
    "SIGSEGV": (
        "Native code crashed: see the stack on the worker's stderr, and upgrade or leave out the "
        "library that it shows."
    ),
}
_CRASHES = ("SIGBUS", "SIGABRT", "SIGILL", "SIGFPE")
_EXITED = "Code of the task ended the process, such as os._exit: raise an exception instead."


class Gone(Exception):
    """The child has ended, or does not answer."""


class Process:
    """A child process, and the connection to it. One thread at a time talks to it."""

    def __init__(self) -> None:
        self._connection, its_end = Pipe()
        # The child dies when nobody holds the other end of this pipe any more.
        its_life, self._life = os.pipe()
        self._lock = threading.Lock()
        self.has_ended: bool = False
        flags: list[str] = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]  # not in the stubs
        command = [os.fsdecode(get_executable()), *flags, "-P", "-c", _BOOT]
        try:
            self._popen = subprocess.Popen(
                [*command, str(its_end.fileno()), str(its_life), "onward isolated steps"],
                stdin=subprocess.DEVNULL,
                pass_fds=(its_end.fileno(), its_life),
                start_new_session=True,  # a Ctrl-C is for the worker alone
            )
        except BaseException:
            self._connection.close()
            os.close(self._life)
            raise
        finally:
            its_end.close()
            os.close(its_life)
        self.id: int = self._popen.pid
        with contextlib.suppress(OSError):  # it has ended; the first message shows it
            self._connection.send_bytes(json.dumps([sys.path, sys.argv]).encode())

    def send(self, message: Asked) -> None:
        """Sends a message; raises `Gone`."""
        try:
            self._connection.send_bytes(encode(message))
        except OSError as problem:
            raise Gone from problem

    def receive(self, seconds: float) -> Answered | None:
        """Receives a message; None if there is none in time. Raises `Gone`."""
        try:
            if not self._connection.poll(seconds):
                return None
            return decode_answered(self._connection.recv_bytes())
        except (OSError, EOFError) as problem:
            raise Gone from problem

    def kill(self) -> None:
        """Kills the child and what it has started, and waits until it is dead."""
        with self._lock:
            if not self.has_ended:
                self._kill()
                self._reap()

    def leave(self) -> Callable[[], None]:
        """Lets the child end, as nobody needs it any more; returns what waits until it has."""
        self._connection.close()
        end = time.monotonic() + _LEAVING

        def wait() -> None:
            with self._lock:
                if self.has_ended:
                    return
                try:
                    self._popen.wait(max(0.0, end - time.monotonic()))
                except subprocess.TimeoutExpired:
                    self._kill()
                self._reap()

        return wait

    def cause(self) -> tuple[str, str]:
        """How a child that is gone has ended, in words, and what to do about it."""
        self.kill()
        code = self._popen.returncode
        if code >= 0:
            return f"ended with exit code {code}", _EXITED
        try:
            name = signal.Signals(-code).name
        except ValueError:  # a real-time signal
            name = f"signal {-code}"
        alike = "SIGSEGV" if name in _CRASHES else name
        return f"was killed by {name}", _CAUSES.get(alike, "Find out who sent this signal.")

    def _kill(self) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.id, signal.SIGKILL)  # before it is waited for, its id is its own

    def _reap(self) -> None:
        self._popen.wait()
        self.has_ended = True
        self._connection.close()
        os.close(self._life)
