"""The claims of a Hatchet token: its tenant, and where the engine is."""

from __future__ import annotations

import base64
import binascii
import re

import msgspec
from msgspec import Struct

_TOKEN = re.compile(r"[A-Za-z0-9_=-]+(\.[A-Za-z0-9_=-]*){2}")
"""The form of a token, which is also all that gRPC allows in a header."""


class Claims(Struct, frozen=True):
    """The claims of a token.

    Args:
        sub: The tenant's id.
        server_url: Where its HTTP API and dashboard are.
        grpc_broadcast_address: Where its workers and clients connect to.
        exp: When it expires, in seconds since 1970; None if it does not.
    """

    sub: str
    server_url: str = ""
    grpc_broadcast_address: str = ""
    exp: float | None = None


def claims(token: str) -> Claims:
    """The claims of a token. The engine checks its signature, Onward does not.

    Raises:
        ValueError: If it is not a token; the message does not show it.
    """
    try:
        if not _TOKEN.fullmatch(token):
            raise ValueError
        _, payload, _ = token.split(".")
        raw = base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4))
        return msgspec.json.decode(raw, type=Claims)
    except (ValueError, binascii.Error, msgspec.MsgspecError):
        raise ValueError(
            "it is no Hatchet token: take one from the dashboard (Settings, API Tokens), or set "
            "HATCHET_CLIENT_TOKEN"
        ) from None
