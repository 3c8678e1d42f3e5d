"""Encrypts secrets between clients and workers.

`sealing` adds keys to a backend. Interpreters then encrypt the secrets of the calls that they
submit, and decrypt those of outcomes. A worker's tasks decrypt their arguments, and encrypt their
values. So an engine stores and shows only encrypted secrets.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from msgspec import Raw
from msgspec.structs import asdict, replace
from returns.result import Failure, Result, Success

from onward.backend import Submission
from onward.backend.additions import Seals, additions_of, with_additions
from onward.codec import Find, Refused
from onward.fault import Fault, Misconfigured
from onward.flows.nodes import changed_task
from onward.outcome import Failed, Outcome, Value
from onward.plan import Args, Past, Plan, with_given
from onward.secret import MARK, SEALED, has_marks
from onward.signature import Signature

if TYPE_CHECKING:
    from onward.backend import AttemptRecord, HistoryPage, StepRecord
    from onward.catalog import Catalog, Tasks

B = TypeVar("B")

MIN_KEY_BYTES = 32
"""The minimum length of a key, in bytes."""

_NONCE = 12
_PURPOSE = b"onward secrets"
_MISSING = (
    "the backend has keys for secrets, and cryptography is not installed: "
    'pip install "onward[secrets]", also for the workers'
)


class Sealer:
    """Encrypts secrets with the first of its keys, and decrypts them with any of its keys.

    Args:
        keys: Keys of 32 random bytes or more each. The first one encrypts. All of them decrypt, so
            that keys can be replaced while calls are in flight.

    Raises:
        TypeError: If the keys are not bytes.
        ValueError: If there is no key, or one is too short. The text does not show it.
    """

    __slots__ = ("_ciphers", "_keys")

    def __init__(self, keys: Sequence[bytes]) -> None:
        self._keys = tuple(keys)
        self._ciphers: list[Any] = []
        if not self._keys:
            raise ValueError("there is no key for secrets: give one, or leave the setting out")
        for number, key in enumerate(self._keys, 1):
            if not isinstance(key, bytes):
                raise TypeError("the keys for secrets are a sequence of bytes: write [key]")
            if len(key) < MIN_KEY_BYTES:
                raise ValueError(
                    f"key {number} for secrets has {len(key)} bytes, and needs {MIN_KEY_BYTES} or "
                    "more: "
                    'make one with python -c "import secrets; print(secrets.token_hex(32))"'
                )

    def __repr__(self) -> str:
        return f"Sealer({len(self._keys)} key{'' if len(self._keys) == 1 else 's'})"

    def __reduce__(self) -> str | tuple[object, ...]:
        raise TypeError("a Sealer holds keys, so it cannot be copied or pickled")

    def sealed(self, raw: Raw) -> Raw:
        """Encrypts each secret in JSON; raises ImportError without cryptography."""
        return self._changed(raw, MARK, self._seal)

    def opened(self, raw: Raw) -> Raw:
        """Decrypts each secret in JSON; one that no key decrypts stays as it is."""
        return self._changed(raw, SEALED, self._open)

    def _changed(self, raw: Raw, name: str, change: Callable[[Any], Any]) -> Raw:
        if not has_marks(raw):
            return raw
        import json  # only calls with secrets pay for it

        try:
            data = json.loads(bytes(raw))
        except (ValueError, RecursionError):
            return raw  # the codec that reads it reports the error
        return Raw(_json(_walked(data, name, change)))

    def _made(self) -> list[Any]:
        if not self._ciphers:
            from cryptography.hazmat.primitives.ciphers.aead import AESGCM
            from cryptography.hazmat.primitives.hashes import SHA256
            from cryptography.hazmat.primitives.kdf.hkdf import HKDF

            # A derived key, because the same keys may also sign messages.
            self._ciphers = [
                AESGCM(HKDF(SHA256(), 32, salt=None, info=_PURPOSE).derive(key))
                for key in self._keys
            ]
        return self._ciphers

    def _seal(self, secret: Any) -> Any:
        import base64

        nonce = os.urandom(_NONCE)
        text = self._made()[0].encrypt(nonce, _json(secret[MARK]), _PURPOSE)
        return {SEALED: base64.urlsafe_b64encode(nonce + text).decode()}

    def _open(self, sealed: Any) -> Any:
        import base64

        try:
            from cryptography.exceptions import InvalidTag
        except ImportError:
            return sealed
        try:
            raw = base64.urlsafe_b64decode(sealed[SEALED])
        except (ValueError, TypeError):
            return sealed
        import json

        for cipher in self._made():
            try:
                text = cipher.decrypt(raw[:_NONCE], raw[_NONCE:], _PURPOSE)
            except (InvalidTag, ValueError):
                continue
            return {MARK: json.loads(text)}
        return sealed


def _json(data: Any) -> bytes:
    import json

    # Not msgspec, which turns very large whole numbers into floats.
    return json.dumps(data, ensure_ascii=False, separators=(",", ":")).encode()


def _walked(data: Any, name: str, change: Callable[[Any], Any]) -> Any:
    if isinstance(data, dict):
        if len(data) == 1 and name in data and (changed := change(data)) is not data:
            return changed
        return {key: _walked(item, name, change) for key, item in data.items()}
    if isinstance(data, list):
        return [_walked(item, name, change) for item in data]
    return data


def sealing(backend: B, keys: Sequence[bytes], /) -> B:
    """Adds keys to a backend that encrypt the secrets of its calls.

    Args:
        backend: Any backend.
        keys: Keys of 32 random bytes or more each, the same for clients and workers. The first one
            encrypts; all of them decrypt.

    Returns:
        A backend with the keys that uses the same connections.

    Raises:
        TypeError: If the keys are not bytes.
        ValueError: If there is no key, or one is too short.

    Example:
        >>> import secrets
        >>> from onward import connect
        >>> from onward.sealing import sealing
        >>> backend = sealing(connect("temporal://localhost").unwrap(), [secrets.token_bytes(32)])
    """
    return with_additions(backend, replace(additions_of(backend), sealer=Sealer(keys)))


def sealer_of(backend: object) -> Seals | None:
    """What encrypts the secrets of a backend; None if it has no keys."""
    return additions_of(backend).sealer


def outgoing(backend: object, submissions: Iterable[Submission]) -> Result[list[Submission], Fault]:
    """Encrypts the secrets of submissions, if the backend has keys."""
    sealer = sealer_of(backend)
    ready = list(submissions)
    if sealer is None:
        return Success(ready)
    try:
        return Success([_sealed(each, sealer) for each in ready])
    except ImportError:
        return Failure(Misconfigured(ready[0].plan.flow, _MISSING))


def outgoing_value(backend: object, raw: Raw) -> Result[Raw, Fault]:
    """Encrypts the secrets of a signal's value, if the backend has keys."""
    sealer = sealer_of(backend)
    try:
        return Success(raw if sealer is None else sealer.sealed(raw))
    except ImportError:
        return Failure(Misconfigured("", _MISSING))


def _sealed(submission: Submission, sealer: Seals) -> Submission:
    tasks = submission.tasks
    return replace(
        submission,
        plan=changed_plan(submission.plan, sealer.sealed),
        observed=None if tasks is None else _opening(tasks, sealer),
    )


def changed_plan(plan: Plan, change: Callable[[Raw], Raw]) -> Plan:
    """A plan with each value that it contains changed: encrypted, decrypted or masked."""

    def changed(args: Args) -> Args:
        return _args(args, change)

    past = plan.past
    if past is not None:
        past = Past(
            past.origin,
            {path: _of_outcome(each, change) for path, each in past.outcomes.items()},
            past.due,
            {path: changed(args) for path, args in past.args.items()},
        )
    return replace(plan, args=changed(plan.args), root=with_given(plan.root, changed), past=past)


def incoming(
    backend: object, answer: Result[Outcome | None, Fault]
) -> Result[Outcome | None, Fault]:
    """Decrypts the secrets of an outcome that a backend answered."""
    sealer = sealer_of(backend)
    if sealer is None:
        return answer
    return answer.map(lambda outcome: outcome and _of_outcome(outcome, sealer.opened))


def all_incoming(
    backend: object, answer: Result[Mapping[str, Outcome], Fault]
) -> Result[Mapping[str, Outcome], Fault]:
    """Decrypts the secrets of many outcomes that a backend answered."""
    sealer = sealer_of(backend)
    if sealer is None:
        return answer
    return answer.map(
        lambda found: {id: _of_outcome(each, sealer.opened) for id, each in found.items()}
    )


def incoming_history(backend: object, page: HistoryPage) -> HistoryPage:
    """Decrypts the secrets in what a backend recorded of a call."""
    sealer = sealer_of(backend)
    return page if sealer is None else changed_history(page, sealer.opened)


def changed_history(page: HistoryPage, change: Callable[[Raw], Raw]) -> HistoryPage:
    """What is recorded of a call, with each value in it changed: decrypted or masked."""

    def changed(outcome: Outcome | None) -> Outcome | None:
        return outcome and _of_outcome(outcome, change)

    def attempt(record: AttemptRecord) -> AttemptRecord:
        return replace(record, outcome=changed(record.outcome))

    def step(record: StepRecord) -> StepRecord:
        attempts = tuple(map(attempt, record.attempts))
        return replace(record, outcome=changed(record.outcome), attempts=attempts)

    return replace(
        page,
        plan=page.plan and changed_plan(page.plan, change),
        steps=tuple(map(step, page.steps)),
        outcome=changed(page.outcome),
        signals={name: change(raw) for name, raw in page.signals.items()},
    )


def opening(backend: object, catalog: Catalog) -> Catalog:
    """The catalog whose tasks decrypt and encrypt secrets, if the backend has keys."""
    sealer = sealer_of(backend)
    if sealer is None:
        return catalog
    return catalog.with_tasks(_opening(catalog.tasks, sealer))


class _Sealing(Signature, frozen=True):
    """A signature whose task takes and gives encrypted secrets."""

    sealer: Seals

    def decode(
        self, arguments: Args, *, find: Find | None = None, skip: int = 0
    ) -> tuple[list[Any], dict[str, Any]]:
        """See `Signature.decode`."""
        return Signature.decode(self, self.opened(arguments), find=find, skip=skip)

    def opened(self, arguments: Args) -> Args:
        """See `Signature.opened`."""
        return _args(arguments, self.sealer.opened)

    def give(self, value: Any, task: str) -> Outcome:
        """See `Signature.give`."""
        return self.sealed(Signature.give(self, value, task))

    def sealed(self, outcome: Outcome) -> Outcome:
        """See `Signature.sealed`."""
        try:
            return _of_outcome(outcome, self.sealer.sealed)
        except ImportError:
            raise Refused(_MISSING) from None


def _opening(tasks: Tasks, sealer: Seals) -> Tasks:
    def opening(signature: Signature) -> _Sealing:
        parts: dict[str, Any] = asdict(signature)
        parts["sealer"] = sealer  # replaces the one of a catalog that is served already
        return _Sealing(**parts)

    return {
        name: changed_task(task, signature=opening(task.signature)) for name, task in tasks.items()
    }


def _args(args: Args, change: Callable[[Raw], Raw]) -> Args:
    if not any(map(has_marks, (*args.positional, *args.keyword.values()))):
        return args
    return Args(
        tuple(map(change, args.positional)),
        {name: change(raw) for name, raw in args.keyword.items()},
    )


def _of_outcome(outcome: Outcome, change: Callable[[Raw], Raw]) -> Outcome:
    if isinstance(outcome, Value | Failed) and has_marks(outcome.raw):
        return replace(outcome, raw=change(outcome.raw))
    return outcome
