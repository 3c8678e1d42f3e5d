"""The connections of one event loop to an engine, for clients and workers."""

from __future__ import annotations

from onward.backends.hatchet.cancelling import Cancelling
from onward.backends.hatchet.client import Client
from onward.backends.hatchet.http_api import HttpApi
from onward.backends.hatchet.limit_workflows import LimitWorkflows
from onward.backends.hatchet.moved import MovedCalls
from onward.backends.hatchet.reader import Reader
from onward.backends.hatchet.records import Records
from onward.backends.hatchet.settings import Settings
from onward.backends.hatchet.signals import Signals
from onward.backends.hatchet.submit import Submitter
from onward.backends.hatchet.undelivered import Undelivered
from onward.backends.hatchet.wait import Waiter


class Connection:
    """The connections to an engine, and what starts, reads and awaits runs over them.

    Make it on the event loop that uses it.

    Args:
        settings: The backend's settings.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings: Settings = settings
        self.client: Client = Client(settings.address)
        tls = settings.address.tls
        authorities = None if tls is None else tls.root_certificates
        self.http: HttpApi = HttpApi(settings.server_url, settings.address.token, authorities)
        self.reader: Reader = Reader(self.client, self.http)
        self.submitter: Submitter = Submitter(
            self.client, self.reader, settings.prefix, settings.queue
        )
        self.limit_workflows: LimitWorkflows = LimitWorkflows(self.client, self.http, settings)
        self.records: Records = Records(self.client, self.submitter, self.reader)
        self.moved: MovedCalls = MovedCalls(self.http, settings, self.records)
        self.undelivered: Undelivered = Undelivered(
            self.client, self.http, self.reader, self.records, settings
        )
        self.cancelling: Cancelling = Cancelling(
            self.client, self.reader, self.submitter, self.records, self.moved, self.undelivered
        )
        self.waiter: Waiter = Waiter(self.client, self.reader, self.cancelling)
        self.signals: Signals = Signals(
            self.client, self.reader, self.submitter, self.waiter, self.records, self.cancelling
        )

    async def close(self) -> None:
        """Closes the connections."""
        await self.http.close()
        await self.client.close()
