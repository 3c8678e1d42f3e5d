"""Diagnoses the engine, its workers, and the steps that wait."""

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
from onward.backends.hatchet.backlog import RUN, Waiting, waiting
from onward.backends.hatchet.client import Client
from onward.backends.hatchet.declare import OURS
from onward.backends.hatchet.errors import RpcError
from onward.backends.hatchet.http_api import HttpApi
from onward.backends.hatchet.settings import Address, Settings
from onward.backends.hatchet.submit import label
from onward.backends.hatchet.token import claims
from onward.fault import Fault, Misconfigured

T = TypeVar("T")

_GONE = 30.0
"""How long after its last heartbeat the engine considers a worker dead, in seconds."""

_SOON = 14 * 24 * 3600.0
"""A token that expires within this time should be renewed, in seconds."""

_FORGOTTEN = 120.0
"""Steps that wait this long for their limit look forgotten by the engine, in seconds."""

_PAGE = 500
_PAGES = 20
"""How many workflows a page has, and how many pages are read at most."""

_FLOWS = "-flows"
"""The suffix of the name of a worker's second registration, the one for flows."""

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


class _Workflow(Struct, frozen=True):
    name: str
    description: str = ""


class _Workflows(Struct, frozen=True):
    rows: list[_Workflow] = []


async def make_diagnosis(
    client: Client, http: HttpApi, settings: Settings
) -> Result[Diagnosis, Fault]:
    """Makes a diagnosis. Hatchet counts waiting steps by task, not by queue."""
    try:
        engine = await client.version()
    except RpcError as problem:
        return Failure(_expired(settings.address) or client.fault(problem))
    findings = [
        Finding("SDK", f"hatchet-sdk {version('hatchet-sdk')}"),
        Finding("server", f"Hatchet {engine.removeprefix('v')}"),
        _credentials(settings.address),
    ]
    seen = Diagnosis(settings.queue, (), (), {}, knows_capitals=False, knows_tasks=True)
    tenant = f"tenants/{settings.tenant}"
    answer = await http.fetch("GET", f"{tenant}/worker")
    url = settings.server_url
    rows = answer.bind(lambda answer: _read(answer.raw, _Workers, url))
    if isinstance(answer, Failure) or isinstance(rows, Failure):
        findings.append(_not_reached(url, rows.failure()))
        return Success(replace(seen, findings=tuple(findings), tells_workers=False))
    findings.append(Finding("HTTP API", f"{url} is reached"))
    ahead = answer.unwrap().ahead
    there = time.time() + (ahead or 0.0)
    alive = [worker for worker in rows.unwrap().rows if _is_alive(worker, there)]
    counts = _own(await waiting(http, settings.tenant), await workflows_in(http, tenant), settings)
    waits = {action: each for action, each in counts.items() if each.count}
    prefix = settings.prefix
    served = {action for worker in alive for action in worker.actions or ()}
    findings += _waits(waits, served, settings.prefix, there)
    return Success(
        replace(
            seen,
            findings=tuple(findings),
            workers=_workers(alive, settings.prefix),
            clock=ahead,
            waiting_tasks={_name(action, prefix): each.count for action, each in waits.items()},
            running={_name(action, prefix): each.running for action, each in counts.items()},
            oldest={
                _name(action, prefix): max(0.0, there - each.oldest)
                for action, each in waits.items()
                if each.oldest is not None
            },
        )
    )


async def unserved(http: HttpApi, settings: Settings) -> set[str] | None:
    """Finds the actions of this namespace with waiting steps that no worker serves.

    Returns None if the HTTP API does not answer.
    """
    tenant = f"tenants/{settings.tenant}"
    answer = await http.fetch("GET", f"{tenant}/worker")
    if isinstance(answer, Failure):
        return None
    rows = _read(answer.unwrap().raw, _Workers, settings.server_url).value_or(None)
    if rows is None:
        return None
    counts = await waiting(http, settings.tenant)
    waits = {action: each for action, each in counts.items() if each.count}
    now = time.time() + (answer.unwrap().ahead or 0.0)
    served = {
        action for worker in rows.rows if _is_alive(worker, now) for action in worker.actions or ()
    }
    if not waits.keys() - served:
        return set()
    return _own(waits, await workflows_in(http, tenant), settings).keys() - served


def _read(raw: bytes, kind: type[T], url: str) -> Result[T, Fault | HTTPStatus]:
    try:
        return Success(msgspec.json.decode(raw, type=kind))
    except msgspec.MsgspecError:
        return Failure(Misconfigured("server_url", f"the server at {url} is not Hatchet"))


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
    text = f"{url} answers {problem:d}" if isinstance(problem, HTTPStatus) else problem.message
    return Finding(
        "HTTP API",
        f"{text}; without it the workers are not known, none can be paused before it stops, and "
        "there are no schedules",
        "set server_url (HATCHET_CLIENT_SERVER_URL) to its address as seen from here",
        is_wrong=True,
    )


def _is_alive(worker: _Worker, now: float) -> bool:
    # A worker that stops is paused first, and still sends heartbeats.
    last = worker.last_heartbeat_at
    return worker.status != "PAUSED" and last is not None and now - last.timestamp() < _GONE


def _workers(alive: list[_Worker], prefix: str) -> tuple[SeenWorker, ...]:
    """Returns the workers of this namespace. Each has two registrations: for steps and flows."""
    steps, flows = (f"{names.workflow(name, prefix)}{RUN}" for name in (names.FUSED, names.FLOW))
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
            served |= {_name(action, prefix) for action in actions} - {
                names.FUSED,
                names.LIMITED,
            }
    return tuple(
        SeenWorker(name, frozenset(queues[name]), frozenset(tasks[name])) for name in sorted(queues)
    )


def _own(
    waits: Mapping[str, Waiting], workflows: Mapping[str, str], settings: Settings
) -> dict[str, Waiting]:
    """Selects the waiting steps of this namespace.

    Leaves out those of namespaces with a longer prefix, and those of other programs.
    """
    prefix = settings.prefix
    namespaces = {name.removesuffix(names.FLOW) for name in workflows if name.endswith(names.FLOW)}
    longer = tuple(
        other for other in namespaces if other != prefix and other.startswith(prefix) and other
    )
    own: dict[str, Waiting] = {}
    for action, each in waits.items():
        if not (action.startswith(prefix) and action.endswith(RUN)) or action.startswith(longer):
            continue
        if workflows.get(action.removesuffix(RUN), OURS) == OURS:
            own[action] = each
    return own


async def workflows_in(http: HttpApi, tenant: str) -> dict[str, str]:
    """Returns the names and descriptions of a tenant's workflows."""
    found: dict[str, str] = {}
    for page in range(_PAGES):
        query = {"limit": str(_PAGE), "offset": str(page * _PAGE)}
        answer = await http.request("GET", f"{tenant}/workflows", query=query)
        rows = answer.bind(lambda raw: _read(raw, _Workflows, "")).value_or(_Workflows()).rows
        found |= {each.name: each.description for each in rows}
        if len(rows) < _PAGE:
            break
    return found


def _waits(
    waits: Mapping[str, Waiting], served: set[str], prefix: str, now: float
) -> Iterator[Finding]:
    for action, each in sorted(waits.items()):
        name = _name(action, prefix)
        kinds = {
            names.FLOW: "flows",
            names.FUSED: "fused steps",
            names.LIMITED: "steps with a limit",
            names.PLACE: "calls with a limit",
        }
        kind = kinds.get(name, f"steps of {name}")
        if action not in served:
            text = f"{each.count} {kind} wait, and no worker serves them"
            cure = "start one whose modules have it: onward worker MODULE"
            yield Finding("waiting", text, cure, is_wrong=True)
            continue
        yield Finding("waiting", f"{each.count} {kind} wait")
        if name in (names.LIMITED, names.PLACE):
            continue  # they have no rate, which is what the engine forgets
        # If a step waits in the queue itself, the engine also checks those put aside.
        if each.aside == each.count and each.oldest is not None and now - each.oldest > _FORGOTTEN:
            yield Finding(
                "put aside",
                f"{each.aside} {kind} wait for their limit, the first for {now - each.oldest:.0f} "
                "s; if the engine (0.104) was restarted meanwhile, it has forgotten them",
                "restart a worker that has its limit: it reminds the engine of them",
            )


def _name(action: str, prefix: str) -> str:
    return action.removeprefix(prefix).removesuffix(RUN)
