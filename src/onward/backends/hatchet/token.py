"""The claims of a Hatchet token: its tenant, and the engine's addresses."""

from __future__ import annotations

import base64
import binascii
import re

import msgspec
from msgspec import Struct

_TOKEN = re.compile(r"[A-Za-z0-9_=-]+(\.[A-Za-z0-9_=-]*){2}")
"""The form of a token. It allows only characters that gRPC accepts in a header."""


class Claims(Struct, frozen=True):
    """The claims of a token.

    Args:
        sub: The tenant's id.
        server_url: The URL of the HTTP API and the dashboard.
        grpc_broadcast_address: The address that workers and clients connect to.
        exp: When it expires, in seconds since 1970; None if it does not.
    """

    sub: str
    server_url: str = ""
    grpc_broadcast_address: str = ""
    exp: float | None = None


def claims(token: str) -> Claims:
    """Reads the claims of a token, without checking its signature; the engine does that.

    Raises:
        ValueError: If it is not a token. The message does not show it.
    """
    try:
        if not _TOKEN.fullmatch(token):
            raise ValueError
        _, payload, _ = token.split(".")
        raw = base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4))
        return msgspec.json.decode(raw, type=Claims)
    except (ValueError, binascii.Error, msgspec.MsgspecError):
        raise ValueError(
            "it is not a Hatchet token: take one from the dashboard (Settings, API Tokens), or set "
            "HATCHET_CLIENT_TOKEN"
        ) from None
