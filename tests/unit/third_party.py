"""A backend of another package, which uses only the protocols of Onward.

Its client blocks. It carries plans to a worker in this process, as bytes.
"""

from collections.abc import Collection, Iterable, Mapping
from typing import TypedDict, cast

from msgspec.structs import replace
from returns.result import Failure, Result, Success

from onward import Catalog, Fault, Status, Unavailable, local, plan
from onward.backend import Submission, Worker
from onward.engines import Engine
from onward.outcome import Outcome
from onward.url import parameters, refuse_host


class Postal:
    """It keeps what it was handed, and is out of reach when it is told to be."""

    def __init__(self, clerks: int | None = None) -> None:
        self.sent: list[Submission] = []
        self.is_down = False
        self._post = local(workers=clerks)

    def submit(self, submission: Submission, /) -> Result[str, Fault]:
        return self.submit_all([submission]).map(lambda ids: ids[0])

    def submit_all(self, submissions: Iterable[Submission], /) -> Result[list[str], Fault]:
        if self.is_down:
            return Failure(Unavailable("", "the post is closed"))
        ids = []
        for submission in submissions:
            self.sent.append(submission)
            carried = plan.decode(plan.encode(submission.plan)).unwrap()
            ids.append(self._post.submit(replace(submission, plan=carried, flow=None)).unwrap())
        return Success(ids)

    def outcome(self, id: str, /, timeout: float | None = None) -> Result[Outcome | None, Fault]:
        if self.is_down:
            return Failure(Unavailable("", "the post is closed"))
        return self._post.outcome(id, timeout)

    def settled(
        self, ids: Collection[str], /, timeout: float | None = None
    ) -> Result[Mapping[str, Outcome], Fault]:
        if self.is_down:
            return Failure(Unavailable("", "the post is closed"))
        return self._post.settled(ids, timeout)

    def status(self, id: str, /) -> Result[Status, Fault]:
        return self._post.status(id)

    def cancel(self, id: str, /) -> Result[None, Fault]:
        return self._post.cancel(id)

    def serve(
        self,
        catalog: Catalog,
        /,
        *,
        concurrency: int | None = None,
        queues: Collection[str] | None = None,
    ) -> Result[Worker, Fault]:
        if self.is_down:
            return Failure(Unavailable("", "the post is closed"))
        return self._post.serve(catalog, concurrency=concurrency, queues=queues)

    def close(self) -> None:
        self._post.close()


class Parameters(TypedDict, total=False):
    clerks: int


class Settings(Parameters, total=False):
    stamp: str


def from_url(url: str) -> Settings:
    refuse_host(url)
    return cast(Settings, parameters(url, Parameters))


def connect(settings: Settings) -> Postal:
    if "stamp" not in settings:
        raise ValueError("stamp is missing: set POSTAL_STAMP")
    return Postal(settings.get("clerks"))


ENGINE = Engine(
    Settings,
    connect,
    from_url,
    variables={"clerks": "POSTAL_CLERKS"},
    secrets={"stamp": "POSTAL_STAMP"},
)
