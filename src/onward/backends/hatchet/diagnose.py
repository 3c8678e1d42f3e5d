"""How the engine is, who is there to take steps, and what waits."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from http import HTTPStatus
from importlib.metadata import version
from typing import TypeVar

import msgspec
from msgspec import Struct
from msgspec.structs import replace
from returns.result import Failure, Result, Success

from onward.backend import Diagnosis, Finding, SeenWorker
from onward.backends.hatchet import names
from onward.backends.hatchet.problem import Problem
from onward.backends.hatchet.rest import Rest
from onward.backends.hatchet.runs import label
from onward.backends.hatchet.settings import Address, Settings
from onward.backends.hatchet.token import claims
from onward.backends.hatchet.wire import Wire
from onward.fault import Fault, Misconfigured

T = TypeVar("T")

_GONE = 30.0
"""After how long the engine takes a worker for dead that says nothing, in seconds."""

_SOON = 14 * 24 * 3600.0
"""How long before its end a token should be renewed, in seconds."""

_RUN = ":run"
_FLOWS = "-flows"
"""What a worker's second registration, the one for flows, has in its name beside the first's."""

_ANOTHER = "make another in the dashboard (Settings, API Tokens), for clients and workers"


class _Label(Struct, frozen=True):
    key: str


class _Worker(Struct, frozen=True, rename="camel"):
    name: str
    status: str = ""
    last_heartbeat_at: datetime | None = None
    actions: list[str] | None = None
    labels: list[_Label] | None = None


class _Workers(Struct, frozen=True):
    rows: list[_Worker] = []


class _Waiting(Struct, frozen=True):
    queues: dict[str, int] = {}


async def look(wire: Wire, rest: Rest, settings: Settings) -> Result[Diagnosis, Fault]:
    """Looks at all of it. Of queues the engine knows nothing: what waits, it tells by the task."""
    try:
        engine = await wire.version()
    except Problem as problem:
        return Failure(_expired(settings.address) or wire.fault(problem))
    findings = [
        Finding("SDK", f"hatchet-sdk {version('hatchet-sdk')}"),
        Finding("server", f"Hatchet {engine.removeprefix('v')}"),
        _credentials(settings.address),
    ]
    seen = Diagnosis(settings.queue, (), (), {}, knows_capitals=False, knows_tasks=True)
    tenant = f"tenants/{settings.tenant}"
    answer = await rest.answer("GET", f"{tenant}/worker")
    url = settings.server_url
    rows = answer.bind(lambda answer: _read(answer.raw, _Workers, url))
    if isinstance(answer, Failure) or isinstance(rows, Failure):
        findings.append(_not_reached(url, rows.failure()))
        return Success(replace(seen, findings=tuple(findings), tells_workers=False))
    findings.append(Finding("HTTP API", f"{url} is reached"))
    ahead = answer.unwrap().ahead
    there = time.time() + (ahead or 0.0)
    alive = [worker for worker in rows.unwrap().rows if _is_alive(worker, there)]
    waiting = await rest.ask("GET", f"{tenant}/step-run-queue-metrics")
    counts = waiting.bind(lambda raw: _read(raw, _Waiting, url)).value_or(_Waiting()).queues
    served = {action for worker in alive for action in worker.actions or ()}
    findings += _waits(counts, served, settings.prefix)
    workers = _workers(alive, settings.prefix)
    return Success(replace(seen, findings=tuple(findings), workers=workers, clock=ahead))


def _read(raw: bytes, kind: type[T], url: str) -> Result[T, Fault | HTTPStatus]:
    try:
        return Success(msgspec.json.decode(raw, type=kind))
    except msgspec.MsgspecError:
        return Failure(Misconfigured("server_url", f"what answers at {url} is no Hatchet"))


def _credentials(address: Address) -> Finding:
    end = claims(address.token).exp
    until = "that does not expire" if end is None else f"that expires on {_day(end)}"
    is_old = end is not None and end - time.time() < _SOON
    tls = "no TLS" if address.tls is None else "TLS"
    if address.tls is not None and address.tls.certificate is not None:
        tls = "TLS, with a client's certificate"
    return Finding("credentials", f"a token {until}; {tls}", _ANOTHER if is_old else "")


def _expired(address: Address) -> Misconfigured | None:
    end = claims(address.token).exp
    if end is None or end > time.time():
        return None
    return Misconfigured("token", f"the token expired on {_day(end)}: {_ANOTHER}")


def _day(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).date().isoformat()


def _not_reached(url: str, problem: Fault | HTTPStatus) -> Finding:
    said = f"{url} answers {problem:d}" if isinstance(problem, HTTPStatus) else problem.message
    return Finding(
        "HTTP API",
        f"{said}; so nobody can tell which workers there are, none can be paused before it stops, "
        "and there are no schedules",
        "set server_url (HATCHET_CLIENT_SERVER_URL) to where it is reached from here",
        is_wrong=True,
    )


def _is_alive(worker: _Worker, now: float) -> bool:
    # One that stops is paused first, and goes on to say that it is alive.
    said = worker.last_heartbeat_at
    return worker.status != "PAUSED" and said is not None and now - said.timestamp() < _GONE


def _workers(alive: list[_Worker], prefix: str) -> tuple[SeenWorker, ...]:
    """Those of this namespace, each of which the engine knows twice: for steps and for flows."""
    steps, flows = (f"{names.workflow(name, prefix)}{_RUN}" for name in (names.FUSED, names.FLOW))
    queues: dict[str, set[str]] = {}
    tasks: dict[str, set[str]] = {}
    for worker in alive:
        actions = worker.actions or ()
        if steps not in actions and flows not in actions:
            continue
        name = worker.name.removesuffix(_FLOWS)
        labels = (each.key for each in worker.labels or ())
        there = {key.removeprefix(label("")) for key in labels if key.startswith(label(""))}
        queues.setdefault(name, set()).update(there)
        served = tasks.setdefault(name, set())
        if steps in actions:
            served |= {_name(action, prefix) for action in actions} - {names.FUSED}
    return tuple(
        SeenWorker(name, frozenset(queues[name]), frozenset(tasks[name])) for name in sorted(queues)
    )


def _waits(counts: Mapping[str, int], served: set[str], prefix: str) -> Iterator[Finding]:
    for action, count in sorted(counts.items()):
        if not (count and action.startswith(prefix) and action.endswith(_RUN)):
            continue
        name = _name(action, prefix)
        kinds = {names.FLOW: "flows", names.FUSED: "fused steps"}
        waits = f"{count} {kinds.get(name, f'steps of {name}')} wait"
        if action in served:
            yield Finding("waiting", waits)
        else:
            cure = "start one whose modules have it: onward worker MODULE"
            yield Finding("waiting", f"{waits}, and no worker serves them", cure, is_wrong=True)


def _name(action: str, prefix: str) -> str:
    return action.removeprefix(prefix).removesuffix(_RUN)
