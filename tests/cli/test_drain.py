"""`onward drain`: waits until nothing is left, and hands schedules over."""

import json
from pathlib import Path

from returns.result import Success

from onward import Catalog, Schedules, connect, schedule, schedules, submit, task
from tests.cli.command import onward


@task
def double(n: int) -> int:
    return 2 * n


def test_an_engine_is_drained(tmp_path: Path) -> None:
    urls = f"sqlite:///{tmp_path}/old.db", f"sqlite:///{tmp_path}/new.db"
    old, new = (connect(url).unwrap() for url in urls)
    assert isinstance(old, Schedules)
    assert isinstance(new, Schedules)
    submit(double(1), on=old).unwrap()
    schedule(double(2), on=old, name="nightly", cron="0 2 * * *").unwrap()
    left = onward("drain", urls[0], "--timeout", "0", "--json", folder=tmp_path)
    assert left.returncode == 4, left.stderr
    assert json.loads(left.stdout) == {
        "open": 1,
        "calls": {"double": {"queued": 1}},
        "schedules": ["nightly"],
        "handed_over": [],
    }
    worker = old.serve(Catalog(double)).unwrap()
    done = onward("drain", urls[0], "--to", urls[1], "--every", "0.1", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "handed over: nightly; nothing is left"
    assert schedules(on=old) == Success([])
    assert [each.name for each in schedules(on=new).unwrap()] == ["nightly"]
    worker.stop()
    for each in (old, new):
        each.close()
