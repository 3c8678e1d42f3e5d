"""The example of calls that move, as who runs it sees it."""

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_orders_move_while_they_wait(tmp_path: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-m", "examples.move"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        encoding="utf-8",
        timeout=100,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert re.search(r"5 orders wait on sqlite\(.*old.db'\): they move to .*new.db", ran.stdout)
    for n in range(5):
        [priced] = re.findall(rf"^order {n} is priced, call (\w+)$", ran.stdout, re.MULTILINE)
        assert re.findall(rf"^order {n} goes on, call (\w+)$", ran.stdout, re.MULTILINE) == [priced]
        assert f"order {n} shipped" in ran.stdout
        assert ran.stdout.count(f"order {n} is closed") == 1
