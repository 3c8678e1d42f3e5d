"""Signs what passes through the broker and the ledger, because others may write to them."""

from __future__ import annotations

import hmac
from collections.abc import Sequence

MIN_KEY_SIZE = 32
"""The shortest key, in bytes."""

LIFETIME = 24 * 3600.0
"""How long a signature is valid, in seconds."""

SIGNATURE_SIZE = 64
"""The length of a signature, in characters. It comes before the bytes that it signs."""


class Signer:
    """Signs with its first key, and accepts signatures of all its keys.

    A signature is valid for some bytes in one role, such as the value of one step of one call. The
    same bytes in another role are refused.

    Args:
        keys: Secrets, each of 32 random bytes or more.
        lifetime: How long a signature is valid, in seconds.

    Raises:
        TypeError: If the keys are not bytes.
        ValueError: If there is no key, or a key is too short. The text does not show the key.

    Example:
        >>> signer = Signer([b"0" * 32])
        >>> signer.verify(signer.sign(b"{}", "plan", "call-1"), "plan", "call-1")
        b'{}'
        >>> signer.verify(signer.sign(b"{}", "plan", "call-1"), "plan", "call-2")
        >>> signer
        Signer(1 key)
    """

    __slots__ = ("_keys", "lifetime")

    def __init__(self, keys: Sequence[bytes], lifetime: float = LIFETIME) -> None:
        self._keys = tuple(keys)
        if not all(isinstance(key, bytes) for key in self._keys):
            raise TypeError("signing keys are a sequence of bytes: signing_keys=[key]")
        if not self._keys:
            raise ValueError("there is no signing key: leave the setting out to sign nothing")
        for number, key in enumerate(self._keys, 1):
            if len(key) < MIN_KEY_SIZE:
                raise ValueError(
                    f"signing key {number} has {len(key)} bytes, and needs {MIN_KEY_SIZE} or more: "
                    'make one with python -c "import secrets; print(secrets.token_hex(32))"'
                )
        self.lifetime: float = lifetime

    def __repr__(self) -> str:
        count = len(self._keys)
        return f"Signer({count} key{'' if count == 1 else 's'})"

    def __reduce__(self) -> str | tuple[object, ...]:
        raise TypeError("a Signer holds keys, and so cannot be copied or pickled")

    def sign(self, raw: bytes, *role: str) -> bytes:
        """Returns the signature followed by the bytes."""
        return _signature(self._keys[0], _unambiguous(raw, role)) + raw

    def verify(self, signed: bytes, *role: str) -> bytes | None:
        """Returns the bytes without the signature; None if it is not valid in this role."""
        signature, raw = signed[:SIGNATURE_SIZE], signed[SIGNATURE_SIZE:]
        message = _unambiguous(raw, role)
        if any(hmac.compare_digest(signature, _signature(key, message)) for key in self._keys):
            return raw
        return None


def sign(signer: Signer | None, raw: bytes, *role: str) -> bytes:
    """Signs JSON; returns it unchanged without keys."""
    return raw if signer is None else signer.sign(raw, *role)


def verify(signer: Signer | None, raw: bytes, *role: str) -> bytes | None:
    """Checks and removes the signature of JSON.

    Returns None if the signature is not valid, or if there is one and this process has no keys.
    """
    if signer is None:
        return raw if raw.startswith(b"{") else None
    return signer.verify(raw, *role)


def _unambiguous(raw: bytes, role: Sequence[str]) -> bytes:
    # With the length before each part, different parts never give the same bytes.
    parts = [*(part.encode() for part in role), raw]
    return b"".join(len(part).to_bytes(8, "big") + part for part in parts)


def _signature(key: bytes, message: bytes) -> bytes:
    return hmac.digest(key, message, "sha256").hex().encode()
