from pathlib import Path

import pytest

HERE = Path(__file__).parent


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the modules are, and the command is run."""
    (tmp_path / "pipeline.py").write_text((HERE / "pipeline.py").read_text())
    return tmp_path
