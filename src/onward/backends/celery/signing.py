"""Signatures on what passes through the broker and its ledger, which others may write to."""

from __future__ import annotations

import hmac
from collections.abc import Sequence

LEAST = 32
"""How long a key is at least, in bytes."""

LIFETIME = 24 * 3600.0
"""How long a worker takes up what was signed, in seconds."""

SIZE = 64
"""How long a signature is, in characters; it stands in front of what it signs."""


class Signer:
    """Signs with the first of its keys, and takes what any of them signed.

    A signature holds for some bytes in one role, such as the value that one step of one call gave;
    the same bytes in another role are refused.

    Args:
        keys: Secrets of 32 random bytes or more each.
        lifetime: How long what is signed may wait, in seconds.

    Raises:
        TypeError: If the keys are not bytes.
        ValueError: If there is none, or one is too short. The text shows nothing of it.

    Example:
        >>> signer = Signer([b"0" * 32])
        >>> signer.opened(signer.sealed(b"{}", "plan", "call-1"), "plan", "call-1")
        b'{}'
        >>> signer.opened(signer.sealed(b"{}", "plan", "call-1"), "plan", "call-2")
        >>> signer
        Signer(1 key)
    """

    __slots__ = ("_keys", "lifetime")

    def __init__(self, keys: Sequence[bytes], lifetime: float = LIFETIME) -> None:
        self._keys = tuple(keys)
        if not all(isinstance(key, bytes) for key in self._keys):
            raise TypeError("signing keys are a sequence of bytes: signing_keys=[key]")
        if not self._keys:
            raise ValueError("there is no signing key: leave the setting out to go without")
        for number, key in enumerate(self._keys, 1):
            if len(key) < LEAST:
                raise ValueError(
                    f"signing key {number} has {len(key)} bytes, and needs {LEAST} or more: make "
                    'one with python -c "import secrets; print(secrets.token_hex(32))"'
                )
        self.lifetime: float = lifetime

    def __repr__(self) -> str:
        count = len(self._keys)
        return f"Signer({count} key{'' if count == 1 else 's'})"

    def __reduce__(self) -> str | tuple[object, ...]:
        raise TypeError("a Signer holds keys, which are not to be copied or sent")

    def sealed(self, raw: bytes, *role: str) -> bytes:
        """What travels: the signature, and the bytes as they are."""
        return _signature(self._keys[0], _unambiguous(raw, role)) + raw

    def opened(self, sealed: bytes, *role: str) -> bytes | None:
        """The bytes; None if no key of ours signed them in this role."""
        signature, raw = sealed[:SIZE], sealed[SIZE:]
        signed = _unambiguous(raw, role)
        if any(hmac.compare_digest(signature, _signature(key, signed)) for key in self._keys):
            return raw
        return None


def sealed(signer: Signer | None, raw: bytes, *role: str) -> bytes:
    """What travels: JSON in braces, behind a signature where there are keys."""
    return raw if signer is None else signer.sealed(raw, *role)


def opened(signer: Signer | None, raw: bytes, *role: str) -> bytes | None:
    """The JSON; None where it is not signed and there are keys, or the other way round."""
    if signer is None:
        return raw if raw.startswith(b"{") else None
    return signer.opened(raw, *role)


def _unambiguous(raw: bytes, role: Sequence[str]) -> bytes:
    # With the lengths in front, no two lists of parts are the same bytes.
    parts = [*(part.encode() for part in role), raw]
    return b"".join(len(part).to_bytes(8, "big") + part for part in parts)


def _signature(key: bytes, signed: bytes) -> bytes:
    return hmac.digest(key, signed, "sha256").hex().encode()
