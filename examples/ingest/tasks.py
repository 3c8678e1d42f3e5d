"""Fetches a CSV file, parses it into typed rows, and stores them in SQLite."""

import csv
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

from msgspec import ValidationError, convert, to_builtins
from returns.result import Failure, Result, Success

from examples.ingest.reading import CREATE, INSERT, Reading
from onward import Retry, given, progress, task

DATABASE = "weather.db"


@dataclass(frozen=True)
class Malformed:
    line: int
    text: str
    why: str


@task(retry=Retry(attempts=3, on=(URLError, ConnectionError, TimeoutError)), timeout=30)
def fetch(source: str) -> bytes:
    if "://" not in source:
        return Path(source).read_bytes()
    with urlopen(source) as answer:
        content: bytes = answer.read()
    return content


@task
def parse(raw: bytes, sep: str = ",") -> Result[list[Reading], Malformed]:
    lines = raw.decode(errors="replace").splitlines()
    rows = csv.DictReader(lines, delimiter=sep)
    readings = []
    for row in rows:
        try:
            readings.append(convert(row, Reading, strict=False))
        except ValidationError as problem:
            return Failure(Malformed(rows.line_num, lines[rows.line_num - 1], str(problem)))
    return Success(readings)


@task(queue="db")
def store(readings: list[Reading], database: str) -> int:
    with closing(sqlite3.connect(database)) as db, db:
        db.execute(CREATE)
        for done, reading in enumerate(readings, start=1):
            db.execute(INSERT, to_builtins(reading))
            progress(done, len(readings), "days")
    return len(readings)


ingest = (fetch >> given(parse, sep=",") >> given(store, database=DATABASE)).named("ingest")
