"""Records the histories that test_replay.py replays: `python -m tests.temporal.record [NAME...]`.

Existing histories must not be replaced while calls of an earlier release may still run: a history
that no longer replays would break those calls.
"""

from __future__ import annotations

import json
import re
import sys
import tempfile
from base64 import b64decode, b64encode
from collections.abc import Mapping
from contextlib import closing, suppress
from pathlib import Path
from socket import gethostname

from temporalio.client import WorkflowHistory

from onward import cancel, fork, result, send, submit
from onward.backends.temporal import temporal
from onward.backends.temporal.unique_message import holder_of
from onward.flows.flow import Call
from tests.engines.server import HOST
from tests.engines.temporal import Temporal
from tests.temporal.conftest import ROOT, ShortHistories, until_status
from tests.temporal.flows import AWAITED, BY, CALLS, CANCELLED, FORKED, LONG
from tests.temporal.sdk import Sdk
from tests.temporal.served import catalog, wait

UNIQUE = 4
"""How many runs hold a key while two calls follow each other."""

FOLDER = Path(__file__).parent / "histories"


def main(*names: str) -> None:
    """Runs each of these calls, or all, and records its history."""
    if not names:
        for path in FOLDER.glob("*.json"):
            path.unlink()
    short = CALLS | CANCELLED
    record(Temporal, {name: short[name] for name in names or short})
    if not names:
        record(ShortHistories, LONG)
        record_unique()


def record(kind: type[Temporal], calls: Mapping[str, Call[object, object]]) -> None:
    """Runs calls on a new server, and records their histories."""
    with (
        tempfile.TemporaryDirectory() as folder,
        kind.start(Path(folder), durable=False) as server,
        closing(temporal(HOST, server.port, task_queue="recorded")) as backend,
        closing(Sdk(server.address)) as sdk,
    ):
        worker = backend.serve(catalog).unwrap()
        for name, call in calls.items():
            ref = submit(call, on=backend).unwrap()
            if name in CANCELLED:
                until_status(ref, backend, lambda now: now.task == "rest")
                cancel(ref, on=backend).unwrap()
            if name in AWAITED:
                until_status(ref, backend, lambda now: now.state == "waiting")
                send(ref, BY, 5, on=backend).unwrap()
            result(ref, on=backend, timeout=120)
            if name in FORKED:
                ref = fork(ref, FORKED[name], on=backend).unwrap()
                result(ref, on=backend, timeout=120)
            _keep(name, sdk, ref.id)
            for number, part in enumerate(sdk.children(ref.id)):
                _keep(f"{name}-{number}", sdk, part)
        worker.stop()


def record_unique() -> None:
    """Records the runs that hold a key: each waits, or has started its call."""
    with (
        tempfile.TemporaryDirectory() as folder,
        Temporal.start(Path(folder), durable=False) as server,
        closing(temporal(HOST, server.port, task_queue="recorded")) as backend,
        closing(Sdk(server.address)) as sdk,
    ):
        worker = backend.serve(catalog).unwrap()
        submit(wait(600.0), on=backend, unique="k", debounce=0.5).unwrap()
        first = submit(wait(2.0), on=backend, unique="k", debounce=0).unwrap()
        until_status(first, backend, lambda seen: seen.state == "running")
        second = submit(wait(0.1), on=backend, unique="k", debounce=0.1).unwrap()
        result(second, on=backend, timeout=120)
        holder = holder_of(second.id) or ""
        run = ""
        for number in range(UNIQUE):
            found = sdk.history(holder, run)
            _write(f"unique-{number}", found)
            begun = found.events[0].workflow_execution_started_event_attributes
            run = begun.continued_execution_run_id
        assert not run
        worker.stop()


def _keep(name: str, sdk: Sdk, id: str) -> None:
    _write(name, sdk.history(id))


def _write(name: str, history: WorkflowHistory) -> None:
    id = history.workflow_id
    kept = _general({"id": id, "history": history.to_json_dict()})
    (FOLDER / f"{name}.json").write_text(f"{json.dumps(kept, separators=(',', ':'))}\n")


def _general(part: object) -> object:
    """Removes from a part of a history what is specific to this machine."""
    match part:
        case dict():
            return {key: _general(of) for key, of in part.items() if key != "stackTrace"}
        case list():
            return [_general(each) for each in part]
        case str():
            with suppress(ValueError):  # it is not a payload
                raw = b64decode(part, validate=True)
                if str(ROOT).encode() in raw:
                    return b64encode(raw.replace(str(ROOT).encode(), b"/app")).decode()
            return re.sub(rf"\b\d+@{re.escape(gethostname())}\b", "1@worker", part)
        case _:
            return part


if __name__ == "__main__":
    main(*sys.argv[1:])
