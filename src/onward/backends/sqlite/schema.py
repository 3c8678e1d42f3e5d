"""The tables of a file, and how those of an older release become today's.

A change of the schema is one more script at the end of `MIGRATIONS`; those before it stay as they
are. All that are due run in one transaction. What runs already on a file must be able to go on with
the tables of the next release: add tables, and columns that may be null.
"""

from __future__ import annotations

from onward.backends.sqlite.errors import Refused
from onward.backends.sqlite.executes import Executes
from onward.fault import Misconfigured

_FIRST = """
create table onward_schema (version integer not null);

create table onward_clock (boot text primary key, shift real not null, seen real not null);

create table onward_calls (
    seq integer primary key,
    id text not null unique,
    flow text not null,
    plan blob not null,
    tags text,
    submitted real not null,
    state text,
    outcome blob,
    ended real,
    task text,
    step text,
    attempt integer
);

create table onward_jobs (
    seq integer primary key,
    call integer not null,
    path text,
    queue text not null,
    priority integer not null,
    due real,
    deadline real,
    owner integer,
    claim integer,
    claims integer not null default 0,
    deaths integer not null default 0,
    task text,
    step text,
    attempt integer,
    progress text,
    body blob
);
create index onward_free on onward_jobs (queue, priority desc, call)
    where owner is null and due is null;
create index onward_due on onward_jobs (due) where due is not null;
create index onward_late on onward_jobs (deadline) where deadline is not null;
create index onward_owned on onward_jobs (owner) where owner is not null;
create unique index onward_parts on onward_jobs (call, path) where path is not null;

create table onward_steps (
    seq integer primary key,
    call integer not null,
    path text not null,
    task text not null,
    attempt integer not null,
    due real,
    outcome blob,
    began real,
    ended real,
    worker text,
    unique (call, path)
);

create table onward_log (
    seq integer primary key autoincrement,
    call integer not null,
    path text,
    at real not null
);

create table onward_workers (
    id integer primary key autoincrement,
    name text not null,
    process text not null,
    queues text not null,
    tasks text not null,
    slots integer not null,
    until real not null
);

create table onward_schedules (
    name text primary key,
    declared blob not null,
    plan blob not null,
    paused integer not null default 0,
    next real not null
);
"""
"""What is what:

- A call has a row in `onward_calls` for as long as it is kept, and one in `onward_jobs`, with the
  same `seq`, until it has ended.
- A step that was handed to other workers has a job with a `path`, and a `seq` below 0.
- A job is free if it has neither `owner` nor `due`. `claim` is new each time that it is taken.
- `onward_steps` has the outcomes of a call's steps, and the attempts of those that are retried.
- `onward_log` says which calls have ended and which delegated steps have an outcome, in order.
- `submitted`, `began`, `ended` and `next` are seconds since 1970; all other moments are the file's.
"""

_WAITS = """
create table onward_signals (
    call integer not null,
    name text not null,
    value blob not null,
    sent real not null,
    unique (call, name)
);

create table onward_waits (
    call integer not null,
    path text not null,
    signal text,
    due real,
    unique (call, path)
);

alter table onward_jobs add column waiting integer;
"""
"""What is what:

- `onward_signals` has what was sent to calls, for as long as these are kept.
- `onward_waits` has the sleeps and the waits for a signal that have begun and not ended. `due` is
  null for a wait without a timeout.
- A job is `waiting` while its worker says that it runs no step beside its waits.
"""

_UNIQUE = """
alter table onward_calls add column slot text;
alter table onward_calls add column next_due real;
create unique index onward_slots on onward_calls (slot, next_due is null)
    where slot is not null and state is null;
create trigger onward_next after update of state on onward_calls
    when new.state is not null and new.slot is not null and new.next_due is null
    begin
    update onward_jobs set due = calls.next_due from onward_calls as calls
    where calls.slot = new.slot and calls.state is null and onward_jobs.seq = calls.seq; \
    update onward_calls set next_due = null where slot = new.slot and state is null; \
    end;
"""
"""Calls that share a key, see `onward.backends.sqlite.unique`.

The trigger is the database's, so that it also works for workers of the release before.
"""

_OVERLAPS = """
alter table onward_schedules add column waiting text;

alter table onward_schedules add column last text;
"""
"""`waiting` has the times of the runs that wait for the call `last` to end."""

_HISTORY = """
alter table onward_calls add column began real;
alter table onward_calls add column worker text;
alter table onward_calls add column fault text;
alter table onward_calls add column running text;
alter table onward_jobs add column running text;
alter table onward_steps add column tried real;
alter table onward_steps add column waits text;
alter table onward_steps add column until real;

create table onward_attempts (
    seq integer primary key,
    call integer not null,
    path text not null,
    number integer not null,
    began real,
    ended real,
    worker text,
    outcome blob
);
create index onward_attempts_at on onward_attempts (call, path);

create table onward_tags (tag text, call integer, primary key (tag, call)) without rowid;

create table onward_numbers (last integer not null);
insert into onward_numbers values (0);

update onward_calls set fault = json_extract(cast(outcome as text), '$.raw.type')
    where state <> 'done' and json_valid(cast(outcome as text))
    and json_extract(cast(outcome as text), '$.outcome') = 'fault';

create index onward_newest on onward_calls (seq, flow, submitted);
create index onward_failures on onward_calls (state, seq, flow, submitted, fault)
    where state <> 'done';
"""
"""What is read of calls, and lists of them. What is what:

- A call whose flow is a task has no step of its own if its first attempt was the last: `began` and
  `worker` of `onward_calls` are that step's, and the outcome is.
- `fault` is the kind of the fault that a call ended with.
- `running` has the steps that a worker runs by now; where a call ended early, those that ran then.
- `onward_attempts` has the attempts that are not a step's last: those that were retried, and those
  whose worker died. `tried` is when the last one began, if it is not the first.
- A wait has a row in `onward_steps` from its begin on. `waits` is its signal's name, empty for a
  sleep, and `until` is when it ends at the latest.
- `onward_numbers` has the largest `seq` of a call that was ever deleted, so that none comes again.
"""

_LIMITS = """
create table onward_places (
    seq integer primary key,
    pool text not null,
    key text not null,
    turn integer not null,
    call integer not null,
    path text not null,
    job integer not null,
    task text not null,
    name text not null,
    concurrency integer,
    rate integer,
    window real not null,
    handed real,
    begun real,
    unique (call, path)
);
create index onward_turns on onward_places (pool, turn, seq) where handed is null;
create index onward_keys on onward_places (pool, key, turn) where handed is null;
create index onward_held on onward_places (pool, begun) where handed is not null;

create table onward_begun (pool text not null, at real not null, until real not null);
create index onward_begun_at on onward_begun (pool, at);
create index onward_begun_until on onward_begun (until);
"""
"""Limits of steps, see `onward.backends.sqlite.places`. What is what:

- `onward_places` has the steps that have a place of a limit, or wait for one. `handed` is when it
  got the place, and `begun` when its attempt began.
- `onward_begun` has the attempts of limits with a rate that began within their last window.
"""

MIGRATIONS: tuple[str, ...] = (_FIRST, _WAITS, _UNIQUE, _OVERLAPS, _HISTORY, _LIMITS)
VERSION = len(MIGRATIONS)
"""The version of the schema that this release writes."""


def version_of(db: Executes) -> int:
    """The version of a file's schema; 0 if it has no tables of Onward yet."""
    query = "select count(*) from sqlite_schema where type = 'table' and name = 'onward_schema'"
    if not db.execute(query).fetchone()[0]:
        return 0
    row = db.execute("select version from onward_schema").fetchone()
    return 0 if row is None else int(row[0])


def refuse_newer(version: int) -> None:
    """Raises `Refused` for a file of a release later than this one."""
    if version > VERSION:
        raise Refused(
            Misconfigured(
                "sqlite",
                f"the file has schema {version}, of a later release of Onward; this one knows "
                f"{VERSION}: upgrade Onward here, or connect to another file",
            )
        )


def migrate(db: Executes) -> None:
    """Brings a file's schema up to date, in the transaction that the caller has begun."""
    version = version_of(db)
    refuse_newer(version)
    for script in MIGRATIONS[version:]:
        # Not executescript, which commits first.
        for statement in script.split(";\n"):
            if statement.strip():
                db.execute(statement)
    if version < VERSION:
        db.execute("delete from onward_schema")
        db.execute("insert into onward_schema(version) values (?)", (VERSION,))
