"""`onward migrate --check`: what another engine refuses, before anything moves."""

from pathlib import Path

from tests.cli.command import mistake, onward


def test_what_is_refused_is_printed(tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(
        "from onward import task\n@task\ndef double(n: int) -> int:\n    return 2 * n\n"
    )
    urls = f"sqlite:///{tmp_path}/old.db", f"sqlite:///{tmp_path}/new.db"
    done = onward("migrate", "--check", *urls, "shop", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "note   double: no worker of the new engine serves it yet\n"
    assert "write --check" in mistake("migrate", *urls, "shop", folder=tmp_path)
