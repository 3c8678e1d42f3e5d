"""The example of a system that changes its engine, as who runs it sees it."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_a_system_changes_its_engine_while_workers_are_killed(tmp_path: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-m", "examples.switch"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        encoding="utf-8",
        timeout=150,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    lines = ran.stdout.splitlines()
    dial = [line for line in lines if "%" in line]
    assert [line.partition(" ")[0] for line in dial] == ["0", "25", "50", "100", "50"]
    assert dial[0].endswith("6 calls on the old engine, 0 on the new one")
    assert dial[3].endswith("0 calls on the old engine, 6 on the new one")
    assert lines[-5] == "left on the old engine: nothing"
    assert lines[-4:] == [
        "schedules of the new engine: ['report']",
        "order 0 is shipped for 1250 cents",
        "order 1 is reminded of",
        "30 calls have ended, each once",
    ]
