"""A third party's backend, installed from a wheel: the suite, and the ways to configure it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit import third_party

PROJECT = """
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "onward-postal"
version = "1.0"
dependencies = ["onward"]

[project.entry-points."onward.backends"]
postal = "onward_postal:ENGINE"
"""

SUITE = """
import pytest

from onward import connect
from onward.testing import BackendSuite

class TestPostal(BackendSuite):
    examples = 10

    @pytest.fixture(scope="class")
    @classmethod
    def backend(cls, traces):
        backend = connect("postal://?clerks=4").unwrap()
        worker = backend.serve(cls.catalog).unwrap()
        yield backend
        worker.stop()
        backend.close()
"""


def python(*arguments: str, folder: Path, installed: Path | None = None, **more: str) -> str:
    """What a program of its own prints, which finds what is installed in a folder."""
    environment = {name: text for name, text in os.environ.items() if "ONWARD" not in name} | more
    if installed is not None:
        paths = [str(installed), *filter(None, [os.environ.get("PYTHONPATH")])]
        environment["PYTHONPATH"] = os.pathsep.join(paths)
    done = subprocess.run(
        [sys.executable, *arguments],
        check=False,
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip()


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder where a wheel of the backend is installed."""
    project = tmp_path_factory.mktemp("project")
    (project / "pyproject.toml").write_text(PROJECT)
    shutil.copy(third_party.__file__, project / "onward_postal.py")
    python("-m", "hatchling", "build", "--target", "wheel", folder=project)
    (wheel,) = (project / "dist").glob("*.whl")
    target = tmp_path_factory.mktemp("installed")
    pip = ["-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--no-deps"]
    python(*pip, "--no-index", "--target", str(target), str(wheel), folder=project)
    return target


def connected(source: str, installed: Path, folder: Path, **more: str) -> str:
    """What `connect` gives in a program of its own."""
    code = f"from onward import connect; print(connect({source}))"
    return python("-c", code, folder=folder, installed=installed, **more)


@pytest.mark.long  # the backend of docs/how-to/backend.md passes it in each run of the tests
def test_it_passes_the_suite(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "test_postal.py").write_text(SUITE)
    pytest_ = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:valkey", "test_postal.py"]
    said = python(*pytest_, folder=tmp_path, installed=installed, POSTAL_STAMP="s3cret")
    assert " passed" in said


def test_its_url_takes_its_own_parameters(installed: Path, tmp_path: Path) -> None:
    said = connected("'postal://?clerk=4'", installed, tmp_path)
    assert "there is no parameter 'clerk' (did you mean 'clerks'?). Known: clerks." in said
    said = connected("'postal://?stamp=s3cret'", installed, tmp_path)
    assert "stamp has no place in a URL: set POSTAL_STAMP" in said
    assert "s3cret" not in said


def test_its_section_of_a_file_is_checked_by_what_it_declares(
    installed: Path, tmp_path: Path
) -> None:
    file = tmp_path / "onward.yaml"
    file.write_text("backend: postal\npostal:\n  clerks: 4\n  stamp: ${STAMP}\n")
    source = repr(str(file))
    assert "onward_postal.Postal" in connected(source, installed, tmp_path, STAMP="s3cret")
    assert "has no variable STAMP" in connected(source, installed, tmp_path)
    file.write_text("backend: postal\npostal:\n  clerk: 4\n")
    assert "line 3: there is no setting 'clerk' (did" in connected(source, installed, tmp_path)
    file.write_text("backend: local\npostal:\n  clerks: many\n")
    assert "line 3: clerks is a whole number" in connected(source, installed, tmp_path)


def test_its_variables_are_read_where_the_environment_names_it(
    installed: Path, tmp_path: Path
) -> None:
    said = connected("", installed, tmp_path, ONWARD_BACKEND="postal", POSTAL_CLERKS="many")
    assert "POSTAL_CLERKS is a whole number: write POSTAL_CLERKS=4" in said
    said = connected("", installed, tmp_path, ONWARD_BACKEND="postal")
    assert "postal: stamp is missing: set POSTAL_STAMP" in said
