"""The demo on a SQLite file: two worker processes share 48 calls, and one of them is killed."""

import os
import sqlite3
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from examples.ingest.tasks import DATABASE, ingest
from onward import connect, results, submit_all, unwrap

ROOT = Path(__file__).parents[2]
YEARS = Path(__file__).parent / "data" / "seattle-weather.csv"
KILLED_AFTER = 12


def main() -> None:
    with TemporaryDirectory(prefix="onward-demo-") as name, ExitStack() as stack:
        folder = Path(name)
        url = f"sqlite:///{folder}/onward.db?lease=1"
        backend = stack.enter_context(closing(unwrap(connect(url))))
        calls = [ingest(str(month)) for month in months(folder)]
        refs = unwrap(submit_all(calls, on=backend))
        first, _ = (stack.enter_context(worker(url, folder)) for _ in range(2))
        print(f"\n{len(refs)} calls in onward.db, for two workers")

        days = 0
        for done, (_, outcome) in enumerate(results(refs, on=backend), start=1):
            days += unwrap(outcome)
            if done == KILLED_AFTER:
                first.kill()
                print(f"{done} calls have ended: one worker is killed")
        print(f"{done} calls have ended: the other worker took over")
        print(f"{days} days stored, {days_in(folder / DATABASE)} in {DATABASE}")


def months(folder: Path) -> Iterator[Path]:
    """Writes a file for each month of the data."""
    header, *lines = YEARS.read_text().splitlines()
    by_month: dict[str, list[str]] = defaultdict(list)
    for line in lines:
        by_month[line[:7]].append(line)
    for month, days in by_month.items():
        path = folder / f"{month}.csv"
        path.write_text("\n".join([header, *days]) + "\n")
        yield path


@contextmanager
def worker(url: str, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A worker process, which stores into its folder."""
    command = [sys.executable, "-m", "examples.ingest.worker", url]
    with subprocess.Popen(
        command, cwd=folder, env={**os.environ, "PYTHONPATH": str(ROOT)}
    ) as process:
        try:
            yield process
        finally:
            process.terminate()


def days_in(database: Path) -> int:
    with closing(sqlite3.connect(database)) as db:
        count: int
        (count,) = db.execute("SELECT count(*) FROM reading").fetchone()
    return count


if __name__ == "__main__":
    main()
