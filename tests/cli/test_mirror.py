"""`onward mirror`: calls that have ended run once more on a shadow, and are compared."""

import json
from pathlib import Path

from returns.result import Failure, Success

from onward import Catalog, connect, result, submit, task
from tests.cli.command import onward
from tests.cli.serving import PATIENCE


@task
def inverse(n: int) -> float:
    return 1 / n


@task(name="inverse")
def inverse_there(n: int) -> float:
    return 1 / n if n != 2 else 0.0


def test_calls_are_compared(tmp_path: Path) -> None:
    urls = f"sqlite:///{tmp_path}/old.db", f"sqlite:///{tmp_path}/new.db"
    old, new = (connect(url).unwrap() for url in urls)
    workers = [
        old.serve(Catalog(inverse)).unwrap(),
        new.serve(Catalog(inverse_there)).unwrap(),
    ]
    refs = [submit(inverse(n), on=old).unwrap() for n in range(3)]
    assert isinstance(result(refs[0], on=old, timeout=PATIENCE), Failure)
    assert result(refs[1], on=old, timeout=PATIENCE) == Success(1.0)
    assert result(refs[2], on=old, timeout=PATIENCE) == Success(0.5)
    asked = ("mirror", "--flow", "inverse", "--on", urls[0], "--shadow", urls[1])
    shown = onward(*asked, "--json", folder=tmp_path)
    assert shown.returncode == 1, shown.stderr
    found = {each["ref"]: each for each in map(json.loads, shown.stdout.splitlines())}
    assert {ref: each["same"] for ref, each in found.items()} == {
        refs[0].id: True,
        refs[1].id: True,
        refs[2].id: False,
    }
    assert found[refs[0].id]["shadow"] == "the fault Raised"
    shown = onward(*asked, "--limit", "1", folder=tmp_path)
    assert "differs: a value, and on the shadow a value" in shown.stdout
    for worker in workers:
        worker.stop()
    for each in (old, new):
        each.close()
