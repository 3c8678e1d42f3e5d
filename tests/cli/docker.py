"""Stands in for Docker's program on the PATH, and starts a listener instead of containers.

It keeps its calls and the last definition in the folder that STANDIN names. A command that begins
with one of STANDIN_FAILS fails, and one with STANDIN_HANGS goes on until it is ended.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import TypeAlias, cast

HOST = "127.0.0.1"
TOKEN = "token.of.a.stand-in"
LIMIT = 60
"""How many seconds anything of it lasts at most, should the test be gone that started it."""
Definition: TypeAlias = dict[str, dict[str, dict[str, object]]]


class Docker:
    """The stand-in, ready to be put on a PATH that has nothing else."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        programs = folder / "programs"
        programs.mkdir(parents=True)
        script = programs / "docker"
        script.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{__file__}" "$@"\n')
        script.chmod(0o755)
        self.environment = {"PATH": str(programs), "STANDIN": str(folder)}

    def calls(self) -> list[str]:
        """What it was asked for so far, in order, without the options that say of which project."""
        return [" ".join(_verb(each)) for each in self._recorded()]

    def projects(self) -> list[str]:
        """The projects that were asked for, in order."""
        return [each[2] for each in self._recorded() if "--project-name" in each]

    def definition(self) -> Definition:
        """What it was to start."""
        return cast(Definition, json.loads((self._folder / "definition").read_text()))

    def kill(self) -> None:
        """Ends what it started, as if that had died."""
        os.kill(int((self._folder / "pid").read_text()), signal.SIGKILL)

    def _recorded(self) -> list[list[str]]:
        calls = self._folder / "calls"
        lines = calls.read_text().splitlines() if calls.exists() else []
        return [cast(list[str], json.loads(line)) for line in lines]


def _verb(arguments: list[str]) -> list[str]:
    return arguments[5:] if "--project-name" in arguments else arguments


def _run(arguments: list[str]) -> None:
    signal.alarm(LIMIT)
    folder = Path(os.environ["STANDIN"])
    with (folder / "calls").open("a") as calls:
        calls.write(json.dumps(arguments) + "\n")
    command = " ".join(_verb(arguments))
    if command.startswith(tuple(os.environ.get("STANDIN_FAILS", "none").split(", "))):
        sys.exit(f"much ado about {command}\nError: no {command} today")
    if command.startswith(os.environ.get("STANDIN_HANGS", "none")):
        signal.pause()
    pid = folder / "pid"
    match _verb(arguments):
        case ["up", *_]:
            definition = sys.stdin.read()
            (folder / "definition").write_text(definition)
            ports = [
                port.split(":")[1]
                for port in json.loads(definition)["services"]["hatchet"]["ports"]
            ]
            nowhere = subprocess.DEVNULL  # for who waits for the end of our own output
            engine = subprocess.Popen(
                [sys.executable, __file__, "serve", *ports], stdout=nowhere, stderr=nowhere
            )
            pid.write_text(str(engine.pid))
            (folder / "ports").write_text(" ".join(ports))
            while not _listens(folder):
                time.sleep(0.01)
        case ["logs", "--follow", *_]:
            while _listens(folder):
                time.sleep(0.05)
            print("my last words")
        case ["logs", *_]:
            print("hatchet-1 | I am ill")
        case ["exec", *_]:
            print(TOKEN)
        case ["down", *_] if pid.exists():
            if _listens(folder):
                os.kill(int(pid.read_text()), signal.SIGTERM)
            while _listens(folder):
                time.sleep(0.01)
        case _:
            pass


def _listens(folder: Path) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((HOST, int((folder / "ports").read_text().split()[0]))) == 0


class _Api(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response_only(200 if self.path == "/api/ready" else 404)
        self.end_headers()


def _serve(port: int, api_port: int) -> None:
    """As much of an engine as whoever starts one asks for: a frame of settings, and a 200."""
    signal.alarm(LIMIT)
    api = HTTPServer((HOST, api_port), _Api)
    Thread(target=api.serve_forever, daemon=True).start()
    with socket.create_server((HOST, port)) as server:
        while True:
            connection, _ = server.accept()
            with suppress(ConnectionError), connection:
                if connection.recv(24):
                    connection.sendall(b"\x00\x00\x00\x04\x00\x00\x00\x00\x00")


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        _serve(int(sys.argv[2]), int(sys.argv[3]))
    else:
        _run(sys.argv[1:])
