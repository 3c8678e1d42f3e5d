"""The example of a Celery app that is ported, as who runs it sees it."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_an_order_has_the_same_result_at_each_step(tmp_path: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "examples.port"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        encoding="utf-8",
        timeout=100,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    lines = ran.stdout.splitlines()
    assert [line.partition(":")[0] for line in lines] == [
        "before",
        "ship is ported",
        "charge is ported",
        "the flow is ported",
        "check is ported",
    ]
    assert {line.partition(": ")[2] for line in lines} == {"order 7 was shipped for 700 cents"}
