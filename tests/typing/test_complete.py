"""All that is public is typed: no checker has to infer or to guess a part of it."""

import json
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import onward

UNTYPED_BASES = ("backends/celery/transport.py",)
"""Where classes extend kombu's, whose attributes no stub types."""


def test_pyright_knows_the_type_of_all_that_is_public(tmp_path: Path) -> None:
    home = tmp_path / "venv"
    venv.create(home, symlinks=True)
    [site] = home.glob("lib/python*/site-packages")
    [installed] = {Path(path) for path in sys.path if path.endswith("site-packages")}
    for each in installed.iterdir():
        if "onward" not in each.name:
            (site / each.name).symlink_to(each)
    shutil.copytree(Path(onward.__file__).parent, site / "onward")
    run = subprocess.run(
        [
            sys.executable,
            "-m",
            "pyright",
            "--verifytypes=onward",
            "--ignoreexternal",
            "--outputjson",
        ],
        check=False,  # it fails for what kombu does not type
        cwd=tmp_path,
        env=os.environ | {"PATH": f"{home / 'bin'}{os.pathsep}{os.environ['PATH']}"},
        capture_output=True,
        text=True,
    )
    report = json.loads(run.stdout)["typeCompleteness"]
    assert report["symbols"] or report["exportedSymbolCounts"]["withKnownType"] > 100
    incomplete = [
        f"{each['file']}: {each['message']}"
        for symbol in report["symbols"]
        for each in symbol["diagnostics"]
        if each["severity"] == "error" and not each["file"].endswith(UNTYPED_BASES)
    ]
    assert incomplete == []
