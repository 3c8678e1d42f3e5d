"""`Secret`: values that are never shown, and how they travel.

On the wire, a secret is an object with the one key `$onward.secret`. So code that shows or encrypts
JSON finds secrets without knowing their annotations.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from typing import Any, Generic, get_args, get_origin

import msgspec
from typing_extensions import TypeVar

T_co = TypeVar("T_co", covariant=True)

MARK = "$onward.secret"
SEALED = "$onward.sealed"
NO_KEY = "no key here decrypts it"
HIDDEN = "***"

_MARKS = rb'"\$onward\.(secret|sealed)"'


class Secret(Generic[T_co]):
    """A value that is never shown: not in a repr, a fault, a log, a span or an engine's name.

    Annotate a parameter, a field or a task's value as `Secret[str]`, and it travels as a secret. It
    is encrypted if the backend has keys for secrets. pydantic's `SecretStr`, `SecretBytes` and
    `Secret` travel in the same way, also in models.

    Args:
        value: The secret value.

    Example:
        >>> from onward import Secret, local, run, task
        >>> @task
        ... def login(user: str, password: Secret[str]) -> str:
        ...     return f"{user} with {password}, of {len(password.get_secret_value())} letters"
        >>> login("ann", Secret("hunter2"))
        login('ann', Secret('***'))
        >>> run(login("ann", Secret("hunter2")), on=local())
        <Success: ann with ***, of 7 letters>
    """

    __slots__ = ("_value",)
    __match_args__ = ()

    _value: T_co

    def __init__(self, value: T_co) -> None:
        object.__setattr__(self, "_value", value)

    def get_secret_value(self) -> T_co:
        """The value itself."""
        return self._value

    def __repr__(self) -> str:
        return f"Secret({HIDDEN!r})"

    def __str__(self) -> str:
        return HIDDEN

    def __format__(self, spec: str) -> str:
        return format(HIDDEN, spec)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and bool(self._value == other._value)

    def __hash__(self) -> int:
        return hash((Secret, self._value))

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"a Secret is frozen: cannot set {name!r}")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"a Secret is frozen: cannot delete {name!r}")

    def __copy__(self) -> Secret[T_co]:
        return self

    def __deepcopy__(self, memo: object) -> Secret[T_co]:
        return self

    def __reduce__(self) -> tuple[type[Secret[T_co]], tuple[T_co]]:
        return Secret, (self._value,)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
        # A field of a model takes the value or a Secret. A dump does not show it.
        from pydantic_core import core_schema

        inner = handler.generate_schema(*(get_args(source) or (Any,)))
        return core_schema.no_info_after_validator_function(
            Secret,
            core_schema.no_info_before_validator_function(_bare, inner),
            serialization=core_schema.plain_serializer_function_ser_schema(
                str, when_used="json-unless-none"
            ),
        )


def _bare(value: Any) -> Any:
    return value.get_secret_value() if isinstance(value, Secret) else value


def is_secret(kind: object) -> bool:
    """Whether a type is a class of secrets, or an alias of one such as `Secret[str]`."""
    kind = get_origin(kind) or kind
    if not isinstance(kind, type):
        return False
    pydantic = sys.modules.get("pydantic")
    if pydantic is None:
        return issubclass(kind, Secret)
    return issubclass(kind, Secret | pydantic.SecretStr | pydantic.SecretBytes | pydantic.Secret)


def kept_by(kind: Any) -> object:
    """The annotation of the value in a secret of this class or alias."""
    pydantic = sys.modules.get("pydantic")
    origin = get_origin(kind) or kind
    if pydantic is not None and issubclass(origin, pydantic.SecretStr):
        return str
    if pydantic is not None and issubclass(origin, pydantic.SecretBytes):
        return bytes
    return next(iter(get_args(kind)), Any)


def unmarked(data: Mapping[str, Any], otherwise: Any) -> Any:
    """The value in the JSON object of a secret.

    Args:
        data: A JSON object.
        otherwise: The answer if the object is not a secret.

    Raises:
        ValueError: If the secret is still encrypted.
    """
    if len(data) == 1 and SEALED in data:
        raise ValueError(
            f"it is encrypted, and {NO_KEY}: give this process the same keys as the "
            'one that encrypted it (ONWARD_SECRET_KEYS), and pip install "onward[secrets]"'
        )
    return data[MARK] if len(data) == 1 and MARK in data else otherwise


def has_marks(raw: bytes | msgspec.Raw) -> bool:
    """Whether JSON may contain a secret."""
    return re.search(_MARKS, memoryview(raw)) is not None


def all_unmarked(value: Any) -> Any:
    """JSON data with the values in place of the secrets; raises ValueError as `unmarked` does."""
    if isinstance(value, dict):
        kept = unmarked(value, value)
        if kept is not value:
            return kept
        return {name: all_unmarked(item) for name, item in value.items()}
    if isinstance(value, list):
        return [all_unmarked(item) for item in value]
    return value


def masked(raw: bytes | msgspec.Raw) -> bytes:
    """JSON for people, with `"***"` in place of each secret."""
    if not has_marks(raw):
        return bytes(raw)
    try:
        return msgspec.json.encode(_masked(msgspec.json.decode(raw)))
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return msgspec.json.encode(HIDDEN)


def _masked(value: Any) -> Any:
    if isinstance(value, dict):
        if len(value) == 1 and (MARK in value or SEALED in value):
            return HIDDEN
        return {name: _masked(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_masked(item) for item in value]
    return value


def revealed(value: Any, dumped: Any) -> Any:
    """JSON data that pydantic dumped, with the secrets in place of its asterisks.

    Args:
        value: A model, or a part of one.
        dumped: The JSON data that pydantic made of it.
    """
    kind: Any = type(value)
    if is_secret(kind):
        kept = value.get_secret_value()
        return {MARK: kept.decode() if isinstance(kept, bytes) else kept}
    if getattr(kind, "__pydantic_root_model__", False):
        return revealed(value.root, dumped)
    if isinstance(dumped, list) and isinstance(value, list | tuple | set | frozenset):
        return [revealed(*pair) for pair in zip(value, dumped, strict=True)]
    if not isinstance(dumped, dict):
        return dumped
    if isinstance(value, Mapping):
        parts = zip(value.values(), dumped.items(), strict=True)
        return {name: revealed(part, text) for part, (name, text) in parts}
    fields: Mapping[str, Any] = getattr(kind, "__pydantic_fields__", {})
    names = {field.serialization_alias or name: name for name, field in fields.items()}
    return {
        alias: revealed(getattr(value, str(names.get(alias, alias)), None), text)
        for alias, text in dumped.items()
    }


def holds_secrets(value: Any) -> bool:
    """Whether a model contains a secret."""
    kind: Any = type(value)
    if is_secret(kind):
        return True
    if isinstance(value, Mapping):
        return any(map(holds_secrets, value.values()))
    if isinstance(value, list | tuple | set | frozenset):
        return any(map(holds_secrets, value))
    for names in ("__pydantic_fields__", "__dataclass_fields__"):
        if hasattr(kind, names):
            return any(holds_secrets(getattr(value, name, None)) for name in getattr(kind, names))
    return False
