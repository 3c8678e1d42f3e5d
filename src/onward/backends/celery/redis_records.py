"""What is recorded of calls, in the ledger's Redis."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from onward import outcome as outcomes
from onward.backends.celery import record_scripts
from onward.backends.celery.ledger import distrusted
from onward.backends.celery.packed import joined, restored, restored_about, restored_outcome
from onward.backends.celery.records import (
    Forgotten,
    ListedPage,
    Query,
    RecordedPage,
    RecordedStep,
    StepLog,
    fields_of,
    listed,
    parse_log,
    step_of,
)
from onward.backends.celery.scripts import CALLS, SEARCHES
from onward.backends.celery.signing import Signer, verify
from onward.outcome import Outcome, faulted

_STEPS_IN_FIELD = 20
"""How many steps a full field of a log has at least."""

_SWEEPS = 20
"""How many times in a row a search for expired calls goes on while it finds many."""

_EARLIER = "earlier"
"""How the places begin in the record of a call that an earlier release submitted."""


class RedisRecords:
    """The records of calls in Redis.

    Args:
        client: A client of it. (Any: redis-py's types cover two kinds of client at once.)
        signer: Checks signatures; None without keys.
        keep: How long a call is kept after its end, in seconds.
    """

    def __init__(self, client: Any, signer: Signer | None, keep: int) -> None:
        self._client = client
        self._signer = signer
        self._keep = keep
        self._read = client.register_script(record_scripts.READ)
        self._read_steps = client.register_script(record_scripts.READ_STEPS)
        self._find_known = client.register_script(record_scripts.KNOWN)
        self._list = client.register_script(record_scripts.LIST)
        self._forget = client.register_script(record_scripts.FORGET)
        self._sweep = client.register_script(record_scripts.SWEEP)

    def page(self, id: str, after: str, limit: int) -> RecordedPage | None:
        limit = max(1, min(limit, record_scripts.AT_ONCE))
        kind, first, skipped = _place(after)
        count = limit // _STEPS_IN_FIELD + 2
        found = self._read([f"onward:{id}"], [first, count])
        if not found:
            return None
        plan, outcome, about, ended, state, signals, last, parts, starts = found
        about = None if about is None else restored_about(about, plan)
        call, following = listed(id, _decoded(state), about, ended), ""
        # A worker of an earlier release has left no log of what it ran.
        if kind == _EARLIER or about is None or not (after or any(parts)):
            logs = self._earlier(id, call.ended)[skipped:]
            if len(logs) > limit:
                following = f"{_EARLIER} 0 {skipped + limit}"
            places = [(_EARLIER, 0, skipped + index) for index in range(len(logs))]
        else:
            logs, places = [], []
            for number, part in enumerate(parts, first):
                for index, log in enumerate(parse_log(_decoded(part), call.ended)):
                    if number > first or index >= skipped:
                        logs.append(log)
                        places.append(("", number, index))
            if first + len(parts) <= last:
                following = f" {first + len(parts)} 0"
        steps = self._steps(id, logs[:limit])
        if len(steps) < len(logs):
            following = " ".join(map(str, places[len(steps)]))
        names = [_decoded(name) for name in signals[::2]]
        return RecordedPage(
            call,
            self._plan(id, plan),
            steps,
            None if outcome is None else self._outcome(id, outcome, "outcome"),
            {
                name: self._signal(id, name, value)
                for name, value in zip(names, signals[1::2], strict=True)
            },
            following,
            None if starts is None else float(starts),
        )

    def known(self, id: str, paths: Sequence[str]) -> set[str]:
        known: set[str] = set()
        for start in range(0, len(paths), record_scripts.AT_ONCE):
            some = list(paths[start : start + record_scripts.AT_ONCE])
            found = self._find_known([f"onward:{id}"], some)
            known.update(some[number - 1] for number in found)
        return known

    def _steps(self, id: str, logs: list[StepLog]) -> list[RecordedStep]:
        """Reads the records of the first of these steps, as many as one answer takes."""
        if not logs:
            return []
        args = [text for log in logs for text in (str(len(fields_of(log))), *fields_of(log))]
        found = self._read_steps([f"onward:{id}"], args)

        def read(raw: bytes, *role: str) -> Outcome:
            return self._outcome(id, raw, *role)

        return [step_of(log, values, read) for log, values in zip(logs, found, strict=False)]

    def _earlier(self, id: str, ended_at: float | None) -> list[StepLog]:
        """The steps of a call that has no log, or not all of its steps in it."""
        fields = joined(self._client.hgetall(f"onward:{id}"))
        texts = list(map(_decoded, fields))
        parts = [value for name, value in fields.items() if name.startswith(b"l:")]
        logs = {log.path: log for part in parts for log in parse_log(_decoded(part), ended_at)}
        for text in texts:
            if text.startswith(("o:", "w:", "b:")):
                logs.setdefault(text[2:], StepLog(text[2:], ()))
        return sorted(logs.values(), key=lambda log: _in_order(log.path))

    def _plan(self, id: str, raw: bytes) -> bytes | None:
        """A plan, also one that may no longer be sent; None if its signature is not valid."""
        raw = restored(id, raw)
        if self._signer is None:
            return verify(None, raw)
        read = self._signer.verify(raw, "plan", id)
        return None if read is None else read.partition(b" ")[2]

    def _outcome(self, id: str, raw: bytes, kind: str, *role: str) -> Outcome:
        read = verify(self._signer, restored_outcome(raw), kind, id, *role)
        if read is None:
            what = f"the outcome of {role[0]!r}" if role else "its outcome"
            return faulted(distrusted(what))
        return outcomes.decode(read)

    def _signal(self, id: str, name: str, value: bytes) -> bytes | None:
        return value if self._signer is None else self._signer.verify(value, "signal", id, name)

    def calls(self, query: Query, after: str, limit: int) -> ListedPage:
        score, _, id = after.partition(" ")
        if after:
            float(score)
        key = f"{CALLS}:{query.state}" if query.state else CALLS
        args = [id, score, _text(query.since), _text(query.until), limit]
        rows, is_over, last = self._list([key], args)
        calls = [
            (
                listed(_decoded(id), _decoded(state), restored_about(about or b"", plan), ended),
                f"{_decoded(score)} {_decoded(id)}",
            )
            for id, score, about, ended, state, plan in rows
        ]
        return ListedPage(calls, "" if is_over else _decoded(b" ".join(last)))

    def forget(self, id: str) -> Forgotten:
        answer: Forgotten = self._forget([f"onward:{id}"], [id]).decode()
        return answer

    def sweep(self) -> None:
        for _ in range(_SWEEPS):
            removed = self._sweep([CALLS, SEARCHES], [self._keep])
            if removed < record_scripts.AT_ONCE // 2:
                return


def _place(after: str) -> tuple[str, int, int]:
    """Where a part of a record begins: the kind of log, the field, and the steps before."""
    if not after:
        return "", 0, 0
    kind, field, steps = after.split(" ")
    return kind, int(field), int(steps)


def _decoded(raw: bytes) -> str:
    return raw.decode(errors="replace")


def _text(time: float) -> str | float:
    return "" if abs(time) == float("inf") else time


def _in_order(path: str) -> list[tuple[bool, int, str]]:
    """Sorts paths as steps run: by number, and `try` before what follows it."""
    parts = re.findall(r"\d+|[a-z]+", path)
    order = {"try": 0, "rescue": 1, "finally": 1}
    return [
        (part.isdigit(), int(part) if part.isdigit() else order.get(part, 2), part)
        for part in parts
    ]
