"""Validates messages: only Onward's own messages reach a worker's tasks."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Protocol, TypeAlias

import msgspec
from msgspec import Meta, MsgspecError, Struct

from onward.backends.celery import lower

PLAIN = frozenset({"utf-8", "utf8", "us-ascii", "ascii"})
"""The text encodings that are accepted. With some others a few bytes decode to very many."""

_LATEST = datetime(9000, 1, 1, tzinfo=UTC).timestamp()
"""The latest eta that Celery can handle, in seconds since 1970."""

Body: TypeAlias = list[Any]
"""A task's arguments, its keyword arguments, and the tasks that follow it."""


class Refusal(Struct, frozen=True):
    """Why a message is refused.

    Args:
        why: What is wrong with it, for people to read.
        is_foreign: Whether it may belong to another app that shares the queue.
    """

    why: str
    is_foreign: bool = False


class Received(Protocol):
    """A message from the broker's client. None of its parts can be trusted."""

    headers: Any
    body: Any
    content_type: Any
    content_encoding: Any


class ValidMessage(Struct, frozen=True):
    """A valid message: the headers that Celery may see, and the body."""

    headers: dict[str, Any]
    body: Body


_Name = Annotated[str, Meta(min_length=1)]
_Id = Annotated[str, Meta(min_length=1, max_length=255)]
_Count = Annotated[int, Meta(ge=0, le=1_000_000_000)]


class _Headers(Struct, frozen=True, omit_defaults=True):
    """The headers of Celery's protocol that Onward's messages have. All others are dropped."""

    task: _Name
    id: _Id
    lang: str | None = None
    root_id: _Id | None = None
    parent_id: _Id | None = None
    group: _Id | None = None
    group_index: _Count | None = None
    retries: _Count | None = None
    eta: str | None = None
    expires: None = None
    shadow: None = None
    timelimit: tuple[None, None] | None = None
    argsrepr: str | None = None
    kwargsrepr: str | None = None
    origin: str | None = None
    ignore_result: bool | None = None
    replaced_task_nesting: _Count | None = None
    redelivered: bool | None = None


class _Signature(Struct, frozen=True):
    """A task that follows another one, as Celery encodes it."""

    task: _Name
    args: list[Any]
    kwargs: dict[str, Any]
    options: dict[str, Any]
    subtask_type: str | None = None
    immutable: bool | None = None


class _After(Struct, frozen=True, forbid_unknown_fields=True):
    """What follows a task. Onward's messages have no callbacks and errbacks."""

    callbacks: tuple[()] | None = None
    errbacks: tuple[()] | None = None
    chain: list[_Signature] | None = None
    chord: _Signature | None = None


class _Delivery(Struct, frozen=True):
    exchange: str
    routing_key: str


class _Properties(Struct, frozen=True):
    delivery_info: _Delivery
    delivery_tag: str
    priority: int | None = None
    body_encoding: str | None = None


class _Envelope(Struct, frozen=True, rename="kebab"):
    body: str
    headers: dict[str, Any]
    properties: _Properties
    content_type: str | None = None
    content_encoding: str | None = None


def envelope_error(message: object) -> str | None:
    """Says what is wrong with an item of a Redis list, if it is not a message of kombu's."""
    try:
        msgspec.convert(message, _Envelope)
    except MsgspecError as problem:
        return str(problem)
    return None


def validate(message: Received) -> ValidMessage | Refusal:
    """Validates a message without decompressing it, and without decoding anything but JSON."""
    if message.content_type != "application/json":
        return Refusal(f"it is {_short(message.content_type)}, and only JSON is accepted", True)
    encoding = message.content_encoding
    if not isinstance(encoding, str) or encoding.lower() not in PLAIN:
        return Refusal(f"it is encoded as {_short(encoding)}, and only UTF-8 is accepted")
    try:
        headers = msgspec.convert(message.headers, _Headers)
    except MsgspecError as problem:
        return Refusal(f"its headers are not those of a call: {problem}", True)
    if headers.eta is not None and not _is_valid_eta(headers.eta):
        return Refusal(f"its eta is not a valid time: {_short(headers.eta)}")
    body = message.body
    try:
        body = msgspec.json.decode(body if isinstance(body, str) else bytes(body))
    except (MsgspecError, RecursionError, TypeError, UnicodeError):
        return Refusal("its body is not JSON")
    error = _body_error(headers.task, body)
    if error is not None:
        return Refusal(error, True)
    return ValidMessage(msgspec.to_builtins(headers), body)


def _body_error(task: str, body: object) -> str | None:
    match body:
        case [[state], {"ticket": str(), **others}, after] if not others:
            pass
        case _:
            return "its arguments are not those of a call"
    if not (_are_texts(state) if task in lower.GATHERS else isinstance(state, str)):
        return "its arguments are not those of a call"
    if after is None:
        return None
    try:
        msgspec.convert(after, _After)
    except MsgspecError as problem:
        return f"the tasks that follow it are not those of a call: {problem}"
    return None


def _are_texts(states: object) -> bool:
    return isinstance(states, list) and all(isinstance(state, str) for state in states)


def _is_valid_eta(text: str) -> bool:
    try:
        eta = datetime.fromisoformat(text)
        return eta.tzinfo is not None and 0 <= eta.timestamp() < _LATEST
    except (OverflowError, ValueError):
        return False


def _short(value: object) -> str:
    return repr(value[:60]) if isinstance(value, str) else f"a value of type {type(value).__name__}"
