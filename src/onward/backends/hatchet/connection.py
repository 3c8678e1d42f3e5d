"""The connections of one event loop to an engine, for clients and workers."""

from __future__ import annotations

from onward.backends.hatchet.client import Client
from onward.backends.hatchet.http_api import HttpApi
from onward.backends.hatchet.reader import Reader
from onward.backends.hatchet.settings import Settings
from onward.backends.hatchet.submit import Submitter
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
        self.waiter: Waiter = Waiter(self.client, self.reader)
        self.submitter: Submitter = Submitter(
            self.client, self.reader, settings.prefix, settings.queue
        )

    async def close(self) -> None:
        """Closes the connections."""
        await self.http.close()
        await self.client.close()
