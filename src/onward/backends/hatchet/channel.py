"""The gRPC channel to an engine, and the sizes of messages on it."""

from __future__ import annotations

import grpc
from grpc import aio

from onward.backend.tls import contents
from onward.backends.hatchet.settings import Address

_PADDING = b"\x7a"
"""The tag of an unknown field, which the engine skips."""

_OPTIONS: list[tuple[str, str | int]] = [
    # The engine has its own limit.
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.initial_reconnect_backoff_ms", 200),
    # The least time that one attempt has for its handshakes, over any distance.
    ("grpc.min_reconnect_backoff_ms", 5_000),
    ("grpc.max_reconnect_backoff_ms", 2_000),
]


def channel(address: Address) -> aio.Channel:
    """Opens a channel to an engine."""
    tls = address.tls
    if tls is None:
        return aio.insecure_channel(address.target, _OPTIONS)
    credentials = grpc.ssl_channel_credentials(
        *(contents("tls", file) for file in (tls.root_certificates, tls.key, tls.certificate))
    )
    options = list(_OPTIONS)
    if tls.server_name is not None:
        options.append(("grpc.ssl_target_name_override", tls.server_name))
    return aio.secure_channel(address.target, credentials, options)


def padding(size: int) -> bytes:
    """Makes a message of at least this size, which the engine takes for an empty one."""
    return _PADDING + _varint(size) + bytes(size)


def _varint(number: int) -> bytes:
    """Encodes a number as a Protocol Buffers varint."""
    raw = bytearray()
    while number > 0x7F:
        raw.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*raw, number])
