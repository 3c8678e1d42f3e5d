"""Writes a file of today's schema down, with something of each kind in it, to be kept.

python -m tests.sqlite.kept     # after a change of the schema
"""

import sqlite3
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

from onward import (
    Catalog,
    Constant,
    Retry,
    Signal,
    awaits,
    each,
    keep,
    pause_schedule,
    result,
    schedule,
    send,
    sleep,
    status,
    submit,
    task,
)
from onward.backends.sqlite import sqlite
from onward.backends.sqlite.schema import VERSION

FOLDER = Path(__file__).with_name("schemas")


@task
def inc(n: int) -> int:
    return n + 1


@task(retry=Retry(attempts=2, backoff=Constant(3600.0)))
def hesitate(n: int) -> int:
    if n < 100:
        raise OSError("not yet")
    return n


@task(queue="far")
def far(n: int) -> int:
    return n + 100


CATALOG = Catalog(inc, hesitate, far)

BY, NOTE = Signal("by", int), Signal("note", str)
SLEEPS = inc >> sleep(3600)
WAITS = inc >> keep(awaits(BY)) >> keep(awaits(NOTE))

DONE, QUEUED, RETRIED, FAR, ASLEEP, WAITING = (f"{number}" * 32 for number in range(1, 7))
STILL = (ASLEEP, WAITING)
"""The ids of what waits, since schema 2."""


def main(file: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "onward.db")
        backend = sqlite(path)
        calls = {
            DONE: inc(1),
            RETRIED: (inc >> hesitate)(2),
            FAR: (each(inc) >> each(far))([1, 2, 3]),
            ASLEEP: SLEEPS(1),
            WAITING: WAITS(1),
        }
        worker = backend.serve(CATALOG, queues=["onward"]).unwrap()
        refs = {id: submit(call, on=backend).unwrap() for id, call in calls.items()}
        result(refs[DONE], on=backend)
        while status(refs[RETRIED], on=backend).unwrap().task != "hesitate":
            time.sleep(0.1)
        while any(status(refs[id], on=backend).unwrap().state != "waiting" for id in STILL):
            time.sleep(0.1)
        send(refs[WAITING], NOTE, "early", on=backend).unwrap()
        time.sleep(2)  # so that nobody holds what waits
        worker.stop(0)
        queued = submit(inc(5), on=backend, delay=1, priority=9).unwrap()
        schedule(inc(7), on=backend, name="nightly", cron="0 2 * * *").unwrap()
        schedule(inc(8), on=backend, name="hourly", every=3600).unwrap()
        pause_schedule("hourly", on=backend).unwrap()
        backend.close()
        with closing(sqlite3.connect(path)) as db:
            for id, ref in (*refs.items(), (QUEUED, queued)):
                db.execute("update onward_calls set id = ? where id = ?", (id, ref.id))
            db.execute("update onward_clock set boot = 'another machine'")
            db.commit()
            file.write_text("\n".join(db.iterdump()) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if sys.argv[1:] else FOLDER / f"{VERSION}.sql")
