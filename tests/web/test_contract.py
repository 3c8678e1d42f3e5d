"""Django's tasks run on Onward's engines, as Django's contract says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.engines.temporal import Temporal
from tests.engines.valkey import Valkey

if sys.version_info < (3, 12):  # where there is no Django 6
    pytest.importorskip("django_tasks")
else:
    pytest.importorskip("django.tasks")

ROOT = Path(__file__).parents[2]


def keeps_the_contract(url: str) -> None:
    """Runs the checks in a process of their own, whose Django has settings."""
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-m", "tests.web.contract", url],
        cwd=ROOT,
        capture_output=True,
        encoding="utf-8",
        timeout=200,
        check=False,
    )
    assert (ran.returncode, ran.stdout) == (0, "the contract is kept\n"), ran.stderr


def test_the_contract_is_kept(tmp_path: Path) -> None:
    keeps_the_contract(f"sqlite:///{tmp_path}/onward.db")


def test_the_contract_is_kept_on_celery(valkey: Valkey) -> None:
    keeps_the_contract(f"celery+{valkey.url.rpartition('/')[0]}/14")


@pytest.mark.long
def test_the_contract_is_kept_on_temporal(temporal: Temporal) -> None:
    keeps_the_contract(f"temporal://127.0.0.1:{temporal.port}")
