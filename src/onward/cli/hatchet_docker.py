"""Hatchet's engine in Docker containers, for machines without its programs."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import subprocess
from collections.abc import Generator, Sequence
from pathlib import Path

import msgspec

from onward.cli.console import FAULT, USAGE, end, err
from onward.cli.hatchet_lite import Engine, client_environment, is_ready
from onward.cli.servers import HOST, free_port, running

POSTGRESQL = "postgres:17.11-bookworm"
HATCHET = "ghcr.io/hatchet-dev/hatchet/hatchet-lite:v0.104.7"


def refuse_if_missing(programs: Sequence[str]) -> None:
    """Ends the command if Docker is missing too, and says what to install.

    Args:
        programs: The programs that are missing on the PATH.
    """
    without = f"or put {', '.join(programs)} on the PATH: see docs.hatchet.run/self-hosting"
    if shutil.which("docker") is None:
        end(USAGE, f"Hatchet needs Docker, which is not on the PATH: install it, {without}")
    if error := _fault(["docker", "version"]):
        end(USAGE, f"Docker's engine does not answer: start it, {without}. Docker said: {error}")
    if _fault(["docker", "compose", "version"]):
        end(USAGE, f"Docker has no plug-in compose: install it, {without}")


@contextlib.contextmanager
def started(folder: Path, port: int, *, keep: bool) -> Generator[Engine]:
    """Starts an engine with one tenant in containers, and removes them at the end.

    Args:
        folder: The folder of its log, and of the name of its volumes.
        port: Its port for gRPC.
        keep: Whether the volumes with its data stay.
    """
    api_port = free_port(0, 0)
    api = f"http://{HOST}:{api_port}"
    definition = folder / "compose.json"
    log = folder / "hatchet.log"
    with _project(folder) as project:
        definition.write_bytes(msgspec.json.encode(_definition(port, api_port)))
        # By stdin, because some Dockers have a /tmp of their own and would not see the file.
        compose = ["docker", "compose", "--project-name", project, "--file", "-"]
        for image in (POSTGRESQL, HATCHET):
            _fetch(image)
        try:
            with err.status("Hatchet starts"):
                _run(compose, ["up", "--wait"], definition)
            with running(
                [*compose, "logs", "--follow", "--no-log-prefix", "hatchet"],
                log=log,
                is_up=lambda: is_ready(port, api_port),
                stdin=definition,
            ) as process:
                admin = ["exec", "-T", "hatchet", "/hatchet-admin", "token", "create"]
                token = _run(compose, [*admin, "--config", "/config"], definition)
                yield Engine(process, log, api, client_environment(port, api, token))
        finally:
            _down(compose, ["down", *([] if keep else ["--volumes"])], definition)


def _definition(port: int, api_port: int) -> dict[str, object]:
    postgresql = {
        "image": POSTGRESQL,
        "command": ["postgres", "-c", "max_connections=200"],
        "environment": {"POSTGRES_HOST_AUTH_METHOD": "trust"},  # only this network reaches it
        "volumes": ["postgresql:/var/lib/postgresql/data"],
        "healthcheck": {
            # By TCP: the server that runs while the data is set up answers only on a socket.
            "test": ["CMD", "pg_isready", "--host", HOST, "--username", "postgres"],
            "interval": "1s",
            "timeout": "5s",
            "retries": 60,
        },
    }
    hatchet = {
        "image": HATCHET,
        "depends_on": {"postgresql": {"condition": "service_healthy"}},
        "environment": {
            "DATABASE_URL": "postgresql://postgres@postgresql:5432/postgres?sslmode=disable",
            "SERVER_MSGQUEUE_KIND": "postgres",
            "SERVER_URL": f"http://{HOST}:{api_port}",
            "SERVER_GRPC_BIND_ADDRESS": "0.0.0.0",
            "SERVER_GRPC_PORT": "7077",
            "SERVER_GRPC_BROADCAST_ADDRESS": f"{HOST}:{port}",
            "SERVER_GRPC_INSECURE": "true",
            "SERVER_INTERNAL_CLIENT_INTERNAL_GRPC_BROADCAST_ADDRESS": f"{HOST}:7077",
            "SERVER_AUTH_COOKIE_DOMAIN": HOST,
            "SERVER_AUTH_COOKIE_INSECURE": "true",
            "SERVER_AUTH_SET_EMAIL_VERIFIED": "true",
            "SERVER_SECURITY_CHECK_ENABLED": "false",  # the check calls a server of the vendor
        },
        "ports": [f"{HOST}:{port}:7077", f"{HOST}:{api_port}:8888"],
        "volumes": ["config:/config"],
        "healthcheck": {
            "test": ["CMD", "curl", "--fail", "--silent", "http://localhost:8733/ready"],
            "interval": "1s",
            "timeout": "5s",
            "retries": 60,
            "start_period": "120s",  # the first start creates the tables
        },
    }
    return {
        "services": {"postgresql": postgresql, "hatchet": hatchet},
        "volumes": {"postgresql": {}, "config": {}},
    }


@contextlib.contextmanager
def _project(folder: Path) -> Generator[str]:
    """The name of a folder's containers and volumes, for one command at a time."""
    import fcntl  # Windows lacks it, and the other commands work there

    with (folder / "docker-project").open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            end(USAGE, f"another onward dev hatchet has its data in {folder}: stop that one first")
        file.seek(0)
        name = file.read()
        if not name:
            name = f"onward-dev-{secrets.token_hex(4)}"
            file.write(name)
            file.flush()
        yield name


def _fetch(image: str) -> None:
    if not _fault(["docker", "image", "inspect", image]):
        return
    with err.status(f"Docker fetches {image}"):
        error = _fault(["docker", "pull", "--quiet", image])
    if error:
        end(
            FAULT, f"Docker cannot fetch {image}: try docker pull {image} by hand. It said: {error}"
        )


def _fault(command: Sequence[str]) -> str:
    """The last line of a command's errors if it fails, otherwise an empty text."""
    code, _, errors = _ended(command, Path(os.devnull))
    return _end_of(errors) if code else ""


def _run(compose: Sequence[str], arguments: Sequence[str], definition: Path) -> str:
    """The output of a command of compose; ends our command if it fails."""
    code, printed, errors = _ended([*compose, *arguments], definition)
    if code:
        _, logs, _ = _ended([*compose, "logs", "--no-color", "--tail", "1"], definition)
        logged = f". In its log: {logs}" if logs else ""
        end(FAULT, f"Docker could not start Hatchet, and stops it again: {_end_of(errors)}{logged}")
    return printed


def _down(compose: Sequence[str], arguments: Sequence[str], definition: Path) -> None:
    """Removes the containers. If this wait is interrupted, the removal goes on."""
    process = _started([*compose, *arguments], definition, subprocess.DEVNULL)
    if process.wait():
        by_hand = " ".join([*compose, *arguments]).replace(" --file -", "")
        end(FAULT, f"containers of Hatchet may be left: when Docker answers again, run {by_hand}")


def _ended(command: Sequence[str], stdin: Path) -> tuple[int, str, str]:
    """Runs a command, and gives its exit code, output and errors; Ctrl-C ends it."""
    with _started(command, stdin, subprocess.PIPE) as process:
        try:
            printed, errors = process.communicate()
        except KeyboardInterrupt:
            process.terminate()
            process.wait()
            raise
    return process.returncode, printed, errors


def _started(command: Sequence[str], stdin: Path, output: int) -> subprocess.Popen[str]:
    with stdin.open("rb") as given:
        return subprocess.Popen(
            command,
            stdin=given,
            stdout=output,
            stderr=output,
            cwd=os.sep,  # the temporary folder may be removed while the command runs
            text=True,
            # A session of its own, because Ctrl-C would end it before the clean-up.
            start_new_session=True,
        )


def _end_of(text: str) -> str:
    """The last line, which says what went wrong."""
    return (text.strip().splitlines() or ["nothing"])[-1].strip()
