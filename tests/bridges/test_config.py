"""Bridges by URL and by file: going from one engine to two is a line of configuration."""

from pathlib import Path

import pytest
from returns.result import Success

from onward import Catalog, connect, result, submit, task


@task
def double(n: int) -> int:
    return 2 * n


def test_a_url_makes_a_bridge(tmp_path: Path) -> None:
    """Refs of before stay valid, and those of the bridge are valid without it."""
    old, new = f"sqlite:///{tmp_path}/old.db", f"sqlite:///{tmp_path}/new.db"
    alone = connect(old).unwrap()
    before = submit(double(1), on=alone).unwrap()
    bridge = connect(f"routed://?old={old}&new={new}&by=100").unwrap()
    worker = bridge.serve(Catalog(double)).unwrap()
    ref = double.ref(str(submit(double(21), on=bridge).unwrap()))
    assert result(before, on=bridge, timeout=120) == Success(2)
    assert result(ref, on=bridge, timeout=120) == Success(42)
    after = connect(new).unwrap()
    assert result(ref, on=after, timeout=120) == Success(42)
    worker.stop()
    for backend in (alone, bridge, after):
        backend.close()


def test_a_file_makes_a_bridge(tmp_path: Path) -> None:
    dial = tmp_path / "dial"
    dial.write_text("100")
    file = tmp_path / "onward.yaml"
    file.write_text(
        f"backend: routed\nrouted:\n  old: local://\n  new: sqlite:///{tmp_path}/new.db\n"
        f"  dial: {dial}\n  name: sqlite\n"
    )
    bridge = connect(file).unwrap()
    assert str(submit(double(1), on=bridge).unwrap()).endswith(".sqlite")
    bridge.close()


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("routed://?old=local://&new=local://", "write by, a percentage, or dial"),
        ("routed://?old=local://&by=5", "new is missing"),
        ("routed://?old=local://&new=nowhere://h&by=5", "new: there is no backend 'nowhere'"),
        ("routed://?old=local://&new=local://&by=500", "from 0 to 100"),
        ("routed://host?old=local://&new=local://&by=5", "a bridge has no host"),
        ("routed://?old=celery%2Bredis://a:geheim@h:x/0&new=local://&by=5", "old: "),
    ],
)
def test_a_mistake_in_a_url_is_a_fault(url: str, message: str) -> None:
    """Which shows no password."""
    fault = connect(url).failure()
    assert message in fault.message
    assert "geheim" not in str(fault)
