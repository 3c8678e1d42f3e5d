"""What a program pays for when it uses Hatchet through Onward."""

from __future__ import annotations

import subprocess
import sys

CLIENT_AND_WORKER = """
from onward.backends.hatchet import hatchet, sdk
hatchet("e30.eyJzdWIiOiAiNzA3ZDA4NTUifQ.", "localhost:7077")
sdk.load()
from onward.backends.hatchet import async_backend, worker
"""


def _run(program: str) -> str:
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=240, check=False
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.strip()


def test_clients_and_workers_do_not_import_the_whole_sdk() -> None:
    shown = "import sys; print(sorted({'hatchet_sdk', 'pydantic_settings'} & sys.modules.keys()))"
    assert _run(CLIENT_AND_WORKER + shown) == "[]"


def test_a_program_may_import_the_sdk_itself_afterwards() -> None:
    program = """
from hatchet_sdk import Hatchet
from hatchet_sdk.contracts.dispatcher_pb2 import AssignedAction
from onward.backends.hatchet import worker
assert AssignedAction is worker.AssignedAction
print(Hatchet.__name__)
"""
    assert _run(CLIENT_AND_WORKER + program) == "Hatchet"


def test_a_program_may_import_the_sdk_itself_before() -> None:
    before = "import hatchet_sdk\n"
    program = """
from hatchet_sdk.contracts.dispatcher_pb2 import AssignedAction
assert AssignedAction is worker.AssignedAction
assert hatchet_sdk.contracts.dispatcher_pb2.AssignedAction is AssignedAction
"""
    assert _run(before + CLIENT_AND_WORKER + program) == ""
