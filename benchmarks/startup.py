"""What a worker's imports cost before it serves: CPU, user and system, of a fresh interpreter.

python -m benchmarks.startup
"""

from __future__ import annotations

import statistics
import subprocess
import sys

ROUNDS = 5
SHOW = """
import resource
used = resource.getrusage(resource.RUSAGE_SELF)
print(used.ru_utime + used.ru_stime)
"""
IMPORTS = {
    "Python alone": "",
    "onward": "import onward",
    "the command": "import onward.cli",
    "SQLite": "import onward.backends.sqlite.core",
    "Celery": "import onward.backends.celery.backend, onward.backends.celery.worker",
    "Temporal": "import onward.backends.temporal.backend, onward.backends.temporal.worker",
    "Hatchet": "from onward.backends.hatchet import sdk; sdk.load(); "
    "import onward.backends.hatchet.async_backend",
    "hatchet_sdk itself": "import hatchet_sdk",
}


def seconds(program: str) -> float:
    ran = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", f"{program}\n{SHOW}"],
        check=True,
        capture_output=True,
        text=True,
    )
    return float(ran.stdout)


def main() -> None:
    for name, program in IMPORTS.items():
        seconds(program)  # compiles what is not compiled yet
        found = [seconds(program) for _ in range(ROUNDS)]
        print(f"{name:20} {statistics.median(found):.2f} s")


if __name__ == "__main__":
    main()
