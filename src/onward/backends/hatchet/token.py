"""What a Hatchet token says beside being a secret: whose it is, and where the engine is."""

from __future__ import annotations

import base64
import binascii
import re

import msgspec
from msgspec import Struct

_TOKEN = re.compile(r"[A-Za-z0-9_=-]+(\.[A-Za-z0-9_=-]*){2}")
"""What is in a header of each request, where gRPC bears nothing else."""


class Claims(Struct, frozen=True):
    """What a token says.

    Args:
        sub: The tenant's id.
        server_url: Where its HTTP API and dashboard are.
        grpc_broadcast_address: Where its workers and clients connect to.
        exp: When it is over, as a Unix time; None if it never is.
    """

    sub: str
    server_url: str = ""
    grpc_broadcast_address: str = ""
    exp: float | None = None


def claims(token: str) -> Claims:
    """What a token says. The engine checks its signature, not we.

    Raises:
        ValueError: If it is no token; nothing of it is in the text.
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
