"""Names servers in logs, and logs when one cannot be reached."""

from __future__ import annotations

from urllib.parse import urlsplit

from onward.backend import outage


class Outage(outage.Outage):
    """An outage of the broker or the ledger.

    Args:
        what: The server, without secrets, such as `the ledger at redis://localhost:6379`.
        meanwhile: What this means for the worker until then.
    """

    def __init__(self, what: str, meanwhile: str) -> None:
        super().__init__("onward.celery", what, meanwhile)


def server_name(what: str, url: str) -> str:
    """Names a server and its URL, without the URL's user and password."""
    parts = urlsplit(url)
    if "@" in parts.path + parts.query + parts.fragment:
        return what  # a password that is not percent-encoded may be in any of the parts
    return f"{what} at {parts.scheme}://{parts.netloc.rpartition('@')[2]}"
