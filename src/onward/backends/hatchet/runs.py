"""Lists runs, and reads what the engine notes about them, by its HTTP API.

It learns of what happens to runs a moment later than the gRPC API.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, datetime
from http import HTTPStatus

import msgspec
from msgspec import Raw, Struct
from returns.result import Failure, Result, Success

from onward.backends.hatchet.http_api import HttpApi
from onward.backends.hatchet.message import RunInput, decode_input, unwrapped
from onward.fault import Fault, Unavailable

QUEUED, RUNNING = "QUEUED", "RUNNING"
COMPLETED, FAILED, CANCELLED = "COMPLETED", "FAILED", "CANCELLED"

_EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)
_NONE = Raw(b"{}")


class _Metadata(Struct, frozen=True, rename="camel"):
    id: str
    created_at: datetime


class Run(Struct, frozen=True, rename="camel"):
    """A run, or a task of one.

    Args:
        metadata: Its id, and when it was submitted.
        status: Its state.
        task_external_id: The id of its task.
        workflow_run_external_id: The id of the run, if it is a task of one.
        started_at: When it began.
        finished_at: When it ended.
        error_message: How it failed.
        additional_metadata: Its metadata.
        input: Its input, if it was asked for.
        output: Its output, if it was asked for.
    """

    metadata: _Metadata
    status: str
    task_external_id: str = ""
    workflow_run_external_id: str = ""
    started_at: datetime | None = None
    finished_at: datetime | None = None
    error_message: str | None = None
    additional_metadata: dict[str, object] | None = None
    input: Raw = _NONE
    output: Raw = _NONE

    @property
    def id(self) -> str:
        """Its id."""
        return self.metadata.id

    @property
    def created(self) -> datetime:
        """When it was submitted."""
        return self.metadata.created_at

    @property
    def marks(self) -> dict[str, object]:
        """Its metadata."""
        return self.additional_metadata or {}

    @property
    def has_ended(self) -> bool:
        """Whether it has ended."""
        return self.status not in (QUEUED, RUNNING)

    @property
    def run_input(self) -> RunInput | None:
        """Its input; None if it is not Onward's."""
        return decode_input(unwrapped(self.input))


class _Named(Struct, frozen=True, rename="camel"):
    task_external_id: str
    task_name: str


class RunDetails(Struct, frozen=True):
    """A run with its tasks.

    Args:
        run: The run.
        tasks: Its tasks.
        shape: The names of its tasks.
    """

    run: Run
    tasks: list[Run] = []
    shape: list[_Named] = []

    @property
    def name_of(self) -> dict[str, str]:
        """The names of its tasks, by their ids."""
        return {each.task_external_id: each.task_name for each in self.shape}


class _Pages(Struct, frozen=True):
    num_pages: int = 0


class RunPage(Struct, frozen=True):
    """Some of the runs of a list.

    Args:
        rows: The runs, the newest first.
        pagination: How many pages there are.
    """

    rows: list[Run] = []
    pagination: _Pages = _Pages()


_DETAILS = msgspec.json.Decoder(RunDetails)
_PAGE = msgspec.json.Decoder(RunPage)


async def read_run(http: HttpApi, id: str) -> Result[RunDetails | None, Fault]:
    """Returns a run with its tasks; None if the HTTP API does not know it, or not yet."""
    answer = await http.request("GET", f"stable/workflow-runs/{id}")
    if isinstance(answer, Failure):
        if answer.failure() in (HTTPStatus.NOT_FOUND, HTTPStatus.BAD_REQUEST):
            return Success(None)
        return Failure(_fault(answer.failure()))
    try:
        return Success(_DETAILS.decode(answer.unwrap()))
    except msgspec.MsgspecError as problem:
        return Failure(_unreadable(problem))


async def list_runs(
    http: HttpApi,
    tenant: str,
    filters: Collection[str],
    *,
    statuses: Collection[str] = (),
    since: datetime | None = None,
    until: datetime | None = None,
    parent: str = "",
    offset: int = 0,
    limit: int = 100,
    has_payloads: bool = False,
    only_tasks: bool = False,
) -> Result[RunPage, Fault]:
    """Lists runs, the newest first.

    Args:
        http: The HTTP API.
        tenant: The tenant's id.
        filters: Entries of metadata that the runs have, each as `name:value`.
        statuses: Their states; empty for all.
        since: The earliest time at which they were submitted.
        until: The latest one.
        parent: The id of the task that started them; empty for all.
        offset: How many to leave out.
        limit: How many to return.
        has_payloads: Whether to return their inputs and outputs.
        only_tasks: Whether to list the tasks of runs instead.
    """
    query = [
        ("only_tasks", str(only_tasks).lower()),
        ("since", (since or _EARLIEST).isoformat()),
        ("offset", str(offset)),
        ("limit", str(limit)),
        ("include_payloads", str(has_payloads).lower()),
        ("additional_metadata_operator", "AND"),
        *(("additional_metadata", entry) for entry in filters),
        *(("statuses", status) for status in sorted(statuses)),
    ]
    if until is not None:
        query.append(("until", until.isoformat()))
    if parent:
        query.append(("parent_task_external_id", parent))
    answer = await http.request("GET", f"stable/tenants/{tenant}/workflow-runs", query=query)
    if isinstance(answer, Failure):
        return Failure(_fault(answer.failure()))
    try:
        return Success(_PAGE.decode(answer.unwrap()))
    except msgspec.MsgspecError as problem:
        return Failure(_unreadable(problem))


def _fault(problem: Fault | HTTPStatus) -> Fault:
    if isinstance(problem, Fault):
        return problem
    return Unavailable("", f"Hatchet's HTTP API: {problem.value} {problem.phrase}")


def _unreadable(problem: msgspec.MsgspecError) -> Unavailable:
    return Unavailable("", f"Hatchet's HTTP API gives what this release cannot read: {problem}")
