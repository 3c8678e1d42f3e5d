"""The demo, as who runs it sees it, and its tasks by their plain functions."""

import datetime
import os
import pty
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from returns.result import Failure, Success

from examples.ingest.reading import Reading, Weather
from examples.ingest.tasks import DATABASE, Malformed, fetch, ingest, parse, store
from onward import Progress, Raised, answer, local, run
from onward.context import CURRENT, Context

ROOT = Path(__file__).parents[2]
DATA = ROOT / "examples" / "ingest" / "data"
GOOD = DATA / "seattle-weather.csv"
BROKEN = DATA / "broken.csv"
DAYS = len(GOOD.read_text().splitlines()) - 1

DEMO = [sys.executable, "-W", "error", "-m", "examples.ingest"]
ENV = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUTF8": "1"}

HEADER = b"date,precipitation,temp_max,temp_min,wind,weather\n"
DAY = Reading(datetime.date(2012, 1, 16), 2.5, 1.7, -2.8, 5.0, Weather.SNOW)


def demo(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*DEMO, *arguments],
        cwd=folder,
        env=ENV,
        capture_output=True,
        encoding="utf-8",
        timeout=240,
        check=False,
    )


def durable_demo(folder: Path) -> subprocess.CompletedProcess[str]:
    """The part of the demo that has workers."""
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", "examples.ingest.durable"],
        cwd=folder,
        env=ENV,
        capture_output=True,
        encoding="utf-8",
        timeout=100,
        check=False,
    )


@contextmanager
def demo_on_a_terminal(folder: Path, *arguments: str) -> Iterator[Iterator[str]]:
    """What the demo writes to a terminal, as it comes."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [*DEMO, *arguments], cwd=folder, env=ENV, stdin=theirs, stdout=theirs, stderr=theirs
    ) as process:
        os.close(theirs)
        try:
            yield screen(ours)
            assert process.wait(timeout=60) == 0
        finally:
            process.kill()
            os.close(ours)


def screen(terminal: int) -> Iterator[str]:
    """All that is on the screen, each time that something was added to it."""
    seen = b""
    while True:
        try:
            new = os.read(terminal, 4096)
        except OSError:  # how Linux tells that the other side has closed it
            new = b""
        if not new:
            return
        seen += new
        yield seen.decode(errors="replace")


def malformed(raw: bytes) -> Malformed:
    match parse.fn(raw):
        case Failure(Malformed() as error):
            return error
        case other:
            pytest.fail(f"{other}")


def stored_in(database: Path) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(database)) as db:
        return db.execute("SELECT * FROM reading ORDER BY date").fetchall()


def test_the_demo_shows_its_flow_stores_every_day_and_names_the_broken_line(tmp_path: Path) -> None:
    seen = demo(tmp_path)

    assert (seen.returncode, seen.stderr) == (0, "")
    assert [line.split()[1] for line in seen.stdout.splitlines()[1:4]] == [
        "fetch",
        "parse",
        "store",
    ]
    assert f"<Success: {DAYS}>" in seen.stdout
    assert "<Failure: Malformed(line=17, text='2012-01-16,2.5,M,-2.8,5.0,snow', why=" in seen.stdout
    assert len(stored_in(tmp_path / DATABASE)) == DAYS


def test_the_demo_loses_no_call_when_one_of_its_workers_is_killed(tmp_path: Path) -> None:
    seen = durable_demo(tmp_path)

    assert (seen.returncode, seen.stderr) == (0, "")
    assert "one worker is killed" in seen.stdout
    assert f"{DAYS} days stored, {DAYS} in {DATABASE}" in seen.stdout
    assert not list(tmp_path.iterdir())


def test_the_demo_can_be_run_twice_and_stores_no_day_twice(tmp_path: Path) -> None:
    demo(tmp_path)
    first = stored_in(tmp_path / DATABASE)

    assert demo(tmp_path).returncode == 0
    assert stored_in(tmp_path / DATABASE) == first


def test_the_demo_takes_a_file_of_ones_own(tmp_path: Path) -> None:
    mine = tmp_path / "mine.csv"
    mine.write_bytes(HEADER + b"2012-01-16,2.5,1.7,-2.8,5.0,snow\n")

    seen = demo(tmp_path, "mine.csv")

    assert (seen.returncode, seen.stderr) == (0, "")
    assert "<Success: 1>" in seen.stdout
    assert "Failure" not in seen.stdout
    assert stored_in(tmp_path / DATABASE) == [("2012-01-16", 2.5, 1.7, -2.8, 5.0, "snow")]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("no-such-file.csv", "No such file or directory: 'no-such-file.csv'"),
        (".", "Is a directory: '.'"),
        (str(BROKEN), "line 17 is malformed: '2012-01-16,2.5,M,-2.8,5.0,snow': "),
        ("\udcff.csv", "surrogates not allowed"),  # a name that is not text
    ],
)
def test_the_demo_says_in_one_line_what_is_wrong_with_a_source(
    tmp_path: Path, source: str, message: str
) -> None:
    seen = demo(tmp_path, source)

    assert seen.returncode == 1
    assert message in seen.stderr
    assert len(seen.stderr.splitlines()) == 1
    assert "Traceback" not in seen.stdout


def test_the_demo_draws_no_bar_where_there_is_no_terminal(tmp_path: Path) -> None:
    seen = demo(tmp_path)

    assert not {"\r", "█", "░"} & set(seen.stdout + seen.stderr)


def test_the_demo_draws_a_bar_on_a_terminal_while_a_step_is_running(tmp_path: Path) -> None:
    slow = tmp_path / "slow.csv"
    os.mkfifo(slow)  # fetch waits until somebody writes to it

    with demo_on_a_terminal(tmp_path, "slow.csv") as seen:
        assert any("\rfetch ░░░" in text for text in seen)
        slow.write_bytes(GOOD.read_bytes())
        *_, last = seen

    assert f"█ {DAYS}/{DAYS} days" in last
    assert f"<Success: {DAYS}>" in last


def test_the_demo_needs_the_core_dependencies_alone(tmp_path: Path) -> None:
    code = (
        "import sys; before = set(sys.modules);"
        "import examples.ingest.__main__, examples.ingest.durable, examples.ingest.worker;"
        "print(*{name.partition('.')[0] for name in set(sys.modules) - before})"
    )
    seen = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=ENV, stdout=subprocess.PIPE, check=True
    )

    others = set(seen.stdout.decode().split()) - sys.stdlib_module_names
    assert others == {"examples", "msgspec", "onward", "returns", "typing_extensions"}


def test_a_broken_line_crosses_the_wire_as_the_error_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    backend = local()

    match answer(run(ingest(str(BROKEN)), on=backend)):
        case Failure(Malformed(line, text, why)):
            assert (line, text) == (17, "2012-01-16,2.5,M,-2.8,5.0,snow")
            assert "temp_max" in why
        case other:
            pytest.fail(f"{other}")
    assert not (tmp_path / DATABASE).exists()


def test_store_tells_how_far_it_is(tmp_path: Path) -> None:
    said: list[Progress] = []
    token = CURRENT.set(Context(report=said.append))
    try:
        store.fn(parse.fn(GOOD.read_bytes()).unwrap(), str(tmp_path / DATABASE))
    finally:
        CURRENT.reset(token)
    assert said == [Progress(day, DAYS, "days") for day in range(1, DAYS + 1)]


def test_fetch_reads_a_path_and_a_file_url() -> None:
    assert fetch.fn(str(GOOD)) == GOOD.read_bytes()
    assert fetch.fn(GOOD.as_uri()) == GOOD.read_bytes()


def test_fetch_reads_from_a_web_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")

    files = partial(SimpleHTTPRequestHandler, directory=str(DATA))
    with ThreadingHTTPServer(("127.0.0.1", 0), files) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            raw = fetch.fn(f"http://127.0.0.1:{server.server_port}/{BROKEN.name}")
        finally:
            server.shutdown()

    assert raw == BROKEN.read_bytes()


def test_fetch_gives_a_missing_file_as_a_fault_after_one_attempt() -> None:
    match run(fetch("no-such-file.csv"), on=local()):
        case Failure(Raised("fetch", "FileNotFoundError", message, attempts=1)):
            assert "'no-such-file.csv'" in message
        case other:
            pytest.fail(f"{other}")


def test_parse_gives_typed_rows() -> None:
    assert parse.fn(HEADER + b"2012-01-16,2.5,1.7,-2.8,5.0,snow\n") == Success([DAY])


def test_parse_takes_another_separator() -> None:
    raw = (HEADER + b"2012-01-16,2.5,1.7,-2.8,5.0,snow\n").replace(b",", b";")

    assert parse.fn(raw, sep=";") == Success([DAY])


def test_parse_gives_no_rows_for_no_lines() -> None:
    assert parse.fn(HEADER) == Success([])


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("16/01/2012,2.5,1.7,-2.8,5.0,snow", "date"),
        ("2012-01-16,M,1.7,-2.8,5.0,snow", "precipitation"),
        ("2012-01-16,2.5,170,-2.8,5.0,snow", "temp_max"),
        ("2012-01-16,2.5,1.7,nan,5.0,snow", "temp_min"),
        ("2012-01-16,2.5,1.7,-2.8,,snow", "wind"),
        ("2012-01-16,2.5,1.7,-2.8,5.0,hail", "weather"),
        ("2012-01-16,2.5,1.7,-2.8,5.0", "weather"),
        ("2012-01-16,2.5,1.7,-2.8,5.0,snow,5", "key"),
        ("2012-01-16,2,5,1,7,-2,8,5,0,snow", "weather"),
    ],
)
def test_parse_names_the_first_malformed_line_and_what_is_wrong_with_it(
    line: str, why: str
) -> None:
    raw = HEADER + f"2012-01-15,5.3,1.1,-3.3,3.2,snow\n{line}\nnor is this\n".encode()

    error = malformed(raw)

    assert (error.line, error.text) == (3, line)
    assert why in error.why


def test_parse_shows_what_is_not_text_as_part_of_the_malformed_line() -> None:
    error = malformed(HEADER + b"2012-01-16,\xff,1.7,-2.8,5.0,snow\n")

    assert error.text == "2012-01-16,\N{REPLACEMENT CHARACTER},1.7,-2.8,5.0,snow"


def test_store_stores_the_same_days_once_however_often_it_runs(tmp_path: Path) -> None:
    database = tmp_path / "weather.db"

    assert store.fn([DAY], str(database)) == 1
    assert store.fn([DAY], str(database)) == 1
    assert stored_in(database) == [("2012-01-16", 2.5, 1.7, -2.8, 5.0, "snow")]


def test_store_stores_all_days_or_none(tmp_path: Path) -> None:
    database = tmp_path / "weather.db"
    store.fn([DAY], str(database))
    other = datetime.date(2012, 1, 17)

    with pytest.raises(sqlite3.ProgrammingError):
        store.fn([Reading(other, 8.1, 3.3, 0.0, 5.6, Weather.SNOW), None], str(database))  # type: ignore[list-item]  # on purpose: it stops half-way

    assert [row[0] for row in stored_in(database)] == ["2012-01-16"]


def test_the_files_are_what_their_note_says() -> None:
    lines = GOOD.read_text().splitlines()
    days = [datetime.date.fromisoformat(line.partition(",")[0]) for line in lines[1:]]

    assert days == [datetime.date(2012, 1, 1) + datetime.timedelta(n) for n in range(1461)]
    assert BROKEN.read_text().replace(",M,", ",1.7,").splitlines() == lines[:32]
