"""Schedules as Hatchet's crons, which its dashboard shows."""

from __future__ import annotations

from http import HTTPStatus

import msgspec
from msgspec import Struct
from msgspec.structs import replace
from returns.result import Failure, Result, Success

from onward import plan as plans
from onward.backend import Schedule, Scheduled
from onward.backends.hatchet import marks, names
from onward.backends.hatchet.http_api import HttpApi
from onward.backends.hatchet.message import KEY, decode_input, encode, input_of, unwrapped
from onward.backends.hatchet.submit import priority_of, undeclared, workflows_of
from onward.fault import Fault, Misconfigured, Unavailable, Unknown, Unsupported
from onward.plan import FusedNode, Plan, StepNode

_ZONE = "CRON_TZ="
_EVERY = "@every "
_PAGE = 100
_MARK = "schedule"


class _Meta(Struct, frozen=True):
    id: str


class _Cron(Struct, frozen=True, rename="camel"):
    metadata: _Meta
    workflow_name: str
    cron: str
    enabled: bool
    name: str = ""
    input: msgspec.Raw = msgspec.Raw(b"{}")
    additional_metadata: dict[str, object] | None = None
    priority: int = 1


class _Crons(Struct, frozen=True):
    rows: list[_Cron] = []


_CRONS = msgspec.json.Decoder(_Crons)


class Crons:
    """The schedules of a tenant.

    Args:
        http: The HTTP API; the gRPC API has no crons.
        tenant: The tenant's id.
        prefix: The prefix of the workflows' names.
    """

    def __init__(self, http: HttpApi, tenant: str, prefix: str) -> None:
        self._http = http
        self._tenant = tenant
        self._prefix = prefix

    async def put(self, schedule: Schedule, plan: Plan) -> Result[Schedule, Fault]:
        """See `AsyncSchedules.schedule`."""
        refused = lacking(schedule)
        if refused is not None:
            return Failure(refused)
        found = await self._of(schedule.name)
        if isinstance(found, Failure):
            return found
        old = found.unwrap()
        body: dict[str, object] = {
            "cronName": schedule.name,
            "cronExpression": _expression(schedule),
            "input": msgspec.Raw(encode(input_of(plan)).encode()),
            "additionalMetadata": {
                KEY: f"schedule {self._prefix}{schedule.name}",
                "flow": schedule.flow,
                _MARK: self._prefix,
                **marks.of_call(plan, self._prefix),
            },
            "priority": priority_of(plan) or 2,
        }
        for cron in old:
            if _is_same(cron, body):
                return Success(_schedule(cron))
        is_paused = any(not cron.enabled for cron in old) if old else schedule.paused
        # The old cron is deleted first, because a name and a time must be unique in the engine.
        for cron in old:
            gone = await self._delete(cron)
            if isinstance(gone, Failure):
                return gone
        made = await self._create(plan, body)
        if isinstance(made, Failure):
            return made
        if is_paused:
            paused = await self._set(made.unwrap(), enabled=False)
            if isinstance(paused, Failure):
                return paused
        return Success(replace(schedule, paused=is_paused))

    async def all(self) -> Result[list[Schedule], Fault]:
        """See `AsyncSchedules.schedules`."""
        found = await self._list({})
        return found.map(lambda crons: sorted(map(_schedule, crons), key=lambda one: one.name))

    async def read(self, name: str) -> Result[Scheduled, Fault]:
        """See `AsyncReadsSchedules.scheduled`."""
        found = await self._known(name)
        if isinstance(found, Failure):
            return Failure(found.failure())
        cron = found.unwrap()[0]
        run = decode_input(unwrapped(cron.input))
        if run is None:
            return Failure(Unavailable(name, "the input of its cron was not made by Onward"))
        return plans.decode(run.plan.encode()).map(lambda plan: Scheduled(_schedule(cron), plan))

    async def enable(self, name: str, *, enabled: bool) -> Result[None, Fault]:
        """Resumes or pauses a schedule; `Unknown` if there is none."""
        found = await self._known(name)
        if isinstance(found, Failure):
            return found
        for cron in found.unwrap():
            answer = await self._set(cron.metadata.id, enabled=enabled)
            if isinstance(answer, Failure):
                return answer
        return Success(None)

    async def remove(self, name: str) -> Result[None, Fault]:
        """Deletes a schedule; `Unknown` if there is none."""
        found = await self._known(name)
        if isinstance(found, Failure):
            return found
        for cron in found.unwrap():
            answer = await self._delete(cron)
            if isinstance(answer, Failure):
                return answer
        return Success(None)

    async def _delete(self, cron: _Cron) -> Result[bytes, Fault]:
        return await self._ask("DELETE", f"workflows/crons/{cron.metadata.id}")

    async def _create(self, plan: Plan, body: dict[str, object]) -> Result[str, Fault]:
        for name in self._workflows(plan):
            path = f"tenants/{self._tenant}/workflows/{names.workflow(name, self._prefix)}/crons"
            answer = await self._http.request("POST", path, body=body)
            if isinstance(answer, Success):
                return Success(msgspec.json.decode(answer.unwrap(), type=_Cron).metadata.id)
            if answer.failure() != HTTPStatus.BAD_REQUEST:
                return Failure(_fault(answer.failure()))
        return Failure(undeclared(plan))

    def _workflows(self, plan: Plan) -> list[str]:
        """The workflows that can run a plan on schedule, the most specific first."""
        if isinstance(plan.root, StepNode | FusedNode):
            return [names.FLOW]  # a cron has no queue, but the evaluator sets each step's queue
        return workflows_of(plan)

    async def _set(self, id: str, *, enabled: bool) -> Result[bytes, Fault]:
        return await self._ask("PATCH", f"workflows/crons/{id}", {"enabled": enabled})

    async def _known(self, name: str) -> Result[list[_Cron], Fault]:
        found = await self._of(name)
        if isinstance(found, Success) and not found.unwrap():
            return Failure(Unknown(name, "Hatchet has no schedule of this name that Onward made"))
        return found

    async def _of(self, name: str) -> Result[list[_Cron], Fault]:
        found = await self._list({"cronName": name})
        return found.map(lambda crons: [cron for cron in crons if cron.name == name])

    async def _list(self, query: dict[str, str]) -> Result[list[_Cron], Fault]:
        crons: list[_Cron] = []
        while True:
            page = {**query, "offset": str(len(crons)), "limit": str(_PAGE)}
            answer = await self._ask("GET", "workflows/crons", query=page)
            if isinstance(answer, Failure):
                return answer
            rows = _CRONS.decode(answer.unwrap()).rows
            crons += rows
            if len(rows) < _PAGE:
                return Success([cron for cron in crons if self._is_ours(cron)])

    def _is_ours(self, cron: _Cron) -> bool:
        return (cron.additional_metadata or {}).get(_MARK) == self._prefix

    async def _ask(
        self,
        method: str,
        path: str,
        body: object = None,
        query: dict[str, str] | None = None,
    ) -> Result[bytes, Fault]:
        url = f"tenants/{self._tenant}/{path}"
        return (await self._http.request(method, url, query=query, body=body)).alt(_fault)


def lacking(schedule: Schedule) -> Unsupported | None:
    """The fault for a schedule that Hatchet's crons cannot do."""
    if schedule.overlap != "allow":
        message = (
            f"a cron of Hatchet starts each run when it is due, so overlap={schedule.overlap!r} is "
            "not possible: leave overlap out, and let Limit(concurrency=1) of the task make runs "
            "wait for each other"
        )
        return Unsupported(schedule.name, message)
    if schedule.catch_up is not None:
        message = (
            "Hatchet makes up for no run that was due while its engine was away: leave catch_up out"
        )
        return Unsupported(schedule.name, message)
    return None


def _expression(schedule: Schedule) -> str:
    """Returns the engine's expression for when a schedule runs."""
    if schedule.cron is None:
        return f"{_EVERY}{schedule.every}s"
    return schedule.cron if schedule.timezone == "UTC" else _in(schedule.timezone, schedule.cron)


def _in(timezone: str, cron: str) -> str:
    return f"{_ZONE}{timezone} {cron}"


def _schedule(cron: _Cron) -> Schedule:
    text, timezone, every = cron.cron, "UTC", None
    if text.startswith(_ZONE):
        timezone, _, text = text.removeprefix(_ZONE).partition(" ")
    if text.startswith(_EVERY):
        every = int(text.removeprefix(_EVERY).removesuffix("s"))
    flow = str((cron.additional_metadata or {}).get("flow", ""))
    return Schedule(
        name=cron.name,
        flow=flow,
        cron=text if every is None else None,
        every=every,
        timezone=timezone,
        paused=not cron.enabled,
    )


def _is_same(cron: _Cron, body: dict[str, object]) -> bool:
    sent = msgspec.json.decode(msgspec.json.encode(body["input"]))
    there = msgspec.json.decode(cron.input)
    return (cron.cron, cron.priority, there) == (body["cronExpression"], body["priority"], sent)


def _fault(problem: Fault | HTTPStatus) -> Fault:
    if isinstance(problem, Fault):
        return problem
    if problem == HTTPStatus.BAD_REQUEST:
        return Misconfigured("", "Hatchet refuses the schedule")
    return Unavailable("", f"Hatchet's HTTP API: {problem.value} {problem.phrase}")
