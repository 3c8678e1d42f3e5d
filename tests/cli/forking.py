"""Commands as forks of a process that has imported the engines' libraries.

Each is a process of its own, as people run it. To import what it takes would use more of the
processor than most commands do.
"""

from __future__ import annotations

import atexit
import json
import os
import runpy
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import import_module
from pathlib import Path
from select import select
from tempfile import TemporaryDirectory

IMPORTED = ("onward.cli", "celery.app.amqp", "celery.app.control", "redis", "temporalio.worker")


def forked(
    arguments: Sequence[str], *, folder: Path, environment: Mapping[str, str], timeout: float
) -> subprocess.CompletedProcess[str]:
    """Runs `python -W error -m onward` to its end.

    Args:
        arguments: The command's arguments.
        folder: Where it runs.
        environment: All of its environment.
        timeout: How long it may take, in seconds.
    """
    with TemporaryDirectory() as kept:
        out, err = Path(kept, "out"), Path(kept, "err")
        asked = [list(arguments), str(folder), dict(environment), str(out), str(err)]
        code = _parent().ask(json.dumps(asked), timeout)
        return subprocess.CompletedProcess(arguments, code, out.read_text(), err.read_text())


@cache
def _parent() -> _Parent:
    """The one of this test process."""
    parent = _Parent()
    atexit.register(parent.close)
    return parent


class _Parent:
    """The process that forks."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-W", "error", "-m", __name__],
            cwd=Path(__file__).parents[2],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        assert self._process.stdin
        assert self._process.stdout
        self._asks, self._answers = self._process.stdin, self._process.stdout

    def ask(self, command: str, timeout: float) -> int:
        """Has a command run, and returns its exit code."""
        self._asks.write(f"{command}\n".encode())
        self._asks.flush()
        if not select([self._answers], [], [], timeout)[0]:
            os.killpg(self._process.pid, signal.SIGKILL)
            _parent.cache_clear()
            raise subprocess.TimeoutExpired(command, timeout)
        return int(self._answers.readline())

    def close(self) -> None:
        self._asks.close()
        self._process.wait()
        self._answers.close()


def main() -> None:
    """Forks for each line of the standard input; a fork becomes the command."""
    os.environ["GRPC_VERBOSITY"] = "ERROR"  # gRPC reads it once, and the command sets it so
    for name in IMPORTED:
        import_module(name)
    for line in sys.stdin:
        child = os.fork()
        if not child:
            _become(*json.loads(line))
            break
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


def _become(
    arguments: list[str], folder: str, environment: dict[str, str], out: str, err: str
) -> None:
    writes = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    for number, path, flags in ((0, os.devnull, os.O_RDONLY), (1, out, writes), (2, err, writes)):
        opened = os.open(path, flags)
        os.dup2(opened, number)
        os.close(opened)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.path[0] = folder
    sys.argv[1:] = arguments
    runpy.run_module("onward", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
